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
OBJECTS_SWEPT: Final = Event("platform.objects.swept")
STREAM_OPENED: Final = Event("platform.stream.opened")
STREAM_CLOSED: Final = Event("platform.stream.closed")
