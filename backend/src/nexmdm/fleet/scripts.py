"""The scripts that an admin gives to whoever sets a device up: for a POSIX shell and for Windows.

They never hold a token, which is given when a script runs. Nothing in them comes from a caller unchecked or unquoted.
"""

from __future__ import annotations

import re
import shlex
from string import Template
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request, Response

from nexmdm.fleet.events import SCRIPT_RENDER
from nexmdm.http.admin_auth import ADMIN_ONLY
from nexmdm.http.pagination import refuse_repeated_parameters
from nexmdm.http.problems import OF_AN_ADMIN
from nexmdm.http.runtime import runtime
from nexmdm.http.types import Alias
from nexmdm.kernel.log import emit
from nexmdm.kernel.problems import VALIDATION_ERROR, answers, invalid

router = APIRouter(tags=["apk"], dependencies=[*ADMIN_ONLY, Depends(refuse_repeated_parameters)])

# A host name or an IPv4 address, or an IPv6 address in brackets (RFC 3986 section 3.2.2), and a port.
_AUTHORITY: Final = re.compile(r"([A-Za-z0-9]([A-Za-z0-9.-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")
_REFUSALS: Final = answers(*OF_AN_ADMIN, VALIDATION_ERROR)


class _Script(Template):
    delimiter = "@@"  # both shells use $ and @ for themselves


_SH: Final = _Script(
    r"""#!/bin/sh
# Fetches the NexMDM agent and installs it on the Android device that adb sees. It holds no secret.
#   sh enroll.sh TOKEN        or        NEXMDM_ENROLL_TOKEN=TOKEN sh enroll.sh
set -eu
LC_ALL=C
export LC_ALL

base_url=@@{base_url}
device_alias=@@{alias}
apk=nexmdm-agent.apk
token=${1:-${NEXMDM_ENROLL_TOKEN:-}}

fail() {
    printf 'enroll: %s\n' "$*" >&2
    exit 1
}

case $token in
    '') fail 'give the enrolment token as the first argument or in NEXMDM_ENROLL_TOKEN' ;;
    *[!A-Za-z0-9_-]*) fail 'this is not an enrolment token' ;;
    nxe_*) ;;
    *) fail 'this is not an enrolment token' ;;
esac
command -v curl >/dev/null 2>&1 || fail 'curl is not installed'

umask 077
part=$(mktemp ./nexmdm-agent.XXXXXX)
trap 'rm -f "$part"' EXIT
# Through standard input, so that the token stands in no list of processes.
printf 'header = "Authorization: Bearer %s"\n' "$token" |
    curl --config - --fail --silent --show-error --connect-timeout 10 --output "$part" \
        "$base_url/v1/apk/download-latest" || fail 'the agent could not be downloaded'
mv "$part" "$apk"
printf 'Downloaded %s\n' "$apk"

if command -v adb >/dev/null 2>&1 && adb get-state >/dev/null 2>&1; then
    adb install -r "$apk" || fail 'adb could not install the agent'
else
    printf 'No device under adb: install %s by hand.\n' "$apk"
fi
printf 'Next, open the agent on the device and enter\n'
printf '  server  %s\n  alias   %s\n  token   the one that you gave to this script\n' "$base_url" "$device_alias"
"""
)

_CMD: Final = _Script(
    r"""@echo off
rem Fetches the NexMDM agent and installs it on the Android device that adb sees. It holds no secret.
rem   enroll.cmd TOKEN        or        set NEXMDM_ENROLL_TOKEN=TOKEN and then enroll.cmd
setlocal EnableExtensions EnableDelayedExpansion

set "BASE_URL=@@{base_url}"
set "DEVICE_ALIAS=@@{alias}"
set "APK=nexmdm-agent.apk"
set "TOKEN=%~1"
if not defined TOKEN set "TOKEN=!NEXMDM_ENROLL_TOKEN!"
if not defined TOKEN (
    echo enroll: give the enrolment token as the first argument or in NEXMDM_ENROLL_TOKEN 1>&2
    exit /b 1
)
if not "!TOKEN:~0,4!"=="nxe_" (
    echo enroll: this is not an enrolment token 1>&2
    exit /b 1
)
where curl >nul 2>nul || (
    echo enroll: curl is not installed 1>&2
    exit /b 1
)

rem Through a file, so that the token stands in no list of processes.
set "CONFIG=%TEMP%\nexmdm-!RANDOM!!RANDOM!.txt"
> "!CONFIG!" echo header = "Authorization: Bearer !TOKEN!"
curl --config "!CONFIG!" --fail --silent --show-error --connect-timeout 10 --output "!APK!.part" ^
    "!BASE_URL!/v1/apk/download-latest"
set "RESULT=!ERRORLEVEL!"
del /q "!CONFIG!"
if not "!RESULT!"=="0" (
    del /q "!APK!.part" 2>nul
    echo enroll: the agent could not be downloaded 1>&2
    exit /b 1
)
move /y "!APK!.part" "!APK!" >nul
echo Downloaded !APK!

set "INSTALLED="
where adb >nul 2>nul && adb get-state >nul 2>nul && adb install -r "!APK!" && set "INSTALLED=yes"
if not defined INSTALLED echo Not installed by adb: install !APK! by hand.
echo Next, open the agent on the device and enter
echo   server  !BASE_URL!
echo   alias   !DEVICE_ALIAS!
echo   token   the one that you gave to this script
"""
)


def public_url(request: Request) -> str:
    """Where devices reach this service: the setting, else what the request itself was sent to.

    Raises:
        Problem: 422 where the Host header is no host.
    """
    configured: str | None = runtime(request).settings.public_url
    if configured is not None:
        return configured
    authority = request.headers.get("host", "")
    if not _AUTHORITY.fullmatch(authority):
        raise invalid("/header/host", "host", "The Host header is not a host.")
    return f"{request.scope['scheme']}://{authority}"


def quote_for_cmd(value: str) -> str:
    """The value, where it can stand inside `set "NAME=..."`: cmd.exe has no quoting that is safe for the rest."""
    if not re.fullmatch(r"[A-Za-z0-9._~:/\[\]-]*", value):
        raise ValueError("cannot be quoted for cmd.exe")
    return value


def render_sh(base_url: str, alias: str) -> str:
    """The script for a POSIX shell."""
    return _SH.substitute(base_url=shlex.quote(base_url), alias=shlex.quote(alias))


def render_cmd(base_url: str, alias: str) -> str:
    """The script for Windows, with the line ends that cmd.exe needs."""
    script = _CMD.substitute(base_url=quote_for_cmd(base_url), alias=quote_for_cmd(alias))
    return script.replace("\n", "\r\n")


@router.get("/v1/scripts/enroll.sh", operation_id="renderEnrollSh", response_class=Response, responses=_REFUSALS)
async def enroll_sh(request: Request, alias: Annotated[Alias, Query()]) -> Response:
    """Render the enrolment script for a POSIX shell."""
    script = render_sh(public_url(request), alias)
    emit(SCRIPT_RENDER, script="enroll.sh", alias=alias)
    return Response(script, media_type="text/x-shellscript; charset=utf-8")


@router.get("/v1/scripts/enroll.cmd", operation_id="renderEnrollCmd", response_class=Response, responses=_REFUSALS)
async def enroll_cmd(request: Request, alias: Annotated[Alias, Query()]) -> Response:
    """Render the enrolment script for Windows."""
    script = render_cmd(public_url(request), alias)
    emit(SCRIPT_RENDER, script="enroll.cmd", alias=alias)
    return Response(script, media_type="application/x-bat; charset=utf-8")
