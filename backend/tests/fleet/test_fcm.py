"""The real firebase-admin against an HTTP server of our own: the private seams, every error, every bound in time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from firebase_admin import messaging
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import SecretStr
from support.database import settings_for

from nexmdm.fleet.fcm import Push
from nexmdm.fleet.fcm_verdict import Attempt, Verdict

# firebase-admin 7.7 wants installation ids; devices report registration tokens, which FCM takes as before.
pytestmark = pytest.mark.filterwarnings("ignore:Message.token is deprecated:DeprecationWarning")

DATA = {"request_id": "r1", "action": "ping", "params": "{}"}
FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"


def error(status: int, name: str, fcm_code: str | None = None) -> bytes:
    details = [{"@type": FCM_ERROR, "errorCode": fcm_code}] if fcm_code else []
    return json.dumps({"error": {"code": status, "message": "m", "status": name, "details": details}}).encode()


@dataclass
class Server:
    """Answers /token with a token and every send with `status` and `body`; keeps the requests."""

    status: int = 200
    body: bytes = b'{"name": "projects/p/messages/1"}'
    length: int | None = None
    headers: str = ""
    stall: bool = False
    drop: bool = False
    token_status: int = 200
    access_token: str = "t"
    sends: list[str] = field(default_factory=list)
    handlers: set[asyncio.Task[None]] = field(default_factory=set)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.handlers.add(asyncio.create_task(self.handle(reader, writer)))

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = next(int(line.split(":")[1]) for line in head.splitlines() if line.startswith("content-length"))
        await reader.readexactly(length)
        if head.startswith("post /token"):
            granted = json.dumps({"access_token": self.access_token, "expires_in": 3600}).encode()
            answer = self.answer(self.token_status, granted, len(granted), "")
        else:
            self.sends.append(head)
            if self.stall:
                await self.ended.wait()
            length = len(self.body) if self.length is None else self.length
            answer = b"" if self.drop else self.answer(self.status, self.body, length, self.headers)
        with suppress(ConnectionError):  # who asked has read enough
            writer.write(answer)
            await writer.drain()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    @staticmethod
    def answer(status: int, body: bytes, length: int, headers: str) -> bytes:
        head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n"
        return f"{head}connection: close\r\n{headers}\r\n".encode() + body


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    listening = await asyncio.start_server(made.accept, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    yield made
    made.ended.set()
    listening.close()
    await asyncio.gather(*made.handlers, return_exceptions=True)


@pytest.fixture(scope="module")
def private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


@pytest.fixture
async def push(server: Server, private_key: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Push]:
    # The endpoint is a class constant of firebase-admin: put back what Push moves.
    monkeypatch.setattr(messaging._MessagingService, "FCM_URL", messaging._MessagingService.FCM_URL)
    account = {
        "type": "service_account",
        "project_id": "p",
        "client_email": "a@p.invalid",
        "private_key": private_key,
        "token_uri": f"{server.url}/token",
    }
    settings = settings_for(
        "postgresql://unused",
        firebase_service_account_json=SecretStr(json.dumps(account)),
        fcm_base_url=server.url,
        fcm_timeout_s=1,
    )
    async with aclosing(Push(settings)) as made:
        yield made


async def send(push: Push) -> Attempt:
    return await push.send("device-token", DATA, 60)


async def test_a_message_is_sent_to_the_moved_endpoint_with_the_fetched_token(push: Push, server: Server) -> None:
    attempt = await send(push)
    assert (attempt.verdict, attempt.http_code, attempt.fcm_code) == (Verdict.SENT, 200, "OK")
    assert attempt.message_id == "projects/p/messages/1"
    assert server.sends[0].startswith("post /v1/projects/p/messages:send")
    assert "authorization: bearer t\r\n" in server.sends[0]
    assert "x-goog-api-format-version: 2\r\n" in server.sends[0], "by which FCM names its error code"


@pytest.mark.parametrize(
    "status,name,fcm_code,expected,verdict",
    [
        (400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "INVALID_ARGUMENT", Verdict.FINAL),
        (401, "UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR", "THIRD_PARTY_AUTH_ERROR", Verdict.FINAL),
        (403, "PERMISSION_DENIED", "SENDER_ID_MISMATCH", "SENDER_ID_MISMATCH", Verdict.FINAL),
        (404, "NOT_FOUND", "UNREGISTERED", "UNREGISTERED", Verdict.TOKEN_DEAD),
        (429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED", "QUOTA_EXCEEDED", Verdict.RETRY),
        (500, "INTERNAL", "INTERNAL", "INTERNAL", Verdict.RETRY),
        (503, "UNAVAILABLE", "UNAVAILABLE", "UNAVAILABLE", Verdict.RETRY),
        (401, "UNAUTHENTICATED", None, "UNAUTHENTICATED", Verdict.RETRY),
        (502, "", None, "NOT_FROM_FCM", Verdict.RETRY),
    ],
)
async def test_an_error_is_recorded_as_fcm_names_it_and_each_attempt_is_ours(
    push: Push, server: Server, status: int, name: str, fcm_code: str | None, expected: str, verdict: Verdict
) -> None:
    server.status, server.body = status, error(status, name, fcm_code)
    attempt = await send(push)
    assert (attempt.http_code, attempt.fcm_code, attempt.verdict) == (status, expected, verdict)
    assert len(server.sends) == 1, "firebase-admin retries by itself: a seam has moved"


async def test_a_token_that_fcm_refuses_is_replaced_before_the_next_attempt(push: Push, server: Server) -> None:
    server.status, server.body = 401, error(401, "UNAUTHENTICATED")
    await send(push)
    server.status, server.body, server.access_token = 200, b'{"name": "m"}', "another"
    assert (await send(push)).verdict is Verdict.SENT
    assert "authorization: bearer another" in server.sends[-1]


async def test_retry_after_is_kept(push: Push, server: Server) -> None:
    server.status, server.body = 429, error(429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED")
    server.headers = "retry-after: 7\r\n"
    assert (await send(push)).retry_after_s == 7


def _drop(server: Server) -> None:
    server.drop = True


def _stall(server: Server) -> None:
    server.stall = True


def _no_token(server: Server) -> None:
    server.token_status = 503


def _not_json(server: Server) -> None:
    server.status, server.body = 503, b"<html>"


@pytest.mark.parametrize(
    "fail,expected",
    [(_drop, "NO_ANSWER"), (_stall, "DEADLINE_EXCEEDED"), (_no_token, "TOKEN_ENDPOINT"), (_not_json, "NOT_FROM_FCM")],
)
async def test_a_failure_without_an_answer_is_retryable_and_bounded(
    push: Push, server: Server, fail: Callable[[Server], Awaitable[None] | None], expected: str
) -> None:
    fail(server)
    started = asyncio.get_running_loop().time()
    attempt = await send(push)
    assert asyncio.get_running_loop().time() - started < 4
    assert (attempt.fcm_code, attempt.verdict) == (expected, Verdict.RETRY)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "error", "x"]), inner),
    max_leaves=8,
)


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    status=st.integers(200, 999),
    body=st.binary() | JSON.map(lambda value: json.dumps(value).encode()),
    headers=st.sampled_from(
        ["", "content-encoding: gzip\r\n", "retry-after: x\r\n", "location: /\r\n", "nonsense\r\n"]
    ),
    missing=st.sampled_from([0, 1]),
)
async def test_whatever_is_answered_is_an_attempt(
    push: Push, server: Server, status: int, body: bytes, headers: str, missing: int
) -> None:
    server.status, server.body, server.headers, server.length = status, body, headers, len(body) + missing
    before = len(server.sends)
    attempt = await send(push)
    assert len(server.sends) == before + 1
    assert attempt.verdict in {Verdict.SENT, Verdict.RETRY}, "no body of these is FCM's error document"
    assert (attempt.verdict is Verdict.SENT) == (attempt.fcm_code == "OK") == (attempt.message_id is not None)
    assert attempt.http_code is None or 100 <= attempt.http_code <= 599
    assert attempt.latency_ms >= 0


async def test_an_answer_without_end_is_not_read_to_its_end(push: Push, server: Server) -> None:
    server.body, server.length = b" " * 1_000_000, 10**12
    attempt = await send(push)
    assert (attempt.http_code, attempt.fcm_code) == (200, "NOT_FROM_FCM")
