"""The suites against a deployment that is given: each wrong set-up is one line and exit code 2, typed as a user does.

The last tests run whole suites over TLS with a private CA and take a minute: test_preflight.py is the quick one.
"""

from __future__ import annotations

import json
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci import environments
from ci.environments import ROOT
from ci.tests.commands import environment, run
from harness.stack.stack import Stack
from harness.tests.fronts import KEY, SECRET, listening, make_authority, nexmdm, recording_proxy, tls_before

KEYS = {"NEXMDM_ADMIN_KEY": KEY, "NEXMDM_HMAC_SECRET": SECRET}
NO_KEYS = "NEXMDM_ADMIN_KEY, NEXMDM_HMAC_SECRET: not set"
OWN = "NEXMDM_BASE_URL: set, but {} starts stacks of its own; unset it"
WRONG = "x" * 20
CONTRACT, CASE, SIM20 = ("contract", "--only", "drift"), ("acceptance", "--case", "register/001"), ("sim20",)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    return make_authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def plain() -> Iterator[str]:
    with listening(nexmdm) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def secured(plain: str, authority: tuple[Path, ssl.SSLContext]) -> Iterator[str]:
    with tls_before(plain, authority[1]) as url:
        yield url


@pytest.mark.parametrize(
    "command, said",
    [
        (("acceptance",), f"acceptance: {NO_KEYS}"),
        pytest.param(("chaos", "--sample"), f"chaos: {NO_KEYS}", marks=pytest.mark.slow),
        (CONTRACT, f"harness: {NO_KEYS}"),
        pytest.param(("sim20",), f"harness: {NO_KEYS}", marks=pytest.mark.slow),
        pytest.param(("load", "fanout"), f"harness: {NO_KEYS}", marks=pytest.mark.slow),
        pytest.param(("bench", "--quick"), f"bench: {OWN.format('bench')}", marks=pytest.mark.slow),
        pytest.param(("mutants", "--only", "heartbeat/*"), f"mutants: {OWN.format('mutants')}", marks=pytest.mark.slow),
        (("up",), "harness: NEXMDM_BASE_URL: set, but `up` starts a stack of its own; unset it"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_without_its_keys(tmp_path: Path, command: tuple[str, ...], said: str) -> None:
    assert refused(tmp_path, {"NEXMDM_BASE_URL": "http://127.0.0.1:9"}, command) == said


@pytest.mark.slow
@pytest.mark.parametrize(
    "command, base_url, more, said",
    [
        (CONTRACT, "https://mdm.example.com", {}, "NEXMDM_BASE_URL: host mdm.example.com looks like production;"),
        (CASE, "https://mdm.example.com", {}, "NEXMDM_BASE_URL: host mdm.example.com looks like production;"),
        (SIM20, "http://127.0.0.1:9", {}, "NEXMDM_BASE_URL: http://127.0.0.1:9 cannot be reached ("),
        (CASE, "http://127.0.0.1:9", {}, "NEXMDM_BASE_URL: http://127.0.0.1:9 cannot be reached ("),
        (CONTRACT, "http://{plain}/mdm", {}, "NEXMDM_BASE_URL: more than an origin (/mdm);"),
        (CASE, "http://{plain}", {"NEXMDM_ADMIN_KEY": WRONG}, "NEXMDM_ADMIN_KEY: the deployment refuses it (403"),
        (SIM20, "http://{plain}", {"NEXMDM_HMAC_SECRET": WRONG}, "NEXMDM_HMAC_SECRET: the deployment refuses the sig"),
        (CASE, "http://{plain}", {"DATABASE_URL": "postgresql://x@127.0.0.1:9/x"}, "DATABASE_URL: connection failed"),
        (CONTRACT, "https://{plain}", {}, "NEXMDM_BASE_URL: no TLS at https://"),
        (CASE, "http://{secured}", {}, "NEXMDM_BASE_URL: 127.0.0.1:"),
        (CONTRACT, "https://{secured}", {}, "NEXMDM_BASE_URL: the certificate of 127.0.0.1 is not trusted ("),
        (SIM20, "https://{secured}", {"SSL_CERT_FILE": "/nowhere.pem"}, "SSL_CERT_FILE: /nowhere.pem cannot be read"),
    ],
)
def test_wrong_set_ups(
    tmp_path: Path,
    plain: str,
    secured: str,
    command: tuple[str, ...],
    base_url: str,
    more: dict[str, str],
    said: str,
) -> None:
    hosts = {"plain": plain.partition("://")[2], "secured": secured.partition("://")[2]}
    given = KEYS | {"NEXMDM_BASE_URL": base_url.format(**hosts)} | more
    speaker = "acceptance" if command == CASE else "harness"  # the launcher, where it stands before the suite
    assert refused(tmp_path, given, command).startswith(f"{speaker}: {said}")


@pytest.mark.slow
@pytest.mark.parametrize("file", ["load/scenarios/sim20.py", "load/scenarios/fleet_scale.py"])
def test_a_locust_file_says_it_too(tmp_path: Path, file: str) -> None:
    locust = environments.ensure("load", say=print).with_name("locust")
    command = [str(locust), "--headless", "-f", file, "--host", "http://127.0.0.1:9"]
    for keys, said in ({}, NO_KEYS), (KEYS, "NEXMDM_BASE_URL: http://127.0.0.1:9 cannot be reached ("):
        done = subprocess.run(
            command, cwd=ROOT, env=environment(tmp_path, keys), capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert f": {said}" in done.stderr.splitlines()[-1]


@pytest.mark.slow
def test_a_home_that_cannot_be_written_to_is_replaced(tmp_path: Path) -> None:
    """uv, npm and Redocly keep their files below it."""
    done = run(tmp_path, {"HOME": "/dev/null", "XDG_CACHE_HOME": "/dev/null"}, "spec")
    assert done.code == 0, done.said
    assert list((ROOT / ".nox" / "home" / ".cache" / "nexmdm").glob("redocly-*"))


def refused(artifacts: Path, given: dict[str, str], command: tuple[str, ...]) -> str:
    """The one line of a run that ends with 2 before it has tested anything."""
    done = run(artifacts, given, *command)
    assert done.code == 2, done.said
    assert len(done.said) == 1, done.said
    return done.said[0]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    command = str(environments.ensure_backend(say=print))
    with Stack.start(command=command, log_dir=tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@pytest.mark.slow
@pytest.mark.parametrize(
    "command, proofs",
    [
        (("acceptance", "--case", "register/001", "--case", "raw/011"), {"register/001", "raw/011"}),
        (("contract", "--only", "drift"), {"drift"}),  # contracts/tests/test_suite.py asks the fuzzer
        (("sim20", "--duration", "15s"), {"preparation", "apk"}),
        (("load", "fleet-scale", "--devices", "50", "--duration", "5s", "--cadence", "5s"), {"preparation"}),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_over_tls_with_a_private_ca_and_past_every_proxy(
    tmp_path: Path, stack: Stack, authority: tuple[Path, ssl.SSLContext], command: tuple[str, ...], proofs: set[str]
) -> None:
    """Every client of the suites trusts SSL_CERT_FILE, and none asks the proxy that the environment names.

    proofs: the checks that pass only where its clients got through; how fast is not the question of so short a run.
    """
    ca_file, context = authority
    with tls_before(stack.target.base_url, context) as url, recording_proxy() as (proxy, seen):
        given = stack.target.as_env() | {"NEXMDM_BASE_URL": url, "SSL_CERT_FILE": str(ca_file)}
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            given |= {name: proxy, name.upper(): proxy}
        given |= {"no_proxy": "", "NO_PROXY": ""}
        done = run(tmp_path, given, *command)
    assert seen == []
    suite = command[1] if command[0] == "load" else command[0]
    result = json.loads((tmp_path / suite / "result.json").read_text())
    assert proofs <= {check["id"] for check in result["checks"] if check["status"] == "pass"}, done.said[-30:]
