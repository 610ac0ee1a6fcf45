"""The log events of processes and connections. Each has a JSON Schema of its fields in the contract."""

from typing import Final

from nexmdm.kernel.log import Event

SERVICE_START: Final = Event("service.start")
SERVICE_STOP: Final = Event("service.stop")
CONNECTION_REFUSED: Final = Event("connection.refused")
