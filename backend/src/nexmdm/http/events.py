"""The log events of HTTP and of credentials. Each has a JSON Schema of its fields in the contract."""

from typing import Final

from nexmdm.kernel.log import Event

HTTP_REQUEST: Final = Event("http.request", "bulk")
AUTH_FAIL: Final = Event("sec.auth.fail")
AUTH_ALERT: Final = Event("sec.auth.alert")
UNHANDLED_EXCEPTION: Final = Event("internal.error")
