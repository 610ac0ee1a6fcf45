"""Whether a given deployment can be tested at all; if not, one line says what to mend, and the run is inconclusive.

It asks nothing that changes a row there. A stack of the harness's own is not asked: what is wrong with it is a finding.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import psutil
import psycopg

from harness.fcm.server import FcmControl
from harness.http.client import Answer, Client, HttpxTransport, TransportError
from harness.provider.server import ProviderControl
from harness.settings import HarnessError, SettingsError, Target

CHECKED: Final = "NEXMDM_CHECKED"  # the base URL that the launcher has started or checked for its command
PATIENCE_S: Final = 10.0
_NONE_YET: Final = 2**53  # no message of an inbox has this number
_READINESS: Final = "GET /readyz"


def given_target(environ: Mapping[str, str] | None = None) -> Target:
    """The target of the environment, looked at unless the launcher has done so. SettingsError: it cannot be tested."""
    env = os.environ if environ is None else environ
    target = Target.from_env(env)
    if env.get(CHECKED) != target.base_url:
        check(target)
    return target


def check(target: Target) -> None:
    """Raise SettingsError, which names the variable and says what to do, unless the target can be tested."""
    trusted = os.environ.get("SSL_CERT_FILE")
    if trusted and target.base_url.startswith("https:") and not os.access(trusted, os.R_OK):
        raise SettingsError(f"SSL_CERT_FILE: {trusted} cannot be read")
    transport = HttpxTransport(target.base_url, timeout_s=PATIENCE_S)
    with contextlib.closing(transport):
        client = Client(transport, target.admin_key, target.hmac_secret)
        try:
            _identity(client, target.base_url)
            _keys(client)
        except TransportError as error:
            raise SettingsError(f"NEXMDM_BASE_URL: {_unreachable(target.base_url, error)}") from None
    _insides(target)


def refuse_given(suite: str, environ: Mapping[str, str] | None = None) -> None:
    """Raise SettingsError where a base URL is given to a suite that works on stacks of its own alone."""
    env = os.environ if environ is None else environ
    if env.get("NEXMDM_BASE_URL"):
        raise SettingsError(f"NEXMDM_BASE_URL: set, but {suite} starts stacks of its own; unset it")


def _identity(client: Client, base_url: str) -> None:
    answer = client.request("GET", "/readyz")
    if 300 <= answer.status < 400:
        where = answer.headers.get("location", "nowhere")
        raise SettingsError(f"NEXMDM_BASE_URL: {base_url} redirects to {where}; give the address of the API itself")
    if answer.status == 200 and _member(answer, "status") == "ready":
        return
    if answer.status == 503 and (code := _member(answer, "code")):
        raise SettingsError(f"NEXMDM_BASE_URL: {_READINESS} answered 503 {code}: the deployment is not ready")
    if base_url.startswith("http:") and _speaks_tls(base_url):
        raise SettingsError(f"NEXMDM_BASE_URL: {_write_https(base_url)}")
    what = f"{answer.status}" if answer.status != 200 else "200, but not as NexMDM does"
    raise SettingsError(f"NEXMDM_BASE_URL: {_READINESS} answered {what}: {base_url} is not the root of a NexMDM")


def _keys(client: Client) -> None:
    listed = client.admin("GET", "/v1/devices", params={"limit": 1})
    if listed.status in (401, 403):
        said = f"{listed.status} {_member(listed, 'code')}".rstrip()
        raise SettingsError(f"NEXMDM_ADMIN_KEY: the deployment refuses it ({said})")
    # The signature is looked at before the body; this body is no command, so nothing is sent to anybody.
    signed = client.command({})
    if signed.status in (401, 403):
        code = _member(signed, "code")
        if code == "signature_expired":
            raise SettingsError("NEXMDM_HMAC_SECRET: signature_expired: the clocks here and there differ by minutes")
        raise SettingsError(
            f"NEXMDM_HMAC_SECRET: the deployment refuses the signature ({signed.status} {code})".rstrip()
        )


def _insides(target: Target) -> None:
    """What else was given must be there too."""
    if target.database_url is not None:
        try:
            psycopg.connect(target.database_url, connect_timeout=int(PATIENCE_S)).close()
        except psycopg.Error as error:
            raise SettingsError(f"DATABASE_URL: {_first_line(error)}") from None
    if target.log_file is not None and not os.access(target.log_file, os.R_OK):
        raise SettingsError(f"NEXMDM_LOG_FILE: {Path(target.log_file)} cannot be read")
    if target.fcm_url is not None:
        try:
            FcmControl(target.fcm_url, timeout_s=PATIENCE_S).inbox(after=_NONE_YET)
        except (HarnessError, ValueError, KeyError) as error:
            raise SettingsError(f"NEXMDM_FCM_URL: {_first_line(error)}") from None
    if target.provider_control_url is not None:
        try:
            ProviderControl(target.provider_control_url, timeout_s=PATIENCE_S).calls(after=_NONE_YET)
        except (HarnessError, ValueError, KeyError) as error:
            raise SettingsError(f"NEXMDM_PROVIDER_CONTROL_URL: {_first_line(error)}") from None
    if target.backend_pid is not None and not psutil.pid_exists(target.backend_pid):
        raise SettingsError(f"NEXMDM_BACKEND_PID: there is no process {target.backend_pid} on this machine")


def _unreachable(base_url: str, error: BaseException) -> str:
    """Why there was no HTTP answer, from the innermost cause out."""
    causes = [error]
    while (inner := causes[-1].__cause__ or causes[-1].__context__) is not None and inner not in causes:
        causes.append(inner)
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return (
                f"the certificate of {urlsplit(base_url).hostname} is not trusted ({cause.verify_message.rstrip('.')});"
                " SSL_CERT_FILE names the file of its CA"
            )
    if base_url.startswith("https:") and any(isinstance(cause, ssl.SSLError) for cause in causes):
        return f"no TLS at {base_url} ({_first_line(causes[-1])}); write http:// where it is plain"
    if base_url.startswith("http:") and _speaks_tls(base_url):
        return _write_https(base_url)
    if any(isinstance(cause, TimeoutError) for cause in causes):
        return f"{base_url} does not answer within {PATIENCE_S:g} s"
    return f"{base_url} cannot be reached ({_first_line(causes[-1])})"


def _write_https(base_url: str) -> str:
    parts = urlsplit(base_url)
    return f"{parts.netloc} speaks TLS; write https://{parts.netloc}"


def _speaks_tls(base_url: str) -> bool:
    """Whether there is TLS at the address, whoever it belongs to: nothing is sent over it."""
    anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    parts = urlsplit(base_url)
    address = (parts.hostname or "", parts.port or 80)
    try:
        with socket.create_connection(address, timeout=PATIENCE_S) as plain, anybody.wrap_socket(plain):
            return True
    except OSError:
        return False


def _member(answer: Answer, name: str) -> str:
    """A member of a JSON object; "" where the body is none or has it not."""
    try:
        document = answer.json()
    except ValueError:
        return ""
    return str(document.get(name, "")) if isinstance(document, dict) else ""


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
