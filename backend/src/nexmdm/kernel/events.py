"""The log events of the kernel. Each has a JSON Schema of its fields in the contract."""

from typing import Final

from nexmdm.kernel.log import Event

TOKEN_RATELIMIT: Final = Event("sec.token.ratelimit")
DEPENDENCY_AWAY: Final = Event("dependency.unavailable")
DB_OPERATION: Final = Event("db_operation", "bulk")
