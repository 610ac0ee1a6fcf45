"""A fake Firebase Cloud Messaging as a process of its own, and the control that steers and reads it.

It delivers to nobody: a simulated device reads its messages from the inbox.
Run alone: `python -m harness.fcm.server --port 0` prints one JSON line {url, service_account} and serves until SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from harness.fakes.control import Control
from harness.fakes.scripts import on_the_wire
from harness.processes.announcing import AnnouncingChild, announce, until_stopped
from harness.settings import SECRETS, HarnessError


class FcmError(HarnessError):
    """The fake FCM did not start, or refused a control request."""


class FcmControl(Control):
    """Steers and reads a running fake FCM."""

    def __init__(self, url: str, *, timeout_s: float = 10.0) -> None:
        super().__init__(url, "the fake FCM", FcmError, timeout_s=timeout_s)

    def inbox(self, token: str | None = None, *, after: int = 0, wait_s: float = 0.0) -> list[dict[str, Any]]:
        """Send attempts with seq > `after`, oldest first, for one registration token or for all.

        Each: seq, at (unix seconds), token, data, android, message_id (null unless FCM took it), status (0: connection
        dropped), grant (number of the access token). wait_s: when there is none yet, wait this long for the first one
        (long poll, no busy loop).
        Sends with bad credentials, a wrong project or a malformed message never get this far.
        """
        query = {"after": after, "wait_s": wait_s} | ({} if token is None else {"token": token})
        items: list[dict[str, Any]] = self._call("GET", f"/_control/inbox?{urlencode(query)}", extra_s=wait_s)["items"]
        return items

    def script(self, answers: Sequence[dict[str, Any]], token: str | None = None) -> None:
        """What the next sends (to `token`, or to any token that has no script of its own) are answered.

        Each answer: status (default 200), error_code (UNREGISTERED, QUOTA_EXCEEDED, ...; default by status),
        delay_s, drop (close the connection instead of answering; the attempt then counts as status 0 unless a
        status is given), retry_after (seconds, or the header's text), times (default 1; 0: until the next script or
        reset). body (bytes; any status 200-599 goes with it) and content_type (default text/html): what something
        other than FCM would answer; cut: the connection ends in the middle of the body; drip_s: the pause after each of
        its bytes; location: where it redirects to. every: only each n-th send is answered so.
        When all are used up, sends succeed again.
        """
        self._call("POST", "/_control/script", {"token": token, "answers": on_the_wire(answers)})

    def script_oauth(self, answers: Sequence[dict[str, Any]]) -> None:
        """The same for POST /token: status, delay_s, drop, times, body, content_type, cut.

        life_s: how long the granted access token lives (default 3600).
        """
        self._call("POST", "/_control/oauth", {"answers": on_the_wire(answers)})

    def token_requests(self) -> list[dict[str, Any]]:
        """Requests for an access token since the last reset, oldest first: at (unix seconds), grant.

        grant: the number of the granted access token, as `grant` of the sends with it in the inbox; null: refused.
        """
        items: list[dict[str, Any]] = self._call("GET", "/_control/oauth")["items"]
        return items

    def revoke(self) -> None:
        """Refuse every access token that was granted so far: its next send is a 401."""
        self._call("POST", "/_control/revoke", {})

    def reset(self) -> None:
        """Empty the inbox (seq goes on counting), forget every script and every token request."""
        self._call("POST", "/_control/reset", {})


def make_service_account(token_uri: str, *, project_id: str = "nexmdm-test", private_key: str | None = None) -> str:
    """The JSON text of a service account with a fresh RSA key (or the given PEM one)."""
    return json.dumps(
        {
            "type": "service_account",
            "project_id": project_id,
            "private_key_id": "harness",
            "private_key": private_key or _new_key(),
            "client_email": f"harness@{project_id}.iam.test",
            "client_id": "1",
            "token_uri": token_uri,
        }
    )


def _new_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def public_key(private_key: str) -> str:
    """The PEM public half of a PEM private key."""
    key = serialization.load_pem_private_key(private_key.encode(), password=None)
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


class FcmServer(AnnouncingChild):
    """The fake as a child process of the harness. `.url`, `.control`, `.service_account` (JSON text)."""

    def __init__(self, log_file: Path | None = None) -> None:
        """Use `start`."""
        super().__init__("harness.fcm.server", "the fake FCM", error=FcmError, log=log_file)
        self._key = self.folder / "key.pem"
        self._key.touch(mode=0o600)
        self._key.write_text(_new_key())
        self.url = ""

    @classmethod
    def start(cls, port: int = 0, *, log_file: Path | None = None, wait: bool = True) -> FcmServer:
        """Start it on 127.0.0.1; returns when it answers, or with wait=False at once. Raises FcmError."""
        server = cls(log_file)
        server._launch(port)
        if wait:
            server.wait_ready()
        return server

    def wait_ready(self) -> dict[str, Any]:
        """Return when it answers; `.url` is known from then on. Raises FcmError."""
        said = super().wait_ready()
        self.url, self.service_account = said["url"], said["service_account"]
        SECRETS.add(json.loads(self.service_account)["private_key"])
        self.control = FcmControl(self.url)
        return said

    def kill(self) -> None:
        """SIGKILL: FCM is down, connections are refused. `restart` brings it back with its inbox."""
        self.stop(signal.SIGKILL)

    def restart(self) -> None:
        """Start again on the same port with the same key; inbox and issued access tokens survive, scripts do not."""
        self.stop()
        self._launch(urlsplit(self.url).port or 0)
        self.wait_ready()

    def _launch(self, port: int) -> None:
        self.launch("--port", str(port), "--key", str(self._key), "--inbox", str(self.folder / "inbox.jsonl"))


async def _serve(port: int, key: str, inbox: Path | None) -> None:
    from aiohttp import web  # noqa: PLC0415 - only the server process needs it, and it takes 0.2 s to import

    from harness.fcm.app import FakeFcm  # noqa: PLC0415

    account = json.loads(make_service_account("", private_key=key))
    fake = FakeFcm(public_key(key), account["client_email"], account["project_id"], inbox)
    runner = web.AppRunner(fake.app(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    announce(url=url, service_account=make_service_account(f"{url}/token", private_key=key))
    await until_stopped()
    await runner.cleanup()


def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m harness.fcm.server", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 (default: a free one)")
    parser.add_argument("--key", type=Path, help="PEM private key of the service account (default: a fresh one)")
    parser.add_argument("--inbox", type=Path, help="file that keeps the inbox over a restart")
    given = parser.parse_args()
    key = given.key.read_text() if given.key else _new_key()
    asyncio.run(_serve(given.port, key, given.inbox))


if __name__ == "__main__":
    main()
