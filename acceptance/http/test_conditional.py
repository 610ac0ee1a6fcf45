"""Conditional requests (RFC 9110, section 13) on GET and HEAD /v1/apk/download-latest, the resource that has an ETag.

Does not vary the ranges themselves: test_apk.py does.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import format_datetime

import pytest

from acceptance.fleet.apks import new_package, upload
from acceptance.suite.case import case
from acceptance.system.api import Api
from acceptance.system.database import Database
from acceptance.system.logs import Logs
from acceptance.system.match import accepted, refused
from acceptance.system.metrics import Metrics
from acceptance.system.system import Tokens, Unchanged
from harness.devices.apk import apk
from harness.http.client import Answer

PATH = "/v1/apk/download-latest"
Lines = list[tuple[str, str]]
DOWNLOADS = "nexmdm_apk_downloads_total"


@dataclass(frozen=True)
class Build:
    """A build that stays the latest of its package, and the validators that the service must have for it."""

    package: str
    content: bytes
    build_id: int
    etag: str
    uploaded_at: datetime

    @classmethod
    def upload(cls, api: Api, package: str | None = None) -> "Build":
        content, package = apk(200), package or new_package()
        made = accepted(upload(api, content, package_name=package), 201)
        uploaded_at = datetime.fromisoformat(made["uploaded_at"])
        return cls(package, content, made["build_id"], f'"{made["sha256"]}"', uploaded_at)

    def at(self, days: int = 0, form: str = "") -> str:
        """The date of its upload, or so many days later, as the RFC's preferred form or another."""
        moment = self.uploaded_at + timedelta(days)
        return moment.strftime(form) if form else format_datetime(moment, usegmt=True)

    def asked(self, api: Api, method: str, headers: Lines) -> Answer:
        return api.admin(method, PATH, params={"package_name": self.package}, headers=headers)


@pytest.fixture
def build(api: Api) -> Build:
    return Build.upload(api)


def judge(answer: Answer, method: str, status: int, build: Build, sent: Lines) -> None:
    """The answer has this status, and what belongs to it."""
    assert answer.status == status, f"{method} with {sent}: {answer.status}, expected {status}"
    whole = {200: build.content, 206: build.content[2:10], 304: b""}
    if method == "HEAD":
        assert answer.body == b""
    elif status in whole:
        assert answer.body == whole[status], f"{method} with {sent}: other bytes"
    else:
        refused(answer, status, {412: "precondition_failed", 416: "range_not_satisfiable"}[status])
    if status in whole:
        assert answer.headers["etag"] == build.etag
    if status in (200, 206):
        assert answer.headers.get("last-modified") == build.at()
        assert int(answer.headers["content-length"]) == len(whole[status])


def expected(method: str, if_match: str, since: str, none_match: str, modified: str, part: str, if_range: str) -> int:
    """RFC 9110, 13.2.2, step by step."""
    if if_match == "other" or (if_match == "-" and since == "older"):
        return 412
    if none_match == "same" or (none_match == "-" and modified == "same"):
        return 304
    if method == "GET" and part != "-" and if_range in ("-", "same"):
        return 206 if part == "some" else 416
    return 200


def every_combination(build: Build, method: str, if_match: str) -> Iterator[tuple[Lines, int]]:
    """Each condition absent, true and false, with each kind of Range; what is sent and the status that is right."""
    tags = {"same": build.etag, "other": '"another"'}
    dates = {"same": build.at(), "older": build.at(-1)}
    ranges = {"some": "bytes=2-9", "behind": "bytes=99999-"}
    fields = ("If-Match", "If-Unmodified-Since", "If-None-Match", "If-Modified-Since", "Range", "If-Range")
    of_get = method == "GET"  # HEAD has no ranges: one that would be refused has to be ignored
    choices = [
        [if_match],
        ["-", *dates],
        ["-", *tags],
        ["-", *dates],
        ["-", *ranges] if of_get else ["behind"],
        ["-", *tags] if of_get else ["same"],
    ]
    for chosen in itertools.product(*choices):
        values = zip(fields, chosen, (tags, dates, tags, dates, ranges, tags), strict=True)
        yield [(name, known[word]) for name, word, known in values if word != "-"], expected(method, *chosen)


