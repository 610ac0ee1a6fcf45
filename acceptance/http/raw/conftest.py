"""What the cases of raw requests share: a sender that has the credentials of every operation with a JSON body."""

import pytest

from acceptance.access.requests import CALLS, Headers, own
from acceptance.http.raw.payloads import JSON
from acceptance.system.raw import Raw
from acceptance.system.system import System
from harness.http.client import Answer


class Sender:
    """Sends a body to an operation with good credentials, so that the body is what is judged."""

    def __init__(self, system: System, raw: Raw) -> None:
        self._system, self._raw = system, raw
        self._enrolment = system.token(uses_allowed=1000)["token"]
        self._device = system.somebody.token  # enrolled before a case counts rows

    def credentials(self, operation: str, body: bytes) -> Headers:
        return own(self._system, operation, device=self._device, enrolment=self._enrolment)(body)

    def __call__(
        self,
        operation: str,
        body: bytes,
        *extra: tuple[str, str],
        media_type: str | None = JSON,
        length: int | bool = True,
        chunks: int = 0,
    ) -> Answer:
        headers = [*self.credentials(operation, body), *extra]
        if media_type is not None:
            headers.append(("Content-Type", media_type))
        if not body:
            length = 0
        return self._raw(f"POST {CALLS[operation].path}", *headers, body=body, length=length, chunks=chunks)


@pytest.fixture
def post(system: System, raw: Raw) -> Sender:
    return Sender(system, raw)
