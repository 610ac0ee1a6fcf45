"""One student: a track that asks for a sandbox, looks at it, keeps it for longer, gives it back. It knows what it has.

Each call is recorded, answered or not, and each answer is compared with what the student knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.http.client import Answer, Client, TransportError
from harness.sandboxes.calls import ALLOCATE, EXTEND, RELEASE, VIEW, Call
from load.students.run import StudentRun

Body = Mapping[str, Any]


@dataclass(frozen=True)
class Held:
    """What a student has. Times are Unix seconds, as they were answered."""

    sandbox_id: str
    allocated_at: int
    expires_at: int


class Student:
    """held: None where it has nothing, or does not know yet."""

    def __init__(self, run: StudentRun, client: Client, key: str, track_id: str, lab: str) -> None:
        self.track_id, self.lab = track_id, lab
        self._run, self._client, self._key = run, client, key
        self._headers = [("X-Track-ID", track_id), ("X-Instruqt-Track-ID", lab)]
        self.held: Held | None = None
        self._news = 0  # allocations that were answered as new, since it has had nothing
        self._in_flight = 0
        self._unsure = False  # a request without an answer may have been granted

    def allocate(self, due: float | None = None, timed_as: str = ALLOCATE) -> Call:
        """Ask for a sandbox. due: server time; None: now."""
        return self._call(ALLOCATE, "POST", "/v1/allocate", self._allocated, due, timed_as)

    def release(self, due: float | None = None) -> Call:
        """Give it back."""
        return self._own(RELEASE, "POST", "/mark-for-deletion", self._released, due)

    def view(self, due: float | None = None) -> Call:
        """Look at it."""
        return self._own(VIEW, "GET", "", self._seen, due)

    def extend(self, due: float | None = None) -> Call:
        """Keep it for longer."""
        return self._own(EXTEND, "POST", "/extend", self._extended, due)

    def _own(
        self, kind: str, method: str, rest: str, judge: Callable[[Held, Answer, Body], str], due: float | None
    ) -> Call:
        held = self.held
        assert held is not None, "it has a sandbox"
        path = f"/v1/sandboxes/{held.sandbox_id}{rest}"
        return self._call(kind, method, path, lambda answer, body: judge(held, answer, body), due, kind)

    def _call(
        self,
        kind: str,
        method: str,
        path: str,
        judge: Callable[[Answer, Body], str],
        due: float | None,
        timed_as: str,
    ) -> Call:
        clock, answer, fault = self._run.clock, None, ""
        named = self.held.sandbox_id if self.held is not None and kind == RELEASE else ""
        sent = clock.now()
        self._in_flight += 1
        try:
            answer = self._client.bearer(self._key, method, path, headers=self._headers)
        except TransportError as lost:
            fault = f"no answer: {lost}"
        finally:
            self._in_flight -= 1
        answered = clock.now()
        body: Body = {}
        if answer is None or answer.status >= 500:
            self._unsure = True
        if answer is not None:
            body = _object(answer)
            fault = judge(answer, body)
        call = Call(
            kind,
            self.track_id,
            sent - clock.uncertainty_s,
            answered + clock.uncertainty_s,
            0 if answer is None else answer.status,
            named or _text(body, "sandbox_id"),
            _whole(body, "allocated_at"),
            _whole(body, "expires_at"),
        )
        self._run.record(call)
        self._run.timed(timed_as, sent if due is None else due, sent, answered, fault)
        return call

    def _allocated(self, answer: Answer, body: Body) -> str:
        if answer.status == 409:
            return self._refused(answer, body)
        if answer.status not in (200, 201):
            return _unwanted(answer, body)
        given = _held(body)
        if given is None or body.get("track_name") != self.lab:
            return f"{answer.status} with a wrong body"
        self._news += answer.status == 201
        before, self.held = self.held, given
        if before is not None and before.sandbox_id != given.sandbox_id:
            return f"{answer.status} with another sandbox than it has"
        if self._news > 1:
            return "201 for what it has"
        if answer.status == 201:
            return ""
        if answer.headers.get("idempotent-replay") != "true":
            return "200 without Idempotent-Replay"
        if before is not None and before != given:
            return "200 with other times than before"
        return "" if self._news or self._in_flight or self._unsure else "200, but it had nothing"

    def _refused(self, answer: Answer, body: Body) -> str:
        if body.get("code") != "no_sandboxes_available" or not answer.headers.get("retry-after"):
            return "409 with a wrong body or no Retry-After"
        return "409, but it has a sandbox" if self.held is not None else ""

    def _released(self, held: Held, answer: Answer, body: Body) -> str:
        if answer.status != 200:
            return _unwanted(answer, body)
        if self.held == held:
            self.held, self._news, self._unsure = None, 0, False
        right = (_text(body, "sandbox_id"), body.get("status")) == (held.sandbox_id, "pending_deletion")
        return "" if right and _whole(body, "deletion_requested_at") else "200 with a wrong body"

    def _seen(self, held: Held, answer: Answer, body: Body) -> str:
        if answer.status != 200:
            return _unwanted(answer, body)
        return "" if _held(body) == held and body.get("status") == "allocated" else "200 with a wrong body"

    def _extended(self, held: Held, answer: Answer, body: Body) -> str:
        if answer.status != 200:
            return _unwanted(answer, body)
        later = _held(body)
        if later is None or (later.sandbox_id, later.allocated_at) != (held.sandbox_id, held.allocated_at):
            return "200 with a wrong body"
        self.held = later
        return "" if later.expires_at >= held.expires_at else "200, and it ends sooner"


def _object(answer: Answer) -> Body:
    """Empty where the body is no JSON object."""
    try:
        document = answer.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _held(body: Body) -> Held | None:
    texts = all(_text(body, name) for name in ("sandbox_id", "name", "external_id"))
    given = Held(_text(body, "sandbox_id"), _whole(body, "allocated_at"), _whole(body, "expires_at"))
    return given if texts and 0 < given.allocated_at < given.expires_at else None


def _unwanted(answer: Answer, body: Body) -> str:
    return f"{answer.status} {body.get('code', '')}".rstrip()


def _text(body: Body, name: str) -> str:
    value = body.get(name)
    return value if isinstance(value, str) else ""


def _whole(body: Body, name: str) -> int:
    value = body.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
