"""Configuration: every fault is one line that names the variable and never its value."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from nexmdm.fleet.settings import FleetSettings
from nexmdm.kernel import settings
from nexmdm.kernel.settings import ConfigurationError, Limit

GOOD = {
    "NEXMDM_DATABASE_URL": "postgresql://u:database-secret@localhost/db",
    "NEXMDM_ADMIN_KEY": "an-admin-key-of-32-characters-00",
    "NEXMDM_HMAC_SECRET": "an-hmac-secret-of-32-characters-0",
}
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ACCOUNT = {
    "type": "service_account",
    "project_id": "p",
    "client_email": "a@p.invalid",
    "private_key": KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
    "token_uri": "http://127.0.0.1:1/token",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_the_minimum_gives_the_documented_defaults() -> None:
    loaded = settings.load(FleetSettings)
    assert (loaded.port, loaded.workers, loaded.command_ttl_s, loaded.bcrypt_cost) == (8080, 1, 3600, 10)
    assert loaded.limit_apk_token == Limit(30, 60)


@pytest.mark.parametrize(
    "name,value,says",
    [
        ("NEXMDM_DATABASE_URL", None, "NEXMDM_DATABASE_URL: is missing"),
        ("NEXMDM_DATABASE_URL", "mysql://wrong-value", "NEXMDM_DATABASE_URL: must be a postgresql:// URL"),
        ("NEXMDM_DATABASE_URL", "postgresql://u:wrong-value/@h", "NEXMDM_DATABASE_URL: must be a postgresql:// URL"),
        ("NEXMDM_DATABASE_URL", "postgresql://[wrong-value", "NEXMDM_DATABASE_URL: must be a postgresql:// URL"),
        ("NEXMDM_ADMIN_KEY", "short-wrong", "NEXMDM_ADMIN_KEY: Value should have at least 16 items"),
        ("NEXMDM_PORT", "wrong-value", "NEXMDM_PORT: Input should be a valid integer"),
        ("NEXMDM_LIMIT_ADMIN", "wrong-value", "NEXMDM_LIMIT_ADMIN: must be hits/seconds"),
        ("NEXMDM_BCRYPT_COST", "3", "NEXMDM_BCRYPT_COST: Input should be greater than or equal to 4"),
        ("NEXMDM_PUBLIC_URL", "javascript:wrong", "NEXMDM_PUBLIC_URL: must be an http:// or https:// URL"),
        ("NEXMDM_FIREBASE_SERVICE_ACCOUNT_JSON", "{wrong", "NEXMDM_FIREBASE_SERVICE_ACCOUNT_JSON: is not JSON"),
        ("NEXMDM_FIREBASE_SERVICE_ACCOUNT_JSON", "{}", "NEXMDM_FIREBASE_SERVICE_ACCOUNT_JSON: lacks project_id"),
    ],
)
def test_a_fault_is_one_line_without_the_value(
    environment: pytest.MonkeyPatch, name: str, value: str | None, says: str
) -> None:
    if value is None:
        environment.delenv(name)
    else:
        environment.setenv(name, value)
    with pytest.raises(ConfigurationError) as refused:
        settings.load(FleetSettings)
    assert str(refused.value).startswith(says)
    assert "\n" not in str(refused.value)
    assert value is None or "wrong" not in str(refused.value)


def test_several_faults_stand_on_one_line(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("NEXMDM_ADMIN_KEY")
    environment.setenv("NEXMDM_WORKERS", "0")
    with pytest.raises(ConfigurationError, match=r"NEXMDM_ADMIN_KEY: is missing; NEXMDM_WORKERS: "):
        settings.load(FleetSettings)


def test_the_fake_fcm_is_refused_beside_a_real_account(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("NEXMDM_FCM_BASE_URL", "http://127.0.0.1:1")
    environment.setenv("NEXMDM_FIREBASE_SERVICE_ACCOUNT_JSON", json.dumps(ACCOUNT))
    assert settings.load(FleetSettings).fcm_base_url == "http://127.0.0.1:1"
    real = {**ACCOUNT, "token_uri": "https://oauth2.googleapis.com/token"}
    environment.setenv("NEXMDM_FIREBASE_SERVICE_ACCOUNT_JSON", json.dumps(real))
    with pytest.raises(ConfigurationError, match="NEXMDM_FCM_BASE_URL: refused"):
        settings.load(FleetSettings)


@pytest.mark.parametrize(
    "name,base_url", [("HTTPS_PROXY", None), ("HTTP_PROXY", "http://127.0.0.1:1"), ("ALL_PROXY", None)]
)
def test_a_proxy_that_cannot_be_used_is_refused_where_fcm_is_configured(
    environment: pytest.MonkeyPatch, name: str, base_url: str | None
) -> None:
    environment.setenv(name, "socks5://wrong-value:1080")
    settings.load(FleetSettings)  # nothing is sent
    environment.setenv("NEXMDM_FIREBASE_SERVICE_ACCOUNT_JSON", json.dumps(ACCOUNT))
    environment.setenv("NEXMDM_FCM_BASE_URL", base_url or "")
    with pytest.raises(ConfigurationError, match=rf"\A{name}: must be the http:// or https:// URL of a proxy\Z"):
        settings.load(FleetSettings)


def test_no_representation_shows_a_secret() -> None:
    loaded = settings.load(FleetSettings)
    shown = f"{loaded!r} {loaded.model_dump_json()}"
    assert all(secret not in shown for secret in ("database-secret", *list(GOOD.values())[1:]))


@pytest.mark.parametrize("end", ["\n", " \r\n", "\t"])
def test_white_space_around_a_secret_is_no_part_of_it(environment: pytest.MonkeyPatch, end: str) -> None:
    for name, value in GOOD.items():
        environment.setenv(name, f" {value}{end}")
    environment.setenv("NEXMDM_FIREBASE_SERVICE_ACCOUNT_JSON", f"{json.dumps(ACCOUNT)}{end}")
    loaded = settings.load(FleetSettings)
    given = [loaded.database_url, loaded.admin_key, loaded.hmac_secret]
    assert [secret.get_secret_value() for secret in given] == list(GOOD.values())
    assert settings.migration_url() == GOOD["NEXMDM_DATABASE_URL"]
