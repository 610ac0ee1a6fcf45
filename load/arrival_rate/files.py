"""The zones that small files are written into: what tables and service say of them, compared with the record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from harness.platform.zone import Zone
from load.arrival_rate.run import ArrivalRateRun
from load.arrival_rate.workload import LOG_ERRORS, Checks, Observations, Workload
from load.arrival_rate.writes import WriteRequests
from load.arrival_rate.zones import SeededZones, calls_counted, in_words
from load.verdict.check import Finding, RunCheck, compared
from load.verdict.verdict import Facts
from load.workloads.write_record import (
    Logged,
    Stored,
    Usage,
    WriteRecord,
    ZoneFound,
    event_faults,
    file_faults,
    usage_faults,
)

_FILES: Final = "SELECT path, size, encode(sha256(content), 'hex') FROM files WHERE zone_id = %s ORDER BY path"
_EVENTS: Final = "SELECT sequence_number, type, path FROM events WHERE zone_id = %s ORDER BY sequence_number"
_ZONE: Final = "SELECT used_bytes, files, event_seq FROM zones WHERE zone_id = %s"


def _files(run: ArrivalRateRun, seen: Observations) -> Finding:
    record, found = run.ledger(WriteRecord), seen.rows.get()
    files = sum(len(zone.files) for zone in found)
    told = f"{files} files for {len(record.acknowledged)} acknowledged writes, {len(record.unsure)} are unsure"
    faults = file_faults(record, found, run.seed)
    return compared(faults, told, sure=len(record.acknowledged), unsure=len(record.unsure))


def _events(_: ArrivalRateRun, seen: Observations) -> Finding:
    found = seen.rows.get()
    numbers = sorted(zone.last_event for zone in found)
    return Finding(event_faults(found), f"{sum(numbers)} events, {numbers[0]} to {numbers[-1]} in a zone")


def _usage(_: ArrivalRateRun, seen: Observations) -> Finding:
    found = seen.rows.get()
    used_bytes, files = (sum(amounts) for amounts in zip(*(zone.charged for zone in found), strict=True))
    return Finding(usage_faults(found), f"{used_bytes} bytes of {files} files; zones: {len(found)}")


CHECKS: Checks = (
    RunCheck("files", "each acknowledged write is a file, and nothing else is", _files),
    RunCheck("events", "each file has one event, numbered without a gap, replayed in order", _events),
    RunCheck("usage", "each zone is charged for the files that it has", _usage),
    calls_counted("write"),
    LOG_ERRORS,
)


class SeededFiles(SeededZones):
    """Zones with nothing but files."""

    tables = "zones, events, files"
    checks = CHECKS

    def look(self, number: int) -> ZoneFound:
        name = self.name(number)
        zone = Zone(self.client, self.keys[number], name)
        listed = [_stored(entry) for entry in zone.entries() if entry["type"] == "file"]
        replayed = [Logged(event["sequence_number"], event["type"], event["path"]) for event in zone.log()]
        usage = zone.usage()
        with self.snapshot() as connection:
            files = [Stored(*row) for row in connection.execute(_FILES, [name])]
            events = [Logged(*row) for row in connection.execute(_EVENTS, [name])]
            [(used_bytes, counted, last_event)] = connection.execute(_ZONE, [name])
        shown = Usage(usage["max_storage_bytes"], usage["max_files"])
        return ZoneFound(files, events, Usage(used_bytes, counted), last_event, listed, replayed, shown)

    def facts(self, run: ArrivalRateRun) -> Facts:
        return {"errors that writes were answered with": in_words(run.ledger(WriteRecord).refusals)}


def _stored(entry: Mapping[str, Any]) -> Stored:
    return Stored(entry["path"], entry["size"], entry["etag"])


WRITES: Final = Workload(WriteRequests, WriteRecord, WriteRecord.from_dict, SeededFiles)
