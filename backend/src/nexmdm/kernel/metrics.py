"""The metrics, one name each. It measures nothing itself: the modules that do the work count here.

Values lie in memory that all processes of one `nexmdm serve` share, so a scrape of any worker is complete.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values

from nexmdm import __version__
from nexmdm.kernel.log_sink import Kind
from nexmdm.kernel.problems import CODES
from nexmdm.kernel.shared_values import SharedValues

_shared = SharedValues()
values.ValueClass = _shared.value  # before the first metric is made
share, take_slot, clear_slot = _shared.share, _shared.take, _shared.clear

# Bounds in seconds. Fine where the budgets are (5, 15, 30, 50, 150, 300 ms), coarse beyond.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.03, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0)

http_requests = Counter("nexmdm_http_requests", "HTTP requests answered.", ["route", "method", "status"])
http_duration = Histogram(
    "nexmdm_http_request_duration_seconds", "Time to answer.", ["route", "method"], buckets=_BUCKETS
)
registrations = Counter("nexmdm_registrations", "Devices registered or re-enrolled.")
fcm_tokens_moved = Counter("nexmdm_fcm_tokens_moved", "FCM tokens that a device has taken from another.")
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
device_bodies_refused = Counter(
    "nexmdm_device_bodies_refused", "Bodies of devices refused, by the member at fault.", ["route", "pointer"]
)
connections_open = Gauge("nexmdm_connections_open", "Connections of clients.", multiprocess_mode="livesum")
connections_refused = Counter("nexmdm_connections_refused", "Connections ended for what they cost or sent.", ["reason"])
# Of the background process, which looks once a second; "livemax" because every other process has a 0 of its own.
dispatches_waiting = Gauge("nexmdm_dispatches_waiting", "Dispatches not yet sent.", multiprocess_mode="livemax")
oldest_wait = Gauge("nexmdm_dispatch_oldest_wait_seconds", "Age of the oldest of them.", multiprocess_mode="livemax")
worker_restarts = Counter("nexmdm_worker_restarts", "Processes that ended by themselves.", ["role"])
log_lines_lost = Counter("nexmdm_log_lines_lost", "Log lines that stdout did not take in time.", ["kind"])
job_failures = Counter("nexmdm_job_failures", "Background jobs that failed and were begun again.", ["job"])
pool_size = Gauge("nexmdm_db_pool_size", "Database connections that there may be.", multiprocess_mode="livesum")
pool_in_use = Gauge("nexmdm_db_pool_in_use", "Database connections in use.", multiprocess_mode="livesum")
build_info = Gauge("nexmdm_build_info", "Always 1.", ["version"], multiprocess_mode="max")


def page() -> bytes:
    """The Prometheus text page (format 0.0.4) over all processes."""
    build_info.labels(__version__).set(1)
    registry = CollectorRegistry()
    registry.register(_shared)
    return generate_latest(registry)


def count_lost_lines(lost: Mapping[Kind, int]) -> None:
    """Count log lines that could not be written, by kind."""
    for kind, lines in lost.items():
        log_lines_lost.labels(kind).inc(lines)


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
            (
                "malformed",
                "incomplete",
                "large_head",
                "slow_head",
                "slow_body",
                "slow_reader",
                "pipeline",
                "too_many",
            ),
        ),
        (worker_restarts, ("web", "background")),
        (log_lines_lost, ("bulk", "ordinary", "reserved")),
        (job_failures, ("dispatcher", "scheduler")),
        (auth_failures, refusals),
    ):
        for labels in product(*known):
            metric.labels(*labels)
