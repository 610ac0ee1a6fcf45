"""The settings of the platform."""

from __future__ import annotations

from typing import Annotated

from cryptography.fernet import Fernet
from pydantic import AfterValidator, Field, SecretStr

from nexmdm.kernel.settings import Days, Names, Origins, Rate, Seconds, Settings
from nexmdm.platform.object_bucket import storage_url
from nexmdm.platform.types import MOST_AGING_S


def _absolute(values: tuple[str, ...]) -> tuple[str, ...]:
    if not all(value.startswith("/") for value in values):
        raise ValueError("must be absolute paths of directories, separated by commas")
    return values


def _fernet(key: SecretStr) -> SecretStr:
    try:
        Fernet(key.get_secret_value())
    except ValueError:
        raise ValueError("must be 32 bytes in URL-safe base64") from None
    return key


SecretsKey = Annotated[SecretStr, AfterValidator(_fernet)]


class PlatformSettings(Settings):
    """What the platform adds."""

    platform_storage_url: Annotated[str, AfterValidator(storage_url)] = "./var/objects"
    platform_storage_timeout_s: Seconds = 30  # of one call of the store
    platform_rpc_bytes: Annotated[int, Field(ge=2**16, le=2**28)] = 2**24  # of a body
    platform_tree_files: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000  # that one call may move or remove
    platform_pin_s: Annotated[float, Field(ge=10, le=86_400)] = 600  # for which an object may wait for its file
    platform_sweep_every_s: Seconds = 60
    platform_sweep_after_s: Annotated[float, Field(ge=0, le=604_800)] = 900  # for which a content without file is kept
    platform_teardown_every_s: Seconds = 1
    platform_streams: Annotated[int, Field(ge=0, le=10_000)] = 100  # of each process
    platform_upload_bytes: Annotated[int, Field(ge=1, le=2**50)] = 2**40  # of one upload
    platform_upload_expires_s: Annotated[float, Field(ge=1, le=31_536_000)] = 86_400  # after its last byte
    platform_agent_ttl_s: Annotated[float, Field(ge=1, le=86_400)] = 90  # of a heartbeat
    platform_secrets_key: SecretsKey | None = None  # none: no mount with secrets can be added
    platform_tasks_every_s: Seconds = 1  # ended leases and missed deadlines are looked for
    platform_task_aging_s: Annotated[float, Field(ge=0, le=MOST_AGING_S)] = 60  # by which a tier comes after the next
    platform_claims_waiting: Annotated[int, Field(ge=0, le=10_000)] = 100  # of each process
    platform_mount_roots: Annotated[Names, AfterValidator(_absolute)] = ()  # none: no directory can be mounted
    platform_mount_endpoints: Origins = ()  # none: no bucket can be mounted but Amazon's
    platform_mount_timeout_s: Seconds = 10  # of one call of a mount's backend
    platform_sync_every_s: Seconds = 1  # changes below mounts are looked for
    platform_push_wait_s: Annotated[float, Field(ge=0, le=60)] = 30  # for a run that is at the mount already
    platform_cors_origins: Origins = ()  # none: no other origin's pages may upload
    platform_limit_key: Rate | None = None  # none: a valid key may ask as often as it likes
    retention_events_days: Days = 30
    retention_tasks_days: Days = 30  # after their end
    retention_sync_days: Days = 30  # runs and resolved conflicts, after their end
