"""A reader of the log goes on from page to page and begins again after the last; a wrong page is no figure."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bench import replay
from bench.rig import Refused, Unsupported
from harness.http.client import Answer


class Log:
    """Stands for the service: a log of 3,000 events. wrong: what it says in place of the second page."""

    def __init__(self, wrong: list[int] | None = None, status: int = 200) -> None:
        self.asked: list[dict[str, str]] = []
        self.wrong, self.status = wrong, status

    def bearer(self, _key: str, _method: str, _path: str, *, params: dict[str, str]) -> Any:
        self.asked.append(params)
        after = int(params.get("cursor", 0))
        numbers = list(range(after + 1, after + 1001))
        if after and self.wrong is not None:
            numbers = self.wrong
        page = {"events": [{"sequence_number": n} for n in numbers], "next_cursor": str(after + 1000)}
        body = json.dumps(page).encode()
        return Answer(self.status, {}, body, 1.0, "")


def read(log: Any, pages: int, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(replay, "_EVENTS", 3000)
    reader = replay._Reader(log, "key")
    return sum(reader._page() for _ in range(pages))


def test_it_reads_to_the_end_and_begins_again(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()
    assert read(log, 5, monkeypatch) == 5000
    assert [asked.get("cursor") for asked in log.asked] == [None, "1000", "2000", None, "1000"]
    assert {asked["limit"] for asked in log.asked} == {"1000"}


@pytest.mark.parametrize("wrong", [[], list(range(1002, 2002)), list(range(1, 1001)), list(range(2000, 1000, -1))])
def test_a_page_that_is_not_the_next_one_is_refused(wrong: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused, match="the page after 1000"):
        read(Log(wrong), 2, monkeypatch)


def test_a_backend_without_the_route_cannot_be_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unsupported, match="404"):
        read(Log(status=404), 1, monkeypatch)
