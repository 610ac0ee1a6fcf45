"""The settings of the fleet."""

from __future__ import annotations

from typing import Annotated, Any, Final, Self
from urllib.parse import urlsplit

import orjson
from pydantic import Field, SecretStr, field_validator, model_validator

from nexmdm.fleet.service_account import check as check_account
from nexmdm.kernel.egress import proxy_for
from nexmdm.kernel.settings import PREFIX, Days, HttpUrl, Limit, Rate, Seconds, Settings

FCM_URL: Final = "https://fcm.googleapis.com"


class FleetSettings(Settings):
    """What the fleet adds."""

    firebase_service_account_json: SecretStr | None = None
    fcm_base_url: HttpUrl | None = None
    fcm_timeout_s: Seconds = 10

    max_waiting_heartbeats: Annotated[int, Field(ge=1, le=100_000)] = 2_000
    token_cache_size: Annotated[int, Field(ge=1, le=10_000_000)] = 200_000
    heartbeat_interval_s: Annotated[int, Field(ge=1, le=86_400)] = 120
    storage_url: str = "./var/apk"
    apk_max_bytes: Annotated[int, Field(ge=1024, le=8 * 2**30)] = 256 * 2**20
    command_ttl_s: Annotated[int, Field(ge=1, le=86_400)] = 3600
    dispatch_concurrency: Annotated[int, Field(ge=1, le=1000)] = 32
    dispatch_backoff_base_s: Seconds = 1
    dispatch_backoff_cap_s: Seconds = 60
    retention_heartbeats_days: Days = 2
    retention_dispatches_days: Days = 2
    retention_downloads_days: Days = 7
    limit_token_create: Rate = Limit(60, 60)
    limit_apk_token: Rate = Limit(30, 60)
    limit_apk_ip: Rate = Limit(300, 60)

    @field_validator("firebase_service_account_json")
    @classmethod
    def _service_account(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            check_account(value.get_secret_value())
        return value

    @model_validator(mode="after")
    def _fake_fcm_never_meets_a_real_account(self) -> Self:
        account = self.service_account
        if self.fcm_base_url is not None and account is not None:
            host = urlsplit(account["token_uri"]).hostname or ""
            if host == "googleapis.com" or host.endswith(".googleapis.com"):
                raise ValueError(f"{PREFIX}FCM_BASE_URL: refused, the service account is a real one of Google's")
        return self

    @model_validator(mode="after")
    def _egress_is_possible(self) -> Self:
        if (account := self.service_account) is not None:
            for url in (self.fcm_url, account["token_uri"]):
                proxy_for(url)
        return self

    @property
    def service_account(self) -> dict[str, Any] | None:
        """The parsed service account, or None where FCM is not configured."""
        if self.firebase_service_account_json is None:
            return None
        account: dict[str, Any] = orjson.loads(self.firebase_service_account_json.get_secret_value())
        return account

    @property
    def fcm_url(self) -> str:
        """Where messages are sent, without the path."""
        return self.fcm_base_url or FCM_URL
