"""The log events of the broker. Each has a JSON Schema of its fields in the contract."""

from typing import Final

from nexmdm.kernel.log import Event

ALLOCATED: Final = Event("sandboxes.allocated")
REPLAYED: Final = Event("sandboxes.replayed")
PARKED: Final = Event("sandboxes.parked")
EXHAUSTED: Final = Event("sandboxes.exhausted")
RELEASED: Final = Event("sandboxes.released")
EXTENDED: Final = Event("sandboxes.extended")
EXPIRED: Final = Event("sandboxes.expired")
REVOKED: Final = Event("sandboxes.revoked")
DELETION_RETRIED: Final = Event("sandboxes.deletion_retried")
JOB_STARTED: Final = Event("sandboxes.job.started")
JOB_FINISHED: Final = Event("sandboxes.job.finished")
DELETED: Final = Event("sandboxes.deleted")
DELETION_RETRY: Final = Event("sandboxes.deletion.retry")
DELETION_FAILED: Final = Event("sandboxes.deletion.failed")
BULK_DELETED: Final = Event("sandboxes.bulk_deleted")
BREAKER_OPENED: Final = Event("sandboxes.breaker.opened")
BREAKER_CLOSED: Final = Event("sandboxes.breaker.closed")
