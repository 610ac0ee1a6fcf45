"""The metrics of connections and processes."""

from typing import Final

from nexmdm.kernel.metrics import Counter, Gauge

connections_open = Gauge("nexmdm_connections_open", "Connections of clients.", multiprocess_mode="livesum")
connections_refused = Counter("nexmdm_connections_refused", "Connections ended for what they cost or sent.", ["reason"])
worker_restarts = Counter("nexmdm_worker_restarts", "Processes that ended by themselves.", ["role"])

LABELS: Final = {  # series that exist with 0 from the start
    connections_refused: (
        ("malformed", "incomplete", "large_head", "slow_head", "slow_body", "slow_reader", "pipeline", "too_many"),
    ),
    worker_restarts: (("web", "background"),),
}