@case("conditional/001", "downloadLatestApk 412", "headLatestApk 412", "* 304")
@pytest.mark.parametrize("if_match", ["-", "same", "other"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_conditions_are_judged_in_the_order_of_the_rfc(
    method: str, if_match: str, api: Api, build: Build, db: Database, metrics: Metrics
) -> None:
    """If-Match, else If-Unmodified-Since; If-None-Match, else If-Modified-Since; then If-Range (RFC 9110, 13.2.2)."""
    rows = list(every_combination(build, method, if_match))
    sent = sum(status in (200, 206) for _, status in rows) if method == "GET" else 0
    with metrics.moves({DOWNLOADS: sent}):
        for headers, status in rows:
            judge(build.asked(api, method, headers), method, status, build, headers)
    assert db.value("select count(*) from apk_download_events where build_id = %s", build.build_id) == sent


RFC_850, ASCTIME = "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y"
# How a value is written, and the status that is right; braces stand for the build's own.
SPELLINGS: dict[str, list[tuple[int, str]]] = {
    "If-Match": [  # compared strongly; what is no list matches nothing
        (200, "{etag}"),
        (200, '"another", {etag}'),
        (200, '{etag},"another"'),
        (200, ',\t, {etag} , ,"another",'),
        (200, '"with,comma", {etag}'),
        (200, '"", {etag}'),
        (200, "*"),
        (412, '"another"'),
        (412, "W/{etag}"),
        (412, '"another", W/{etag}'),
        (412, "w/{etag}"),
        (412, "{bare}"),
        (412, ""),
        (412, ","),
        (412, "*, {etag}"),
        (412, "{etag}, *"),
        (412, '"another" {etag}'),
        (412, '"another, {etag}'),
        (412, "{etag}, another"),
        (412, "{etag};q=1"),
        (412, '"with space", {etag}'),
        (412, "{upper}"),
    ],
    "If-None-Match": [  # compared weakly
        (304, "{etag}"),
        (304, "W/{etag}"),
        (304, '"another", W/{etag}'),
        (304, '"with,comma",{etag},'),
        (304, "*"),
        (200, '"another"'),
        (200, "w/{etag}"),
        (200, "{bare}"),
        (200, ""),
        (200, "*, {etag}"),
        (200, '"another" {etag}'),
        (200, '"another, {etag}'),
        (200, "{upper}"),
    ],
    "If-Range": [  # one strong validator; anything else gets the whole file
        (206, "{etag}"),
        (200, "W/{etag}"),
        (200, '"another"'),
        (200, '{etag}, "another"'),
        (200, "*"),
        (200, "{bare}"),
        (200, ""),
        (200, "{date}"),  # of a second in which there may have been another build
        (200, "{older}"),
    ],
    "If-Unmodified-Since": [  # what is no date is ignored, as the RFC asks
        (200, "{date}"),
        (200, "{later}"),
        (412, "{older}"),
        (412, "{older850}"),
        (412, "{older_asctime}"),
        (412, "Sun, 06 Nov 1994 08:49:37 GMT"),
        (412, "Sunday, 06-Nov-94 08:49:37 GMT"),
        (412, "Sun Nov  6 08:49:37 1994"),
        (412, "Mon, 01 Jan 0001 00:00:00 GMT"),
        (200, "Fri, 31 Dec 9999 23:59:59 GMT"),
        (200, "Sun, 06 Nov 1994 08:49:37 +0000"),
        (200, "Sun, 31 Feb 1994 08:49:37 GMT"),
        (200, "1994-11-06T08:49:37Z"),
        (200, "{older}, {older}"),
        (200, "yesterday"),
        (200, ""),
    ],
    "If-Modified-Since": [
        (304, "{date}"),
        (304, "{later}"),
        (304, "{later850}"),
        (304, "{later_asctime}"),
        (200, "{older}"),
        (200, "1994-11-06T08:49:37Z"),
        (200, "{later}, {later}"),
        (200, "{etag}"),
        (200, ""),
    ],
}
TWICE: list[tuple[int, str, str]] = [  # a list may come in several lines, nothing else may
    (200, "If-Match", '"another"'),
    (304, "If-None-Match", '"another"'),
    (200, "If-Range", "{etag}"),
    (200, "If-Unmodified-Since", "{older}"),
    (200, "If-Modified-Since", "{date}"),
]
OWN = {"If-Match": "{etag}", "If-None-Match": "{etag}", "If-Range": "{etag}"}


@case("conditional/002", "downloadLatestApk 412", "downloadLatestApk 304", "downloadLatestApk 206")
@pytest.mark.parametrize("field", SPELLINGS)
@pytest.mark.usefixtures("logs")
def test_a_condition_is_read_as_the_rfc_writes_it(field: str, api: Api, build: Build) -> None:
    """Lists, weak tags, `*`, old forms of dates; a value that is malformed never joins two builds (RFC 9110, 13.1)."""
    known = {
        "etag": build.etag,
        "bare": build.etag.strip('"'),
        "upper": build.etag.upper(),
        "date": build.at(),
        **{word: build.at(days) for word, days in (("later", 1), ("older", -1))},
        **{f"{word}850": build.at(days, RFC_850) for word, days in (("later", 1), ("older", -1))},
        **{f"{word}_asctime": build.at(days, ASCTIME) for word, days in (("later", 1), ("older", -1))},
    }
    part = [("Range", "bytes=2-9")] if field == "If-Range" else []
    rows = [([*part, (field, value.format(**known))], status) for status, value in SPELLINGS[field]]
    for status, name, first in TWICE:
        if name == field:
            rows.append(([*part, *((field, one.format(**known)) for one in (first, OWN.get(field, first)))], status))
    for headers, status in rows:
        judge(build.asked(api, "GET", headers), "GET", status, build, headers)


@case("conditional/003", "downloadLatestApk 412")
def test_a_download_goes_on_only_within_one_build(
    api: Api, tokens: Tokens, logs: Logs, metrics: Metrics, unchanged: Unchanged
) -> None:
    """A resume, by Range and the ETag or the date of the build begun, is a 412 after an upload (RFC 9110, 13.1)."""
    [token] = tokens()
    first = Build.upload(api)

    def resumed(**headers: str) -> Answer:
        lines = [("Range", "bytes=2-9"), *((name.replace("_", "-"), value) for name, value in headers.items())]
        return api.bearer(token["token"], "GET", PATH, params={"package_name": first.package}, headers=lines)

    for same in (resumed(If_Match=first.etag), resumed(If_Unmodified_Since=first.at()), resumed(If_Range=first.etag)):
        assert (same.status, same.body) == (206, first.content[2:10])
    second = Build.upload(api, first.package)
    with unchanged(), metrics.moves({DOWNLOADS: 0}):
        answers = [resumed(If_Match=first.etag), resumed(If_Unmodified_Since=second.at(-1))]
    for answer in answers:
        refused(answer, 412, "precondition_failed")
        logs.expect(answer, "http.request", status=412)
        assert not logs.of(answer, "apk.download")
    whole = resumed(If_Range=first.etag)
    assert (whole.status, whole.body) == (200, second.content), "the new build from its first byte"


@case("conditional/004", "downloadLatestApk 401", "downloadLatestApk 404", "headLatestApk 404")
def test_a_condition_hides_no_other_refusal(api: Api, unchanged: Unchanged) -> None:
    """A request that would be refused without its conditions is refused for that (RFC 9110, 13.2.1)."""
    conditions = [("If-Match", '"another"'), ("If-None-Match", "*")]
    nothing = {"package_name": new_package()}
    with unchanged():
        for headers in conditions:
            anonymous = api.request("GET", PATH, params=nothing, headers=[headers])
            refused(anonymous, 401, "token_missing")
            refused(api.admin("GET", PATH, params=nothing, headers=[headers]), 404, "no_build")
            assert api.admin("HEAD", PATH, params=nothing, headers=[headers]).status == 404
