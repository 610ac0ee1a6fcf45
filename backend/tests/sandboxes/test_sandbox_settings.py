"""The broker's settings: their defaults, and each fault as one line that names the variable."""

from __future__ import annotations

import pytest

from nexmdm.kernel import settings
from nexmdm.kernel.settings import ConfigurationError, Limit
from nexmdm.sandboxes.settings import SandboxSettings


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("NEXMDM_DATABASE_URL", "postgresql://u:database-secret@localhost/db")
    monkeypatch.setenv("NEXMDM_ADMIN_KEY", "an-admin-key-of-32-characters-00")
    monkeypatch.setenv("NEXMDM_HMAC_SECRET", "an-hmac-secret-of-32-characters-0")
    return monkeypatch


def test_the_minimum_gives_the_documented_defaults() -> None:
    loaded = settings.load(SandboxSettings)
    assert (loaded.sandbox_duration_s, loaded.sandbox_grace_s, loaded.sandbox_max_duration_s) == (14_400, 1_800, 28_800)
    assert loaded.limit_track == Limit(200, 4)
    assert loaded.retention_allocations_days == 90
    assert (loaded.provider_url, loaded.cors_origins) == (None, ())


@pytest.mark.parametrize(
    "given,says",
    [
        ({"SANDBOX_DURATION_S": "0"}, "NEXMDM_SANDBOX_DURATION_S: Input should be greater than or equal to 1"),
        ({"SANDBOX_GRACE_S": "-1"}, "NEXMDM_SANDBOX_GRACE_S: Input should be greater than or equal to 0"),
        ({"SANDBOX_MAX_DURATION_S": "14399"}, "NEXMDM_SANDBOX_MAX_DURATION_S: is below NEXMDM_SANDBOX_DURATION_S"),
        ({"DELETION_LEASE_S": "29"}, "NEXMDM_DELETION_LEASE_S: is below NEXMDM_PROVIDER_TIMEOUT_S and 10 s"),
        ({"LIMIT_TRACK": "wrong-value"}, "NEXMDM_LIMIT_TRACK: must be hits/seconds"),
        ({"ALLOCATION_CONNECTIONS": "0"}, "NEXMDM_ALLOCATION_CONNECTIONS: Input should be greater than or equal to 1"),
        ({"PROVIDER_URL": "https://labs.example"}, "NEXMDM_PROVIDER_URL and NEXMDM_PROVIDER_TOKEN: set both"),
        ({"PROVIDER_TOKEN": "wrong-value"}, "NEXMDM_PROVIDER_URL and NEXMDM_PROVIDER_TOKEN: set both"),
        ({"PROVIDER_URL": "ftp://wrong", "PROVIDER_TOKEN": "t"}, "NEXMDM_PROVIDER_URL: must be an http:// or https://"),
        ({"CORS_ORIGINS": "https://wrong.example/path"}, "NEXMDM_CORS_ORIGINS: must be origins such as"),
        ({"CORS_ORIGINS": "*"}, "NEXMDM_CORS_ORIGINS: must be origins such as"),
    ],
)
def test_a_fault_is_one_line_without_the_value(
    environment: pytest.MonkeyPatch, given: dict[str, str], says: str
) -> None:
    for name, value in given.items():
        environment.setenv(f"NEXMDM_{name}", value)
    with pytest.raises(ConfigurationError) as refused:
        settings.load(SandboxSettings)
    assert str(refused.value).startswith(says)
    assert "\n" not in str(refused.value)
    assert "wrong" not in str(refused.value)


def test_several_origins_are_separated_by_commas(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("NEXMDM_CORS_ORIGINS", "https://labs.example, http://127.0.0.1:3000")
    assert settings.load(SandboxSettings).cors_origins == ("https://labs.example", "http://127.0.0.1:3000")
