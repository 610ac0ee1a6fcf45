"""The workloads of an arrival rate, by the name that a scenario gives."""

from __future__ import annotations

from typing import Final

from load.arrival_rate.agents import AGENTS
from load.arrival_rate.files import WRITES
from load.arrival_rate.heartbeats import HEARTBEATS
from load.arrival_rate.listed_pool import STUDENTS_BESIDE_JOBS
from load.arrival_rate.pool import STUDENTS
from load.arrival_rate.queues import TASKS
from load.arrival_rate.workload import Workload

WORKLOADS: Final[dict[str, Workload]] = {
    "heartbeats": HEARTBEATS,
    "students": STUDENTS,
    "students beside jobs": STUDENTS_BESIDE_JOBS,
    "writes": WRITES,
    "tasks": TASKS,
    "agents": AGENTS,
}
