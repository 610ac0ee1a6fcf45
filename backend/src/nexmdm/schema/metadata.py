"""Every table of the control plane, with the invariants that PostgreSQL itself keeps: keys, checks, indexes.

It holds no query and no rule. The revisions in `migrations/` create the same schema; `alembic check` compares the two.
"""

from sqlmodel import SQLModel

from nexmdm.fleet.tables.builds import ApkDownloadEvent, ApkVersion
from nexmdm.fleet.tables.commands import Command, DispatchTransition, FcmDispatch
from nexmdm.fleet.tables.devices import Device, DeviceHeartbeat, DeviceStatus, EnrollmentToken
from nexmdm.kernel.tables import RateLimit, ScheduledJob, SigningKey

metadata = SQLModel.metadata

__all__ = [
    "ApkDownloadEvent",
    "ApkVersion",
    "Command",
    "Device",
    "DeviceHeartbeat",
    "DeviceStatus",
    "DispatchTransition",
    "EnrollmentToken",
    "FcmDispatch",
    "RateLimit",
    "ScheduledJob",
    "SigningKey",
    "metadata",
]
