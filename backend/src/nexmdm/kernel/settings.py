"""The settings that every process needs, read once from `NEXMDM_*` environment variables. It opens and starts nothing.

README.md lists them with their defaults. Secrets are `SecretStr`, so that no repr, log line or error shows them.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Annotated, Final, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from nexmdm.kernel import database_url

PREFIX = "NEXMDM_"
HTTP_URL: Final = re.compile(r"https?://[A-Za-z0-9.\[\]:_-]{1,255}(/[A-Za-z0-9._~/-]*)?")


class ConfigurationError(Exception):
    """The environment does not describe a backend that can start. Its text is one line and never holds a value."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A rate: at most `hits` in any window of `window_s` seconds."""

    hits: int
    window_s: int


def _limit(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"([1-9][0-9]{0,8})/([1-9][0-9]{0,5})", value)
    if match is None:
        raise ValueError("must be hits/seconds, such as 600/60")
    return Limit(int(match[1]), int(match[2]))


def printable(secret: SecretStr) -> SecretStr:
    """The secret, of letters that every client sends alike."""
    if not re.fullmatch("[ -~]*", secret.get_secret_value()):
        raise ValueError("must be printable ASCII")
    return secret


def _names(value: object) -> object:
    return tuple(name.strip() for name in value.split(",")) if isinstance(value, str) else value


def _postgresql(url: SecretStr) -> SecretStr:
    database_url.check(url.get_secret_value(), os.environ)
    return url


def _http(url: str) -> str:
    if not HTTP_URL.fullmatch(url):
        raise ValueError("must be an http:// or https:// URL without query")
    return url.rstrip("/")


def _origins(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if not re.fullmatch(r"https?://[A-Za-z0-9.\[\]:-]{1,255}", value):
            raise ValueError("must be origins such as https://labs.example.com, separated by commas")
    return values


Rate = Annotated[Limit, NoDecode, BeforeValidator(_limit)]
Secret = Annotated[SecretStr, Field(min_length=16), AfterValidator(printable)]
HttpUrl = Annotated[str, AfterValidator(_http)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Days = Annotated[int, Field(ge=1, le=3650)]
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)]  # separated by commas
Origins = Annotated[Names, AfterValidator(_origins)]

S = TypeVar("S", bound="Settings")


class Settings(BaseSettings):
    """What every process needs. Each service adds fields in a subclass; `load()` turns every fault into one line."""

    # Stripped: files, editors and secret stores add a newline to the end of a secret.
    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, env_ignore_empty=True, str_strip_whitespace=True)

    database_url: Annotated[SecretStr, AfterValidator(_postgresql)]
    admin_key: Secret
    hmac_secret: Secret

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    public_url: HttpUrl | None = None
    max_in_flight: Annotated[int, Field(ge=1, le=100_000)] = 512
    services: Names = ()  # none named: all
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_buffer_bytes: Annotated[int, Field(ge=2**16, le=2**26)] = 2**20

    max_connections: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    head_timeout_s: Seconds = 10
    stall_timeout_s: Seconds = 30

    db_pool_size: Annotated[int, Field(ge=1, le=100)] = 10
    bcrypt_cost: Annotated[int, Field(ge=4, le=14)] = 10

    hsts_s: Annotated[int, Field(ge=0, le=63_072_000)] = 0  # 0: the header is not sent

    healthz_database: bool = True
    healthz_admin: bool = False

    retention_every_s: Seconds = 3600

    limit_admin: Rate = Limit(6000, 60)
    limit_auth_fail: Rate = Limit(600, 60)


def load(kind: type[S]) -> S:
    """Read the environment into settings of this class.

    Raises:
        ConfigurationError: one line that names each faulty variable and what is wrong with it, never its value.
    """
    _leave_closed_home()
    try:
        return kind()  # type: ignore[call-arg]  # the environment fills them
    except ValidationError as error:
        faults = []
        for item in error.errors(include_input=False, include_url=False):
            reason = item["msg"].removeprefix("Value error, ")
            name = f"{PREFIX}{item['loc'][0]}".upper() if item["loc"] else ""
            reason = "is missing" if item["type"] == "missing" else reason
            faults.append(f"{name}: {reason}" if name else reason)
        raise ConfigurationError("; ".join(faults)) from None


def narrow(settings: Settings, kind: type[S]) -> S:
    """The settings as a service sees them. TypeError where they lack its fields."""
    if not isinstance(settings, kind):
        raise TypeError(f"these settings are no {kind.__name__}")
    return settings


def foreign(name: str) -> str:
    """A variable of the environment that a library reads; empty where it is not set."""
    return os.environ.get(name, "")


def migration_url() -> str:
    """NEXMDM_DATABASE_URL alone: migrations need no other setting.

    Raises:
        ConfigurationError: the variable is missing or no PostgreSQL URL.
    """
    _leave_closed_home()
    value = os.environ.get(f"{PREFIX}DATABASE_URL", "").strip()
    try:
        return _postgresql(SecretStr(value)).get_secret_value()
    except ValueError as error:
        raise ConfigurationError(f"{PREFIX}DATABASE_URL: {error if value else 'is missing'}") from None


def _leave_closed_home() -> None:
    """Nothing in a home that we may not enter is meant for us, but PostgreSQL's driver fails where it may not look."""
    if database_url.closed_home():
        os.environ["HOME"] = os.devnull
