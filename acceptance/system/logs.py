"""The log lines that the current case has caused.

Does not judge them by their schemas: the sweep at the end of a run does, for all of them.
"""

from typing import Any

from acceptance.system.api import Api
from harness.http.client import Answer
from harness.oracles.log_tail import LogTap, matches


class Logs:
    """The log lines that the current case has caused."""

    patience_s = 10.0  # for a line that is to come; the slowest machine of a CI decides

    def __init__(self, tap: LogTap, api: Api) -> None:
        self.tap = tap
        self._api = api
        self._mark = tap.mark()

    def begin(self) -> None:
        self._mark = self.tap.mark()

    def since(self) -> list[dict[str, Any]]:
        return self.tap.since(self._mark)

    def readable(self) -> list[dict[str, Any]]:
        """As `since`, for whoever reports a failure: lines that are none are left out."""
        return self.tap.salvage(self._mark)[0]

    def of(self, answer: Answer, event: str) -> list[dict[str, Any]]:
        """Every line of this event that carries the answer's request id.

        Waits for the request's own line, which is its last: what the log's writer has not written yet is not missing.
        """
        self.wait("http.request", request_id=answer.request_id)
        return [line for line in self.since() if matches(line, event, {"request_id": answer.request_id})]

    def expect(self, answer: Answer, event: str, **fields: Any) -> dict[str, Any]:
        """The line of this event under the answer's request id and route; fails when there is none."""
        route = next(one.route for one in reversed(self._api.judged) if one.answer is answer)
        return self.wait(event, request_id=answer.request_id, route=route, **fields)

    def wait(self, event: str, **fields: Any) -> dict[str, Any]:
        """The first line of this event with these fields, also from outside requests."""
        return self.tap.wait_for(event, since=self._mark, within_s=self.patience_s, **fields)

    def complete(self) -> bool:
        """Fails unless each judged request has exactly one http.request line with its method, status and route."""
        found: dict[Any, list[dict[str, Any]]] = {}
        for line in self.since():
            if line["event"] == "http.request":
                found.setdefault(line["request_id"], []).append(line)
        for one in self._api.judged:
            wanted = {"method": one.method, "status": one.answer.status, "route": one.route}
            lines = [line for line in found.get(one.answer.request_id, []) if matches(line, "http.request", wanted)]
            assert lines, f"no http.request line with {wanted} for request id {one.answer.request_id}"
            repeated = sum(other.answer.request_id == one.answer.request_id for other in self._api.judged)
            assert len(lines) <= repeated, f"{len(lines)} http.request lines for request id {one.answer.request_id}"
        return True
