"""GET /v1/scripts/enroll.sh and enroll.cmd: scripts that enrol a device; the token is given when they run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from acceptance.fleet.apks import upload
from acceptance.suite.case import case
from acceptance.system.api import Api
from acceptance.system.logs import Logs
from acceptance.system.match import accepted, pointers, refused
from acceptance.system.system import FreshBackend, System, Tokens, Unchanged, new_alias
from harness.devices.apk import apk

SCRIPTS = {"/v1/scripts/enroll.sh": "text/x-shellscript", "/v1/scripts/enroll.cmd": "application/x-bat"}


@case("scripts/001", "renderEnrollSh 200", "renderEnrollCmd 200")
@pytest.mark.parametrize("path", SCRIPTS)
def test_a_script_is_rendered_for_an_alias(
    path: str, system: System, api: Api, tokens: Tokens, logs: Logs, unchanged: Unchanged
) -> None:
    """An admin gets the script for an alias, with no secret in it and none in the logs (000 A: 200 scripts)."""
    [token] = tokens()
    with unchanged():
        answer = api.admin("GET", path, params={"alias": token["alias"]})
    text = answer.body.decode("utf-8")
    assert answer.status == 200
    assert answer.headers["content-type"].replace(" ", "").lower() == (f"{SCRIPTS[path]};charset=utf-8")
    assert token["alias"] in text
    assert "NEXMDM_ENROLL_TOKEN" in text
    assert system.target.base_url in text
    for secret in (system.target.admin_key, system.target.hmac_secret, token["token"]):
        assert secret not in text
    if path.endswith(".cmd"):
        assert "\n" not in text.replace("\r\n", ""), "cmd.exe needs CRLF"
    logs.expect(answer, "script.render", script=path.rpartition("/")[2], alias=token["alias"])


@case("scripts/002", "renderEnrollSh 200")
def test_the_shell_script_is_clean(api: Api, logs: Logs, tmp_path: Path) -> None:
    """The shell script passes `bash -n` and shellcheck (api.md)."""
    alias = new_alias()
    answer = api.admin("GET", "/v1/scripts/enroll.sh", params={"alias": alias})
    script = tmp_path / "enroll.sh"
    script.write_bytes(answer.body)
    shellcheck = str(Path(sys.executable).with_name("shellcheck"))  # from a wheel, beside this interpreter
    for command in (["bash", "-n"], [shellcheck, "--severity=style"]):
        checked = subprocess.run([*command, str(script)], check=False, capture_output=True, text=True, timeout=30)
        assert checked.returncode == 0, checked.stdout + checked.stderr
    logs.expect(answer, "script.render", alias=alias)


@case("scripts/003", "renderEnrollSh 200")
@pytest.mark.parametrize("given", ["argument", "environment"])
def test_the_shell_script_downloads_the_apk(given: str, api: Api, tokens: Tokens, logs: Logs, tmp_path: Path) -> None:
    """Run with a token, as an argument or from the environment, the script fetches the latest build (000 A)."""
    content, [token] = apk(3000), tokens()
    accepted(upload(api, content, package_name="com.example.app"), 201)
    rendered = api.admin("GET", "/v1/scripts/enroll.sh", params={"alias": token["alias"]})
    (tmp_path / "enroll.sh").write_bytes(rendered.body)
    arguments = [token["token"]] if given == "argument" else []
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    ran = subprocess.run(
        ["bash", "enroll.sh", *arguments],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
        env=env if arguments else {**env, "NEXMDM_ENROLL_TOKEN": token["token"]},
    )
    assert token["token"] not in ran.stdout + ran.stderr
    fetched = [path.read_bytes() for path in tmp_path.rglob("*.apk")]
    assert fetched == [content], f"exit code {ran.returncode}: {ran.stdout}{ran.stderr}"
    logs.wait("apk.download", source="enrollment", status=200)


@case("scripts/006", "renderEnrollSh 200")
def test_the_shell_script_keeps_nothing_of_a_refusal(api: Api, logs: Logs, tmp_path: Path) -> None:
    """Run with a token that is refused, the script fails and leaves nothing to install (001: enrolment)."""
    rendered = api.admin("GET", "/v1/scripts/enroll.sh", params={"alias": new_alias()})
    (tmp_path / "enroll.sh").write_bytes(rendered.body)
    ran = subprocess.run(
        ["bash", "enroll.sh", "nxe_" + "A" * 43],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
    )
    assert [path.name for path in tmp_path.iterdir()] == ["enroll.sh"]
    assert ran.returncode != 0, ran.stdout
    logs.wait("sec.auth.fail", code="token_invalid", route="/v1/apk/download-latest")


@case("scripts/007", "renderEnrollSh 200", "renderEnrollCmd 200")
def test_a_script_names_the_public_address(fresh_backend: FreshBackend) -> None:
    """By setting the scripts name the address that devices reach, not the one of the request (backend/README.md)."""
    system: System = fresh_backend(env={"NEXMDM_PUBLIC_URL": "https://mdm.example.com/fleet"})
    for path in SCRIPTS:
        answer = system.api.admin("GET", path, params={"alias": "D01"})
        text = answer.body.decode("utf-8")
        assert "https://mdm.example.com/fleet" in text, path
        assert system.target.base_url not in text, path
        system.logs.expect(answer, "script.render", alias="D01")


@case("scripts/004", "* 422")
@pytest.mark.parametrize("path", SCRIPTS)
@pytest.mark.parametrize(
    "params,pointer",
    [
        ([], "/query/alias"),
        ([("alias", "")], "/query/alias"),
        ([("alias", "$(reboot)")], "/query/alias"),
        ([("alias", "a&b")], "/query/alias"),
        ([("alias", "D01"), ("alias", "D02")], "/query/alias"),
    ],
    ids=str,
)
def test_a_script_for_no_alias_is_refused(
    path: str, params: list[tuple[str, str]], pointer: str, api: Api, logs: Logs, unchanged: Unchanged
) -> None:
    """A missing alias, or one with the power to run something, is a 422 (000 A: 422; api.md: safely quoted)."""
    with unchanged():
        answer = api.admin("GET", path, params=params)
    assert pointers(refused(answer, 422, "validation_error")) == {pointer}
    assert not logs.of(answer, "script.render")


@case("scripts/005", "* 422")
@pytest.mark.parametrize("path", SCRIPTS)
@pytest.mark.parametrize("host", ["x$(touch owned)", "x`touch owned`", "x;touch owned", 'x"&calc&"', "x'y"])
def test_a_hostile_host_header_runs_nothing(
    path: str, host: str, api: Api, logs: Logs, tmp_path: Path, unchanged: Unchanged
) -> None:
    """A Host header with shell metacharacters is refused or quoted: the rendered script runs nothing of it (api.md)."""
    with unchanged():
        answer = api.admin("GET", path, params={"alias": "D01"}, headers={"Host": host})
    assert answer.status in (200, 422), answer.status
    if answer.status == 200 and path.endswith(".sh"):
        (tmp_path / "enroll.sh").write_bytes(answer.body)
        subprocess.run(
            ["bash", "enroll.sh", "nxe_" + "A" * 43],
            cwd=tmp_path,
            check=False,
            capture_output=True,
            timeout=30,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        )
        assert not (tmp_path / "owned").exists()
    if answer.status == 200:
        assert "&calc&" not in answer.body.decode().replace('"', "")
    logs.expect(answer, "http.request", status=answer.status)
