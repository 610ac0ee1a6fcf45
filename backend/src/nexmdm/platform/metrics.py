"""The metrics of the platform."""

from nexmdm.kernel.metrics import BUCKETS_S, Counter, Gauge, Histogram

rpc_calls = Counter("nexmdm_platform_rpc_calls", "JSON-RPC calls, by what became of them.", ["method", "outcome"])
rpc_duration = Histogram("nexmdm_platform_rpc_seconds", "One JSON-RPC call.", ["method"], buckets=BUCKETS_S)
objects_swept = Counter("nexmdm_platform_objects_swept", "Objects that no file referred to and that were removed.")
streams = Gauge("nexmdm_platform_streams", "Event streams that are open.", multiprocess_mode="livesum")
agent_transitions = Counter("nexmdm_platform_agent_transitions", "Transitions of agents, by new state.", ["state"])
agent_warmups = Counter("nexmdm_platform_agent_warmups", "Warmups of agents, by what became of them.", ["outcome"])
agents_silent = Counter("nexmdm_platform_agents_silent", "Agents that were made idle for want of heartbeats.")
loop_turns = Counter("nexmdm_platform_loop_turns", "Turns of the platform's loops that ended well.", ["loop"])
# Of the background process; "livemax" because every other process has a 0 of its own.
agents = Gauge("nexmdm_platform_agents", "Agents in each state.", ["state"], multiprocess_mode="livemax")
bricks = Gauge(
    "nexmdm_platform_bricks",
    "Parts of the platform: 1 for the state that each is in.",
    ["brick", "state"],
    multiprocess_mode="livemax",
)
zones_terminating = Gauge(
    "nexmdm_platform_zones_terminating", "Zones that are being deleted.", multiprocess_mode="livemax"
)
oldest_terminating = Gauge(
    "nexmdm_platform_oldest_terminating_seconds",
    "Age of the oldest deletion of a zone that is not finished.",
    multiprocess_mode="livemax",
)
tasks = Counter("nexmdm_platform_tasks", "Tasks that have come to a state, by the event that tells it.", ["event"])
leases_expired = Counter("nexmdm_platform_task_leases_expired", "Leases of tasks that ended before their attempt did.")
claims_waiting = Gauge("nexmdm_platform_claims_waiting", "Claims that wait for a task.", multiprocess_mode="livesum")
sync_changes = Counter(
    "nexmdm_platform_sync_changes", "Changes below mounts, by what became of their delivery.", ["outcome"]
)
sync_resolved = Counter("nexmdm_platform_sync_resolved", "Conflicts below mounts that were resolved.", ["resolution"])
# Of the background process, as above.
sync_backlog = Gauge(
    "nexmdm_platform_sync_backlog",
    "Changes below mounts that their backends have not got, without those in conflict.",
    multiprocess_mode="livemax",
)
sync_oldest_change = Gauge(
    "nexmdm_platform_sync_oldest_change_seconds", "Age of the oldest of them.", multiprocess_mode="livemax"
)
sync_conflicts_open = Gauge(
    "nexmdm_platform_sync_conflicts_open", "Conflicts below mounts that are open.", multiprocess_mode="livemax"
)
