"""docs/student.md: the life of a student by curl, sent as it stands there."""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import pytest

from acceptance.sandboxes.pool import ACCOUNTS, Pool
from acceptance.suite.case import case
from acceptance.system.api import Api

PAGE = Path(__file__).parents[2] / "docs" / "student.md"
WITH_VALUE = {"-X", "-H"}


@dataclass(frozen=True)
class Step:
    """A request of the page, and what stands below it."""

    line: str
    status: int
    headers: dict[str, str]
    body: dict[str, Any]


def steps(page: str) -> list[Step]:
    """The requests of the console blocks of a page, in order."""
    blocks = [part.partition("```")[0] for part in page.split("```console\n")[1:]]
    found = []
    for request in [part for block in blocks for part in block.split("$ curl ")[1:]]:
        line, status, *headers, body = request.strip().splitlines()
        named = dict(header.split(": ", 1) for header in headers)
        found.append(Step(line, int(status.removeprefix("HTTP/1.1 ")), named, json.loads(body)))
    return found


def send(api: Api, step: Step, key: str) -> Any:
    """The request of a curl line."""
    words = shlex.split(Template(step.line).substitute(NEXMDM_BASE_URL="", TRACK_KEY=key))
    given = [(name, words[place + 1]) for place, name in enumerate(words) if name in WITH_VALUE]
    methods = [value for name, value in given if name == "-X"]
    [path] = [word for word in words if word.startswith("/")]
    headers = [tuple(value.split(": ", 1)) for name, value in given if name == "-H"]
    return api.request(methods[0] if methods else "GET", path, headers=headers)


def but_times(body: dict[str, Any]) -> dict[str, Any]:
    """The body, with a word where a time stands."""
    return {
        name: "a time" if name.endswith("_at") and isinstance(value, int) else value for name, value in body.items()
    }


@case("student/001", "allocateSandbox 201", "extendSandbox 200", "releaseSandbox 200", "getCurrentAllocation 404")
@pytest.mark.usefixtures("logs")
def test_the_page_is_true(api: Api, pool: Pool) -> None:
    """Each request of docs/student.md is answered as the page says."""
    told = steps(PAGE.read_text(encoding="utf-8"))
    assert len(told) == 10
    for step in told:
        if step.status == 201:  # the pool has the sandbox that the page tells of, and no other
            one = step.body
            pool.seed_listed([{"csp_id": one["sandbox_id"], "id": one["external_id"], "name": one["name"]}])
            assert one["external_id"].startswith(ACCOUNTS)
        answer = send(api, step, pool.track_key)
        assert answer.status == step.status, (step.line, answer.body)
        assert {name: answer.headers.get(name.lower()) for name in step.headers} == step.headers
        body = answer.json()
        if step.status >= 400:
            assert body["code"] == step.body["code"]
            assert body.keys() >= step.body.keys()
        else:
            assert but_times(body) == but_times(step.body)
