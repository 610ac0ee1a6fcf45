"""The problem types of the platform."""

from typing import Final

from nexmdm.kernel.problems import ProblemType

ZONE_ID_INVALID: Final = ProblemType("zone_id_invalid", 400, "The id of the zone is not valid")
AGENT_ID_INVALID: Final = ProblemType("agent_id_invalid", 400, "The id of the agent is not valid")
ZONE_FORBIDDEN: Final = ProblemType("zone_forbidden", 403, "The key is not good for this zone")
ROLE_FORBIDDEN: Final = ProblemType("role_forbidden", 403, "The key's role may not do this")
AGENT_FORBIDDEN: Final = ProblemType("agent_forbidden", 403, "The key speaks for another agent")
ZONE_NOT_FOUND: Final = ProblemType("zone_not_found", 404, "There is no such zone")
AGENT_NOT_FOUND: Final = ProblemType("agent_not_found", 404, "There is no such agent")
AGENT_SPEC_NOT_FOUND: Final = ProblemType("agent_spec_not_found", 404, "The agent has no spec")
KEY_NOT_FOUND: Final = ProblemType("key_not_found", 404, "There is no such key")
ZONE_EXISTS: Final = ProblemType("zone_exists", 409, "There is already a zone of this id")
ZONE_TERMINATING: Final = ProblemType("zone_terminating", 409, "The zone is being deleted")
ZONE_PROTECTED: Final = ProblemType("zone_protected", 409, "The zone cannot be deleted")
WARMUP_RUNNING: Final = ProblemType("warmup_running", 409, "The agent is being warmed up")
KEY_EXISTS: Final = ProblemType("key_exists", 409, "There is already a key of this name")
CURSOR_EXPIRED: Final = ProblemType("cursor_expired", 410, "The events after the cursor are gone")
TUS_VERSION_UNSUPPORTED: Final = ProblemType("tus_version_unsupported", 412, "Only version 1.0.0 of tus is spoken here")
UPLOAD_METADATA_INVALID: Final = ProblemType("upload_metadata_invalid", 400, "The metadata of the upload is not valid")
CHECKSUM_UNSUPPORTED: Final = ProblemType("checksum_unsupported", 400, "The checksum is not one that is known here")
UPLOAD_FINISHED: Final = ProblemType("upload_finished", 403, "The upload is finished")
UPLOAD_NOT_FOUND: Final = ProblemType("upload_not_found", 404, "There is no such upload")
UPLOAD_OFFSET_MISMATCH: Final = ProblemType("upload_offset_mismatch", 409, "The upload is at another offset")
UPLOAD_TARGET_BLOCKED: Final = ProblemType("upload_target_blocked", 409, "No file can be at the path of the upload")
QUOTA_EXCEEDED: Final = ProblemType("quota_exceeded", 413, "The zone's quota does not allow this")
CHECKSUM_MISMATCH: Final = ProblemType("upload_checksum_mismatch", 460, "The bytes are not those of the checksum")
BRICK_UNMOUNTED: Final = ProblemType("brick_unmounted", 503, "This part of the platform is unmounted")
TASK_NOT_FOUND: Final = ProblemType("task_not_found", 404, "There is no such task")
IDEMPOTENCY_CONFLICT: Final = ProblemType("idempotency_conflict", 409, "The idempotency key was used for another task")
LEASE_LOST: Final = ProblemType("lease_lost", 409, "The lease of the task is over, or another's")
