"""The web application of the fake FCM: POST /token, POST /v1/projects/{p}/messages:send, and /_control.

It keeps Google's manners (status, error shapes, bearer check) and none of its delivery.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
import uuid
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
from aiohttp import web

from harness.fakes.journal import Journal
from harness.fakes.scripts import take
from harness.fakes.wire import drop, foreign
from harness.fcm.responses import TOKEN_FIELDS, Scripted, bad_credentials, refusal, wrong_project

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
# google-auth signs for Google's own address, whatever token_uri the service account names.
GOOGLE_TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
_SCOPES = {
    "https://www.googleapis.com/auth/firebase.messaging",
    "https://www.googleapis.com/auth/cloud-platform",
}
_TOKEN_LIFE_S = 3600
_DATA_LIMIT = 4096
_SCRIPT_LIMIT = 16 * 2**20  # a scripted body may be huge


@dataclass
class FakeFcm:
    """State and handlers. public_key: PEM; client_email and project_id: of the one known service account."""

    public_key: str
    client_email: str
    project_id: str
    inbox_file: Path | None = None
    scripts: dict[str | None, list[Scripted]] = field(default_factory=lambda: defaultdict(list))
    oauth_script: list[Scripted] = field(default_factory=list)
    token_requests: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        # Access tokens verify themselves, so they outlive a restart of the fake as Google's outlive an outage.
        self._token_key = hashlib.sha256(b"access tokens of " + self.public_key.encode()).digest()
        self._grants = 0  # access tokens are numbered
        self._revoked = 0  # up to this number they are refused
        kept = self.inbox_file.read_text() if self.inbox_file is not None and self.inbox_file.exists() else ""
        self.inbox = Journal([json.loads(line) for line in kept.splitlines()])

    def app(self) -> web.Application:
        """The application, ready to serve."""
        app = web.Application(client_max_size=_SCRIPT_LIMIT)
        app.router.add_post("/token", self.token)
        app.router.add_post("/v1/projects/{project}/messages:send", self.send)
        app.router.add_get("/_control/inbox", self.read_inbox)
        app.router.add_post("/_control/script", self.script)
        app.router.add_post("/_control/oauth", self.script_oauth)
        app.router.add_get("/_control/oauth", self.read_token_requests)
        app.router.add_post("/_control/revoke", self.revoke)
        app.router.add_post("/_control/reset", self.reset)
        return app

    async def token(self, request: web.Request) -> web.StreamResponse:
        """RFC 7523: a signed assertion of the service account for an access token."""
        form = await request.post()
        scripted = take(self.oauth_script) or Scripted()
        asked: dict[str, Any] = {"at": time.time(), "grant": None}
        self.token_requests.append(asked)
        await asyncio.sleep(scripted.delay_s)
        if scripted.drop:
            return drop(request)
        if scripted.body is not None:
            return await foreign(request, scripted)
        if scripted.status != 200:
            return web.json_response({"error": "internal_failure"}, status=scripted.status)
        try:
            if form.get("grant_type") != JWT_BEARER:
                return _oauth_error("unsupported_grant_type", "Invalid grant_type.")
            claims = jwt.decode(
                str(form.get("assertion", "")),
                self.public_key,
                algorithms=["RS256"],
                audience=[GOOGLE_TOKEN_URI, str(request.url.with_query(None))],
                issuer=self.client_email,
                options={"require": ["exp", "iat", "iss", "aud"]},
            )
        except jwt.InvalidSignatureError:
            return _oauth_error("invalid_grant", "Invalid JWT Signature.")
        except jwt.InvalidTokenError as error:
            return _oauth_error("invalid_grant", f"Invalid JWT: {error}")
        if claims["exp"] - claims["iat"] > _TOKEN_LIFE_S:
            return _oauth_error("invalid_grant", "Invalid JWT: Token must be a short-lived token (60 minutes).")
        if not _SCOPES & set(str(claims.get("scope", "")).split()):
            return _oauth_error("invalid_scope", "Invalid OAuth scope or ID token audience provided.")
        life_s = _TOKEN_LIFE_S if scripted.life_s is None else scripted.life_s
        token = self.issue(time.time() + life_s)
        asked["grant"] = self._grants
        return web.json_response({"access_token": token, "expires_in": life_s, "token_type": "Bearer"})

    def issue(self, expires_at: float) -> str:
        """An access token that `accepts` until then, or until it is revoked."""
        self._grants += 1
        facts = f"{expires_at:.3f} {self._grants} {uuid.uuid4().hex}"
        body = base64.urlsafe_b64encode(facts.encode()).decode().rstrip("=")
        return f"ya29.{body}.{self._seal(body)}"

    def accepts(self, authorization: str) -> int | None:
        """The number of the access token in this Authorization header; None: not ours, expired or revoked."""
        scheme, _, token = authorization.partition(" ")
        prefix, _, rest = token.partition(".")
        body, _, seal = rest.partition(".")
        if scheme.lower() != "bearer" or prefix != "ya29":
            return None
        if not hmac.compare_digest(seal.encode(errors="replace"), self._seal(body).encode()):
            return None
        expires_at, number, _ = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)).decode().split()
        return int(number) if time.time() < float(expires_at) and int(number) > self._revoked else None

    def _seal(self, body: str) -> str:
        return hmac.new(self._token_key, body.encode(errors="replace"), "sha256").hexdigest()

    async def send(self, request: web.Request) -> web.StreamResponse:
        """One message, judged as Google would: credentials, project, shape; then what the script says."""
        raw = await request.read()
        grant = self.accepts(request.headers.get("Authorization", ""))
        if grant is None:
            return web.json_response(bad_credentials(), status=401)
        project = request.match_info["project"]
        if project != self.project_id:
            return web.json_response(wrong_project(project), status=403)
        try:
            message = _message(raw)
        except ValueError as error:
            return web.json_response(refusal("INVALID_ARGUMENT", violation=error.args), status=400)
        token = message["token"]
        scripted = take(self.scripts[token]) or take(self.scripts[None]) or Scripted()
        await asyncio.sleep(scripted.delay_s)
        taken = scripted.status == 200 and scripted.body is None
        name = f"projects/{project}/messages/{uuid.uuid4().hex}" if taken else None
        self._keep(message, name, scripted.status, grant)
        if scripted.drop:
            return drop(request)
        if scripted.body is not None:
            return await foreign(request, scripted)
        if name is not None:
            return web.json_response({"name": name})
        document = refusal(scripted.error_code or "INTERNAL")
        return web.json_response(document, status=scripted.status, headers=scripted.headers)

    def _keep(self, message: dict[str, Any], name: str | None, status: int, grant: int) -> None:
        item = self.inbox.add(
            {
                "token": message["token"],
                "data": message.get("data", {}),
                "android": message.get("android", {}),
                "message_id": name,
                "status": status,
                "grant": grant,
            }
        )
        if self.inbox_file is not None:
            with self.inbox_file.open("a") as file:
                file.write(json.dumps(item) + "\n")

    async def read_inbox(self, request: web.Request) -> web.Response:
        """Items with seq > after, for one token or all; waits up to wait_s for the first."""
        return web.json_response({"items": await self.inbox.read(request.query, "token")})

    async def script(self, request: web.Request) -> web.Response:
        """Replace the script of one token, or (token absent) of all the others."""
        body = await request.json()
        try:
            answers = [Scripted.parse(answer) for answer in body["answers"]]
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=400)
        self.scripts[body.get("token")] = answers
        return web.json_response({})

    async def script_oauth(self, request: web.Request) -> web.Response:
        """Replace the script of POST /token."""
        body = await request.json()
        try:
            self.oauth_script = [Scripted.parse(answer, TOKEN_FIELDS) for answer in body["answers"]]
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response({})

    async def read_token_requests(self, _: web.Request) -> web.Response:
        """Every request for an access token."""
        return web.json_response({"items": self.token_requests})

    async def revoke(self, _: web.Request) -> web.Response:
        """Refuse the access tokens that were granted so far."""
        self._revoked = self._grants
        return web.json_response({})

    async def reset(self, _: web.Request) -> web.Response:
        """Forget messages, scripts and token requests."""
        self.inbox.clear()
        self.scripts.clear()
        self.oauth_script.clear()
        self.token_requests.clear()
        if self.inbox_file is not None:
            self.inbox_file.write_text("")
        return web.json_response({})


def _message(raw: bytes) -> dict[str, Any]:
    """The message of a send request. ValueError(field, description) for what Google refuses with INVALID_ARGUMENT."""
    try:
        body = json.loads(raw)
    except ValueError:
        raise ValueError("", "Invalid JSON payload received.") from None
    message = body.get("message") if isinstance(body, dict) else None
    if not isinstance(message, dict):
        raise ValueError("message", "Message is required.")  # noqa: TRY004 - a refusal of Google's, not a wrong call
    token, data = message.get("token"), message.get("data", {})
    if not isinstance(token, str) or not token:
        raise ValueError("message.token", "The registration token is not a valid FCM registration token")
    if not isinstance(data, dict) or not all(isinstance(value, str) for value in data.values()):
        raise ValueError("message.data", "Invalid value at 'message.data': the values must be strings.")
    if sum(len(key.encode()) + len(value.encode()) for key, value in data.items()) > _DATA_LIMIT:
        raise ValueError("message", f"Message too big: data exceeds {_DATA_LIMIT} bytes.")
    return message


def _oauth_error(error: str, description: str) -> web.Response:
    return web.json_response({"error": error, "error_description": description}, status=400)
