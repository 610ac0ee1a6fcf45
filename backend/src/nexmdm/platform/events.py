"""The log events of the platform. Each has a JSON Schema of its fields in the contract."""

from typing import Final

from nexmdm.kernel.log import Event

ZONE_CREATED: Final = Event("platform.zone.created")
ZONE_UPDATED: Final = Event("platform.zone.updated")
ZONE_TERMINATING: Final = Event("platform.zone.terminating")
ZONE_DELETED: Final = Event("platform.zone.deleted")
KEY_CREATED: Final = Event("sec.key.create")
KEY_REVOKED: Final = Event("sec.key.revoke")
RPC: Final = Event("platform.rpc")
UPLOAD_CREATED: Final = Event("platform.upload.created")
UPLOAD_FINISHED: Final = Event("platform.upload.finished")
UPLOAD_TERMINATED: Final = Event("platform.upload.terminated")
UPLOAD_EXPIRED: Final = Event("platform.upload.expired")
AGENT_REGISTERED: Final = Event("platform.agent.registered")
AGENT_UPDATED: Final = Event("platform.agent.updated")
AGENT_DELETED: Final = Event("platform.agent.deleted")
AGENT_TRANSITION: Final = Event("platform.agent.transition")
AGENT_SPEC: Final = Event("platform.agent.spec")
AGENT_WARMUP: Final = Event("platform.agent.warmup")
AGENT_SILENT: Final = Event("platform.agent.silent")
OBJECTS_SWEPT: Final = Event("platform.objects.swept")
STREAM_OPENED: Final = Event("platform.stream.opened")
STREAM_CLOSED: Final = Event("platform.stream.closed")
TASK_SUBMITTED: Final = Event("platform.task.submitted")
TASKS_CLAIMED: Final = Event("platform.tasks.claimed")
TASK_COMPLETED: Final = Event("platform.task.completed")
TASK_RETRIED: Final = Event("platform.task.retried")
TASK_FAILED: Final = Event("platform.task.failed")
TASK_CANCELLED: Final = Event("platform.task.cancelled")
TASK_CANCEL_REQUESTED: Final = Event("platform.task.cancel_requested")
