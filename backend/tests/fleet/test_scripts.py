"""The enrolment scripts: clean for the linters of their shells, safe against hostile input, and doing what they say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from support.database import settings_for

from nexmdm.app import create_api
from nexmdm.fleet.scripts import quote_for_cmd, render_cmd, render_sh

TOKEN = "nxe_" + "A1_-" * 10 + "abc"
HOSTILE = ["a'; touch owned; '", "$(touch owned)", "`touch owned`", 'a"; touch owned; "', "a\ntouch owned", "-n"]


def run(script: str, folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a script in `folder`, where a stand-in for curl writes down what it was given and answers with an APK."""
    tools = folder / "tools"
    tools.mkdir(exist_ok=True)
    curl = tools / "curl"
    curl.write_text(
        '#!/bin/sh\nprintf "%s\\n" "$@" >arguments\ncat >config\n'
        'while [ "$#" -gt 0 ]; do [ "$1" = --output ] && printf apk >"$2"; shift; done\nexit "${CURL_FAILS:-0}"\n'
    )
    curl.chmod(0o755)
    return subprocess.run(
        ["sh", "-c", script, "enroll.sh", *arguments],
        cwd=folder,
        env={"PATH": f"{tools}:{os.environ['PATH']}", **env},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


@pytest.mark.parametrize("base_url,alias", [("http://127.0.0.1:8080", "D01"), ("https://[::1]:8443/mdm", "a.b-c_d")])
def test_the_shell_script_is_clean(base_url: str, alias: str, tmp_path: Path) -> None:
    script = tmp_path / "enroll.sh"
    script.write_text(render_sh(base_url, alias))
    shellcheck = Path(sys.executable).with_name("shellcheck")  # from a wheel, beside this interpreter
    for command in (["bash", "-n"], ["sh", "-n"], [str(shellcheck), "--severity=style"]):
        checked = subprocess.run([*command, str(script)], capture_output=True, text=True, timeout=20, check=False)
        assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_the_shell_script_fetches_the_agent_and_hides_the_token(how: str, tmp_path: Path) -> None:
    script = render_sh("http://mdm.example:8080", "D01")
    done = run(script, tmp_path, TOKEN) if how == "argument" else run(script, tmp_path, NEXMDM_ENROLL_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "nexmdm-agent.apk").read_text() == "apk"
    arguments = (tmp_path / "arguments").read_text()
    assert "http://mdm.example:8080/v1/apk/download-latest" in arguments
    assert (tmp_path / "config").read_text() == f'header = "Authorization: Bearer {TOKEN}"\n'
    for shown in (arguments, done.stdout, done.stderr, script):
        assert TOKEN not in shown
    assert "D01" in done.stdout


@pytest.mark.parametrize("token", ["", "nxd_" + "a" * 40, 'nxe_a"\nurl = "http://evil', "nxe_$(id)", "nxe_é"])
def test_the_shell_script_refuses_what_is_no_token(token: str, tmp_path: Path) -> None:
    done = run(render_sh("http://mdm.example", "D01"), tmp_path, token)
    assert done.returncode == 1
    assert not (tmp_path / "arguments").exists(), "curl was not even started"
    assert "enrol" in done.stderr


def test_a_failed_download_leaves_no_file(tmp_path: Path) -> None:
    done = run(render_sh("http://mdm.example", "D01"), tmp_path, TOKEN, CURL_FAILS="22")
    assert done.returncode == 1
    assert [path.name for path in tmp_path.iterdir() if "agent" in path.name] == []


@pytest.mark.parametrize("value", HOSTILE)
def test_no_value_breaks_out_of_the_shell_script(value: str, tmp_path: Path) -> None:
    for script in (render_sh("http://mdm.example", value), render_sh(value, "D01")):
        run(script, tmp_path, TOKEN)
        assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("value", [*HOSTILE[:-1], "a&b", "a|b", "%PATH%", "a^b", "a!b!", 'x"'])
def test_a_value_that_cmd_cannot_hold_is_not_rendered(value: str) -> None:
    with pytest.raises(ValueError, match="quoted"):
        quote_for_cmd(value)


def test_the_windows_script_ends_its_lines_as_cmd_needs() -> None:
    script = render_cmd("https://[::1]:8443", "D01")
    assert script.count("\r\n") == script.count("\n") > 20
    assert 'set "BASE_URL=https://[::1]:8443"' in script
    assert 'set "DEVICE_ALIAS=D01"' in script
    assert script.isascii()


async def test_the_address_is_that_of_the_request_unless_one_is_set(api: httpx.AsyncClient, database_url: str) -> None:
    answer = await api.get("/v1/scripts/enroll.sh", params={"alias": "D01"})
    assert answer.headers["content-type"] == "text/x-shellscript; charset=utf-8"
    assert "base_url=http://mdm.example:81\n" in answer.text
    app = create_api(settings_for(database_url, public_url="https://public.example/mdm"))
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=httpx.ASGITransport(app)) as other:
        answer = await other.get("http://x/v1/scripts/enroll.cmd", params={"alias": "D01"}, headers=api.headers)
    assert answer.headers["content-type"] == "application/x-bat; charset=utf-8"
    assert 'set "BASE_URL=https://public.example/mdm"' in answer.text


@pytest.mark.parametrize(
    "host", ["x$(touch owned)", "x`id`", 'x"&calc&"', "x'y", "", "a b", "é", "x" * 300, "[zz]", "x:y"]
)
@pytest.mark.parametrize("script", ["enroll.sh", "enroll.cmd"])
async def test_a_host_that_is_none_is_refused(api: httpx.AsyncClient, script: str, host: str) -> None:
    answer = await api.get(f"/v1/scripts/{script}", params={"alias": "D01"}, headers=[(b"Host", host.encode())])
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/header/host"
    assert len(host) < 3 or host not in answer.text


@pytest.mark.parametrize("alias", ["", "a b", "$(id)", "-a", "a" * 65, "a\n", "é"])
async def test_an_alias_that_is_none_is_refused(api: httpx.AsyncClient, alias: str) -> None:
    answer = await api.get("/v1/scripts/enroll.sh", params={"alias": alias})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/query/alias"


async def test_only_an_admin_gets_a_script(api: httpx.AsyncClient) -> None:
    answer = await api.get("/v1/scripts/enroll.sh", params={"alias": "D01"}, headers={"X-Admin": "wrong"})
    assert (answer.status_code, answer.json()["code"]) == (403, "admin_required")
