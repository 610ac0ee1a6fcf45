"""The problem types of the broker."""

from typing import Final

from nexmdm.kernel.problems import ProblemType

TRACK_ID_MISSING: Final = ProblemType("track_id_missing", 400, "The request names no track")
TRACK_ID_INVALID: Final = ProblemType("track_id_invalid", 400, "The id of the track is not valid")
TRACK_NAME_INVALID: Final = ProblemType("track_name_invalid", 400, "The name of the lab is not valid")
IDEMPOTENCY_KEY_INVALID: Final = ProblemType("idempotency_key_invalid", 400, "The idempotency key is not valid")
TRACK_REQUIRED: Final = ProblemType("track_required", 403, "A key of a track is required")
NOT_SANDBOX_OWNER: Final = ProblemType("not_sandbox_owner", 403, "The sandbox is another track's")
ALLOCATION_EXPIRED: Final = ProblemType("allocation_expired", 403, "The allocation is over")
ALLOCATION_REVOKED: Final = ProblemType("allocation_revoked", 403, "The allocation was revoked")
SANDBOX_NOT_FOUND: Final = ProblemType("sandbox_not_found", 404, "There is no such sandbox")
NO_ALLOCATION: Final = ProblemType("no_allocation", 404, "The track has no sandbox")
NO_SANDBOXES_AVAILABLE: Final = ProblemType("no_sandboxes_available", 409, "No sandbox is available")
EXTENSION_LIMIT: Final = ProblemType("extension_limit", 409, "The allocation cannot be extended further")
NOT_ALLOCATED: Final = ProblemType("not_allocated", 409, "The sandbox is not allocated")
NOT_DELETION_FAILED: Final = ProblemType("not_deletion_failed", 409, "The deletion of the sandbox has not failed")
SYNC_RUNNING: Final = ProblemType("sync_running", 409, "Another sync is running")
ALLOCATION_ENDED: Final = ProblemType("allocation_ended", 410, "The allocation of this idempotency key is over")
PROVIDER_REFUSED: Final = ProblemType("provider_refused", 502, "The provider refused or failed")
SYNC_IMPLAUSIBLE: Final = ProblemType("sync_implausible", 502, "The provider's list is not plausible")
ALLOCATION_CONTENDED: Final = ProblemType("allocation_contended", 503, "Too many ask for a sandbox at once")
CIRCUIT_OPEN: Final = ProblemType("circuit_open", 503, "The provider keeps failing and is left alone for now")
PROVIDER_NOT_CONFIGURED: Final = ProblemType("provider_not_configured", 503, "No provider is configured")
