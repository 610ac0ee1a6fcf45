"""The settings of the broker."""

from __future__ import annotations

from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from nexmdm.kernel.egress import proxy_for
from nexmdm.kernel.settings import PREFIX, Days, HttpUrl, Limit, Origins, Rate, Seconds, Settings, printable

Duration = Annotated[int, Field(ge=1, le=604_800)]  # s
ProviderToken = Annotated[SecretStr, AfterValidator(printable)]
LEASE_MARGIN_S: Final = 5  # what a deletion's lease must have beyond its call, so that its answer is recorded in time


class SandboxSettings(Settings):
    """What the broker adds. Without a provider's URL it serves what its pool has; sync and cleanup rest."""

    provider_url: HttpUrl | None = None
    provider_token: ProviderToken | None = None
    provider_timeout_s: Seconds = 20  # of a whole call

    sandbox_duration_s: Duration = 14_400
    sandbox_grace_s: Annotated[int, Field(ge=0, le=604_800)] = 1_800
    sandbox_max_duration_s: Duration = 28_800
    allocation_connections: Annotated[int, Field(ge=1, le=100)] = 4
    max_waiters: Annotated[int, Field(ge=0, le=100_000)] = 1_000  # requests in the queue, over all processes
    max_waiters_per_process: Annotated[int, Field(ge=0, le=100_000)] = 500

    sync_every_s: Seconds = 600
    dry_sync_every_s: Seconds = 60  # while nothing is free
    cleanup_every_s: Seconds = 300
    expiry_every_s: Seconds = 300
    stale_every_s: Seconds = 86_400
    stale_grace_hours: Annotated[int, Field(ge=0, le=8760)] = 24
    deletion_concurrency: Annotated[int, Field(ge=1, le=64)] = 4
    deletion_attempts: Annotated[int, Field(ge=1, le=100)] = 8
    deletion_backoff_base_s: Seconds = 60
    deletion_backoff_cap_s: Seconds = 3_600
    deletion_lease_s: Seconds = 60
    breaker_failures: Annotated[int, Field(ge=1, le=1000)] = 5
    breaker_open_s: Seconds = 60
    stats_every_s: Annotated[float, Field(ge=0, le=60)] = 1
    retention_allocations_days: Days = 90
    limit_track: Rate = Limit(200, 4)

    cors_origins: Origins = ()  # none: no other origin's pages may call

    @model_validator(mode="after")
    def _provider_is_whole(self) -> Self:
        if (self.provider_url is None) != (self.provider_token is None):
            raise ValueError(f"{PREFIX}PROVIDER_URL and {PREFIX}PROVIDER_TOKEN: set both, or neither")
        if self.provider_url is not None:
            proxy_for(self.provider_url)
        return self

    @model_validator(mode="after")
    def _lease_outlasts_a_call(self) -> Self:
        # Of a lease with the margin and no more nothing would be left by the time the call begins.
        if self.deletion_lease_s < self.provider_timeout_s + 2 * LEASE_MARGIN_S:
            names = f"{PREFIX}DELETION_LEASE_S: is below {PREFIX}PROVIDER_TIMEOUT_S"
            raise ValueError(f"{names} and {2 * LEASE_MARGIN_S} s")
        return self

    @model_validator(mode="after")
    def _extensions_are_possible(self) -> Self:
        if self.sandbox_max_duration_s < self.sandbox_duration_s:
            raise ValueError(f"{PREFIX}SANDBOX_MAX_DURATION_S: is below {PREFIX}SANDBOX_DURATION_S")
        return self
