"""Targets from the environment, the refusal of production, and the masking of secrets.

It uses dictionaries for environments and never the real one.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.settings import (
    MASK,
    Secrets,
    SettingsError,
    Target,
    artifacts,
    backend_command,
    refuse_production,
    without_proxies,
)

GIVEN = {
    "NEXMDM_BASE_URL": "http://127.0.0.1:8080/",
    "NEXMDM_ADMIN_KEY": "an-admin-key-of-some-length",
    "NEXMDM_HMAC_SECRET": "a-secret-of-some-length",
}


def test_a_target_survives_its_own_environment() -> None:
    full = GIVEN | {
        "DATABASE_URL": "postgresql://postgres@/nexmdm?host=/tmp/pg",
        "NEXMDM_LOG_FILE": "backend.log",
        "NEXMDM_FCM_URL": "http://127.0.0.1:9000",
        "NEXMDM_PROVIDER_CONTROL_URL": "http://127.0.0.1:9001",
        "NEXMDM_BACKEND_PID": "4711",
    }
    target = Target.from_env(full)
    assert target.base_url == "http://127.0.0.1:8080"
    assert target.log_file == Path("backend.log")
    assert target.backend_pid == 4711
    assert target.capabilities == {"database", "logs", "fcm", "provider", "process"}
    assert Target.from_env(target.as_env()) == target
    assert not any(GIVEN[name] in repr(target) for name in ("NEXMDM_ADMIN_KEY", "NEXMDM_HMAC_SECRET"))


def test_capabilities_are_only_what_was_given() -> None:
    assert Target.from_env(GIVEN).capabilities == frozenset()
    assert Target.from_env(GIVEN | {"NEXMDM_FCM_URL": "http://localhost:1"}).capabilities == {"fcm"}


@pytest.mark.parametrize("missing", sorted(GIVEN))
def test_an_incomplete_target_is_refused_by_name(missing: str) -> None:
    with pytest.raises(SettingsError, match=missing):
        Target.from_env({name: value for name, value in GIVEN.items() if name != missing})


@pytest.mark.parametrize(
    "variable, value, said",
    [
        ("NEXMDM_BASE_URL", "http://127.0.0.1:8080/mdm", "more than an origin (/mdm)"),
        ("NEXMDM_BASE_URL", "http://127.0.0.1:8080/?a=b", "more than an origin (/?a=b)"),
        ("NEXMDM_BASE_URL", "http://127.0.0.1:8080#x", "more than an origin (#x)"),
        ("NEXMDM_BASE_URL", "http://me:you@127.0.0.1:8080", "holds a user name"),
        ("NEXMDM_BASE_URL", "ftp://127.0.0.1:8080", "http:// or https://, not ftp://"),
        ("NEXMDM_BASE_URL", "http://127.0.0.1:80800", "the port is no number below 65536"),
        ("NEXMDM_FCM_URL", "https://127.0.0.1:8080", "http://, not https://"),
        ("NEXMDM_FCM_URL", "http://127.0.0.1:8080/v1", "more than an origin (/v1)"),
        ("NEXMDM_PROVIDER_CONTROL_URL", "http://127.0.0.1:8080/v2", "more than an origin (/v2)"),
        ("NEXMDM_ADMIN_KEY", "short", "shorter than 8 characters"),
        ("NEXMDM_ADMIN_KEY", "with-a-line-end\n", "holds what no header can carry"),
        ("NEXMDM_ADMIN_KEY", "with-an-umlaut-ä", "holds what no header can carry"),
        ("NEXMDM_HMAC_SECRET", "short", "shorter than 8 characters"),
    ],
)
def test_what_no_suite_could_use_is_refused_by_name(variable: str, value: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Target.from_env(GIVEN | {variable: value})
    assert str(caught.value).startswith(f"{variable}: {said}")
    assert "you" not in str(caught.value).split(":", 1)[1]


def test_a_child_that_would_obey_a_proxy_sees_none() -> None:
    given = {"HTTP_PROXY": "x", "https_proxy": "x", "All_Proxy": "x", "no_proxy": "127.0.0.2", "PATH": "/bin"}
    assert without_proxies(given) == {"PATH": "/bin", "NO_PROXY": "*"}


def test_a_process_id_must_be_one() -> None:
    with pytest.raises(SettingsError, match="NEXMDM_BACKEND_PID"):
        Target.from_env(GIVEN | {"NEXMDM_BACKEND_PID": "the backend"})


@pytest.mark.parametrize(
    "url",
    [
        "https://mdm.example.com",
        "http://8.8.8.8",
        "http://[2001:4860:4860::8888]:80/",
        "http://0.0.0.0:8080",
        "http://prod.local",
        "http://nexmdm-production.test:8080",
        "http://localhost.example.com",
        "http://user:secret@mdm.example.com",
        "http://127.0.0.1.example.com",
        "http://backend",
        "postgresql://db.example.com/nexmdm",
        "postgresql://postgres@/nexmdm?host=db.example.com",
    ],
)
def test_what_looks_like_production_is_refused_unless_allowed(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^NEXMDM_BASE_URL: .*NEXMDM_ALLOW_PRODUCTION") as caught:
        refuse_production(url, "NEXMDM_BASE_URL", {})
    assert "secret" not in str(caught.value)
    with pytest.raises(SettingsError):
        refuse_production(url, "NEXMDM_BASE_URL", {"NEXMDM_ALLOW_PRODUCTION": "yes"})
    refuse_production(url, "NEXMDM_BASE_URL", {"NEXMDM_ALLOW_PRODUCTION": "1"})


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8080",
        "http://[::1]:8080",
        "http://10.1.2.3",
        "http://192.168.0.7:80",
        "http://localhost:8080",
        "https://mdm.test",
        "http://Backend.LOCAL.",
        "http://a.b.localhost",
        "postgresql://postgres@/nexmdm?host=/tmp/pg",
        "postgresql:///nexmdm",
        "postgresql://postgres:x@127.0.0.1:5432/nexmdm",
    ],
)
def test_what_is_near_is_welcome(url: str) -> None:
    refuse_production(url, "X", {})


@pytest.mark.parametrize("url", ["", "127.0.0.1:8080", "http://", "//localhost", "http://[::1", "nonsense"])
def test_what_is_no_url_is_refused_even_with_permission(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^X: not a URL"):
        refuse_production(url, "X", {"NEXMDM_ALLOW_PRODUCTION": "1"})


def test_a_target_is_checked_for_production_twice() -> None:
    with pytest.raises(SettingsError, match="NEXMDM_BASE_URL"):
        Target.from_env(GIVEN | {"NEXMDM_BASE_URL": "https://mdm.example.com"})
    with pytest.raises(SettingsError, match="DATABASE_URL"):
        Target.from_env(GIVEN | {"DATABASE_URL": "postgresql://db.example.com/nexmdm"})


def test_artifacts_are_made_where_the_variable_says(tmp_path: Path) -> None:
    folder = artifacts("sim20", "raw", environ={"NEXMDM_ARTIFACTS": str(tmp_path / "out")})
    assert folder == tmp_path / "out" / "sim20" / "raw"
    assert folder.is_dir()


def test_the_backend_command_has_a_default() -> None:
    assert backend_command({}) == "nexmdm"
    assert backend_command({"NEXMDM_BACKEND_COMMAND": "/venv/bin/nexmdm"}) == "/venv/bin/nexmdm"


def test_known_secrets_are_masked_the_longest_first() -> None:
    secrets = Secrets(["topsecret", "topsecret-and-more"])
    assert secrets.mask("key=topsecret-and-more, topsecret!") == f"key={MASK}, {MASK}!"
    assert "topsecret" in secrets
    assert secrets.known() == {"topsecret", "topsecret-and-more"}


@pytest.mark.parametrize(
    "token",
    [
        "nxe_" + "aB3-_" * 8 + "xyz",
        "nxd_" + "0123456789abcdef" * 2 + "_" + "aB3-_" * 10 + "wxyz",
        "ya29.abcdefghij.0123456789",
    ],
)
def test_token_shapes_are_masked_even_when_nobody_added_them(token: str) -> None:
    assert Secrets().mask(f'{{"token":"{token}"}}') == f'{{"token":"{MASK}"}}'


def test_a_secret_too_short_to_mask_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be masked"):
        Secrets().add("short")
