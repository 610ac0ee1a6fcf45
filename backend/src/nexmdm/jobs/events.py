"""The log events of background jobs. Each has a JSON Schema of its fields in the contract."""

from typing import Final

from nexmdm.kernel.log import Event

RETENTION_CLEANUP: Final = Event("retention.cleanup")
JOB_FAIL: Final = Event("job.fail")
