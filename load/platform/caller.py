"""One key's calls of one zone: each is timed, and an answer that nobody wanted is a fault of the run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.http.client import Answer, Client, TransportError
from harness.platform.rpc import RpcError, answered
from harness.platform.zone import Pairs, Zone
from load.platform.run import FileCall, PlatformRun, ZoneStory

_OF_AN_END = (401, 403, 404, 409)


class ZoneOver(Exception):
    """The zone is being deleted, and takes no more of this."""


class Refused(Exception):
    """It was not answered as it should be; the run knows."""


class Caller:
    """asked_at, answered_at: of the last call, by the server's clock, with its uncertainty."""

    def __init__(self, run: PlatformRun, story: ZoneStory, client: Client, key: str, headers: Pairs = ()) -> None:
        self.run, self.story = run, story
        self.zone = Zone(client, key, story.zone_id, headers=headers)
        self.asked_at = self.answered_at = 0.0

    def rest(self, kind: str, method: str, path: str, *wanted: int, **request: Any) -> Answer:
        """An answer with a status that is wanted. Refused, ZoneOver."""
        return self.ask(kind, lambda: self.zone.request(method, path, **request), *wanted)

    def ask(self, kind: str, send: Callable[[], Answer], *wanted: int) -> Answer:
        """The same of any request."""
        answer, fault = self._timed(kind, send, lambda one: _unwanted(one, wanted or (200,)))
        if answer is None or fault:
            raise Refused(f"{kind}: {fault}")
        return answer

    def rpc(self, kind: str, method: str, /, **params: Any) -> Any:
        """The result of a call. Refused, ZoneOver."""
        answer, fault = self._timed(kind, lambda: self.zone.call(method, **params), _rpc_fault)
        if answer is None or fault:
            raise Refused(f"{kind}: {fault}")
        return answered(answer)

    def change(self, kind: str, method: str, path: str, new_path: str | None = None, /, **params: Any) -> Any:
        """A change of a file, which has its event from then on."""
        result = self.rpc(kind, method, **params)
        self.note_change(kind, path, new_path)
        return result

    def note_change(self, kind: str, path: str, new_path: str | None = None) -> None:
        """The last call has changed a file."""
        self.story.changes.append(FileCall(kind, path, new_path, self.asked_at, self.answered_at))

    def fault(self, kind: str, what: str) -> None:
        """An answer had the right status, and is wrong all the same."""
        self.run.wrong[f"{kind}: {what}"] += 1
        self.run.refused(f"{kind}: {what}")

    def _timed(
        self, kind: str, send: Callable[[], Answer], judge: Callable[[Answer], str]
    ) -> tuple[Answer | None, str]:
        clock, answer = self.run.clock, None
        sent = clock.now()
        try:
            answer = send()
            fault = judge(answer)
        except TransportError as lost:
            fault = f"no answer: {lost}"
        now = clock.now()
        self.asked_at, self.answered_at = sent - clock.uncertainty_s, now + clock.uncertainty_s
        if fault and answer is not None and self.story.ends_at is not None and _is_of_an_end(answer):
            self.run.timed(kind, sent, sent, now, "")
            raise ZoneOver
        self.run.timed(kind, sent, sent, now, fault)
        return answer, fault


def _unwanted(answer: Answer, wanted: tuple[int, ...]) -> str:
    if answer.status in wanted:
        return ""
    try:
        document = answer.json()
    except ValueError:
        document = {}
    return f"{answer.status} {document.get('code', '') if isinstance(document, dict) else ''}".rstrip()


def _rpc_fault(answer: Answer) -> str:
    if answer.status != 200:
        return _unwanted(answer, (200,))
    try:
        answered(answer)
    except RpcError as error:
        return f"{error.code} {error.kind}"
    except ValueError as error:
        return str(error)[:100]
    return ""


def _is_of_an_end(answer: Answer) -> bool:
    """How a zone that is being deleted, or is gone, refuses."""
    if answer.status != 200:
        return answer.status in _OF_AN_END
    try:
        answered(answer)
    except RpcError as error:
        return error.kind == "zone_terminating"
    except ValueError:
        pass
    return False
