"""The errors of JSON-RPC calls (JSON-RPC 2.0, section 5.1, and the platform's own numbers)."""

from __future__ import annotations

from typing import Any, Final, NamedTuple


class RpcErrorType(NamedTuple):
    """One kind of error: its number, a machine-readable code, a message."""

    number: int
    code: str
    message: str


PARSE_ERROR: Final = RpcErrorType(-32700, "parse_error", "Parse error")
INVALID_REQUEST: Final = RpcErrorType(-32600, "invalid_request", "Invalid Request")
METHOD_NOT_FOUND: Final = RpcErrorType(-32601, "method_not_found", "Method not found")
INVALID_PARAMS: Final = RpcErrorType(-32602, "invalid_params", "Invalid params")
INTERNAL_ERROR: Final = RpcErrorType(-32603, "internal_error", "Internal error")
NOT_FOUND: Final = RpcErrorType(-32000, "not_found", "There is nothing at this path")
EXISTS: Final = RpcErrorType(-32001, "exists", "There is something at this path")
AGENT_NOT_FOUND: Final = RpcErrorType(-32000, "agent_not_found", "There is no such agent")
MOUNT_NOT_FOUND: Final = RpcErrorType(-32000, "mount_not_found", "There is no such mount")
ZONE_NOT_FOUND: Final = RpcErrorType(-32000, "zone_not_found", "There is no such zone")
AGENT_EXISTS: Final = RpcErrorType(-32001, "agent_exists", "agent already registered")
PATH_INVALID: Final = RpcErrorType(-32002, "path_invalid", "The path is not valid")
ZONE_FORBIDDEN: Final = RpcErrorType(-32003, "zone_forbidden", "The key is not good for this zone")
AGENT_FORBIDDEN: Final = RpcErrorType(-32003, "agent_forbidden", "The key speaks for another agent")
ROLE_FORBIDDEN: Final = RpcErrorType(-32003, "role_forbidden", "The key's role may not do this")
MOUNT_READONLY: Final = RpcErrorType(-32004, "mount_readonly", "The mount can only be read")
MOUNT_UNSUPPORTED: Final = RpcErrorType(-32004, "mount_unsupported", "A mount cannot do this")
BACKEND_UNKNOWN: Final = RpcErrorType(-32005, "backend_unknown", "No mount can have this backend")
ROOT_PATH_FORBIDDEN: Final = RpcErrorType(-32005, "root_path_forbidden", "No mount can have this directory")
ENDPOINT_FORBIDDEN: Final = RpcErrorType(-32005, "endpoint_forbidden", "No mount can have this server")
SECRETS_NOT_KEPT: Final = RpcErrorType(-32005, "secrets_not_kept", "The service has no key to encrypt secrets with")
CONTENT_INVALID: Final = RpcErrorType(-32005, "content_invalid", "The content is not valid base64")
TOO_LARGE: Final = RpcErrorType(-32005, "too_large", "Too much for one call")
CURSOR_INVALID: Final = RpcErrorType(-32005, "cursor_invalid", "Not a cursor of this list")
SPEC_GENERATION_UNKNOWN: Final = RpcErrorType(
    -32005, "spec_generation_unknown", "The agent's spec has not had this generation"
)
ETAG_MISMATCH: Final = RpcErrorType(-32006, "etag_mismatch", "The file is another than expected")
IS_A_DIRECTORY: Final = RpcErrorType(-32006, "is_a_directory", "The path is that of a directory")
NOT_A_DIRECTORY: Final = RpcErrorType(-32006, "not_a_directory", "A file lies where a directory is needed")
DIRECTORY_NOT_EMPTY: Final = RpcErrorType(-32006, "directory_not_empty", "The directory is not empty")
TREE_CHANGED: Final = RpcErrorType(-32006, "tree_changed", "The directory has changed in between")
MOUNT_CHANGED: Final = RpcErrorType(-32006, "mount_changed", "What is mounted there has changed in between")
MOUNT_HAS_CHANGES: Final = RpcErrorType(
    -32006, "mount_has_changes", "The backend of the mount has not got every change"
)
ZONE_TERMINATING: Final = RpcErrorType(-32006, "zone_terminating", "The zone is being deleted")
STALE_GENERATION: Final = RpcErrorType(-32006, "stale_generation", "stale generation")
INVALID_TRANSITION: Final = RpcErrorType(-32006, "invalid_transition", "invalid transition")
AGENT_NOT_CONNECTED: Final = RpcErrorType(-32006, "agent_not_connected", "The agent is not connected")
QUOTA_EXCEEDED: Final = RpcErrorType(-32010, "quota_exceeded", "The zone's quota does not allow this")
BACKEND_UNAVAILABLE: Final = RpcErrorType(-32011, "backend_unavailable", "What the call needs is away")


class RpcError(Exception):
    """A refused call. `data` stands beside the code in the answer, and quotes nothing that was sent."""

    def __init__(self, kind: RpcErrorType, **data: Any) -> None:
        super().__init__(kind.code)
        self.kind, self.data = kind, data

    def shown(self) -> dict[str, Any]:
        """The `error` member of the answer."""
        return {"code": self.kind.number, "message": self.kind.message, "data": {"code": self.kind.code, **self.data}}
