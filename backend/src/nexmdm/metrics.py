"""The metrics, one name each. It measures nothing itself: the modules that do the work count here.

Values live in files that all processes of one `nexmdm serve` share (prometheus-client's multiprocess mode), so a scrape
of any worker is complete. `settings.metrics_directory` must have been set before this module is imported.
"""

from __future__ import annotations

import os
from itertools import product
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess, values

from nexmdm import __version__, settings
from nexmdm.errors import CODES


class _Process:
    """Which process this is, without a system call for every sample: prometheus-client asks on each."""

    def __init__(self) -> None:
        self._note()
        os.register_at_fork(after_in_child=self._note)

    def _note(self) -> None:
        self._pid = os.getpid()

    def __call__(self) -> int:
        return self._pid


if settings.metrics_directory() is not None:
    values.ValueClass = values.MultiProcessValue(_Process())  # type: ignore[no-untyped-call]  # half typed, too

# Bounds in seconds. Fine where the budgets are (5, 15, 30, 50, 150, 300 ms), coarse beyond.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.03, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0)

http_requests = Counter("nexmdm_http_requests", "HTTP requests answered.", ["route", "method", "status"])
http_duration = Histogram(
    "nexmdm_http_request_duration_seconds", "Time to answer.", ["route", "method"], buckets=_BUCKETS
)
registrations = Counter("nexmdm_registrations", "Devices registered or re-enrolled.")
heartbeats = Counter("nexmdm_heartbeats", "Heartbeats acknowledged.", ["result"])
dispatches = Counter("nexmdm_dispatches", "Dispatches that reached a state.", ["status"])
fcm_duration = Histogram("nexmdm_fcm_send_duration_seconds", "One attempt to send over FCM.", buckets=_BUCKETS)
dispatch_write = Histogram("nexmdm_dispatch_write_duration_seconds", "Making a command durable.", buckets=_BUCKETS)
action_results = Counter("nexmdm_action_results", "Results that devices reported.", ["outcome", "replayed"])
apk_downloads = Counter("nexmdm_apk_downloads", "APK downloads answered with content.", ["build_type", "source"])
tokens_issued = Counter("nexmdm_enroll_tokens_issued", "Enrolment tokens issued.")
rate_limited = Counter("nexmdm_rate_limited", "Requests refused by a rate limit.", ["rule"])
shed = Counter("nexmdm_shed", "Requests turned away because a queue was full.", ["queue"])
auth_failures = Counter("nexmdm_auth_failures", "Refused credentials.", ["code"])
connections_open = Gauge("nexmdm_connections_open", "Connections of clients.", multiprocess_mode="livesum")
connections_refused = Counter("nexmdm_connections_refused", "Connections ended for what they cost or sent.", ["reason"])
# Of the background process, which looks once a second; "livemax" because every other process has a 0 of its own.
dispatches_waiting = Gauge("nexmdm_dispatches_waiting", "Dispatches not yet sent.", multiprocess_mode="livemax")
oldest_wait = Gauge("nexmdm_dispatch_oldest_wait_seconds", "Age of the oldest of them.", multiprocess_mode="livemax")
worker_restarts = Counter("nexmdm_worker_restarts", "Processes that ended by themselves.", ["role"])
job_failures = Counter("nexmdm_job_failures", "Background jobs that failed and were begun again.", ["job"])
pool_size = Gauge("nexmdm_db_pool_size", "Database connections that there may be.", multiprocess_mode="livesum")
pool_in_use = Gauge("nexmdm_db_pool_in_use", "Database connections in use.", multiprocess_mode="livesum")
build_info = Gauge("nexmdm_build_info", "Always 1.", ["version"], multiprocess_mode="max")


def page() -> bytes:
    """The Prometheus text page (format 0.0.4) over all processes."""
    build_info.labels(__version__).set(1)
    if settings.metrics_directory() is None:
        return generate_latest()
    registry = CollectorRegistry()
    _Files(registry)  # type: ignore[no-untyped-call]  # prometheus-client is half typed
    return generate_latest(registry)


class _Files(multiprocess.MultiProcessCollector):
    """Leaves out the files that a process which is just starting has made but not yet filled: they cannot be read."""

    def collect(self) -> Any:
        files = [str(path) for path in Path(self._path).glob("*.db") if _size(path)]
        return self.merge(files, accumulate=True)  # type: ignore[no-untyped-call]


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:  # a live gauge whose process has ended since
        return 0


def forget_process(pid: int) -> None:
    """Drop the live gauges of a process that has ended."""
    if settings.metrics_directory() is not None:
        multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]


def seed_labels() -> None:
    """Make every known series appear with 0, so that a rate over the first event is right."""
    refusals = [code for code, (status_code, _) in CODES.items() if status_code in {401, 403}]
    for metric, *known in (
        (heartbeats, ("ingested", "deduplicated")),
        (dispatches, ("queued", "sent", "failed", "completed", "expired")),
        (action_results, ("ok", "error"), ("true", "false")),
        (apk_downloads, ("debug", "release"), ("enrollment", "manual", "ci")),
        (rate_limited, ("admin", "token_create", "apk_token", "apk_ip", "auth_fail")),
        (shed, ("requests", "heartbeats", "bcrypt")),
        (
            connections_refused,
            ("malformed", "large_head", "slow_head", "slow_body", "slow_reader", "pipeline", "too_many"),
        ),
        (worker_restarts, ("web", "background")),
        (job_failures, ("dispatcher", "scheduler")),
        (auth_failures, refusals),
    ):
        for labels in product(*known):
            metric.labels(*labels)
