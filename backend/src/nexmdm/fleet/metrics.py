"""The metrics of the fleet."""

from typing import Final

from nexmdm.fleet.dispatch_states import STATUSES
from nexmdm.kernel.metrics import BUCKETS_S, Counter, Gauge, Histogram

registrations = Counter("nexmdm_registrations", "Devices registered or re-enrolled.")
fcm_tokens_moved = Counter("nexmdm_fcm_tokens_moved", "FCM tokens that a device has taken from another.")
heartbeats = Counter("nexmdm_heartbeats", "Heartbeats acknowledged.", ["result"])
dispatches = Counter("nexmdm_dispatches", "Dispatches that reached a state.", ["status"])
fcm_duration = Histogram("nexmdm_fcm_send_duration_seconds", "One attempt to send over FCM.", buckets=BUCKETS_S)
dispatch_write = Histogram("nexmdm_dispatch_write_duration_seconds", "Making a command durable.", buckets=BUCKETS_S)
action_results = Counter("nexmdm_action_results", "Results that devices reported.", ["outcome", "replayed"])
apk_downloads = Counter("nexmdm_apk_downloads", "APK downloads answered with content.", ["build_type", "source"])
tokens_issued = Counter("nexmdm_enroll_tokens_issued", "Enrolment tokens issued.")
# Of the background process, which looks once a second; "livemax" because every other process has a 0 of its own.
dispatches_waiting = Gauge("nexmdm_dispatches_waiting", "Dispatches not yet sent.", multiprocess_mode="livemax")
oldest_wait = Gauge("nexmdm_dispatch_oldest_wait_seconds", "Age of the oldest of them.", multiprocess_mode="livemax")
device_bodies_refused = Counter(
    "nexmdm_device_bodies_refused", "Bodies of devices refused, by the member at fault.", ["route", "pointer"]
)

LABELS: Final = {  # series that exist with 0 from the start
    heartbeats: (("ingested", "deduplicated"),),
    dispatches: (tuple(status for status in STATUSES if status != "sending"),),
    action_results: (("ok", "error"), ("true", "false")),
    apk_downloads: (("debug", "release"), ("enrollment", "manual", "ci")),
}
