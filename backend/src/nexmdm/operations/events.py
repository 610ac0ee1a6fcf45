"""The log events of operations. Each has a JSON Schema of its fields in the contract."""

from typing import Final

from nexmdm.kernel.log import Event

METRICS_SCRAPE: Final = Event("metrics.scrape")
