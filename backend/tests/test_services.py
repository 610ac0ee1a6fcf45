"""What the services declare fits together: no name stands for two things."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
from pydantic import SecretStr

from nexmdm.app import SERVICES, settings_class, switched_on
from nexmdm.fleet.settings import FleetSettings
from nexmdm.http import events as http_events
from nexmdm.http import problems as http_problems
from nexmdm.jobs import events as jobs_events
from nexmdm.kernel import events as kernel_events
from nexmdm.kernel import log
from nexmdm.kernel import problems as kernel_problems
from nexmdm.kernel.rights import KERNEL
from nexmdm.kernel.settings import ConfigurationError, Settings
from nexmdm.server import events as server_events
from nexmdm.server import problems as server_problems


def repeated(names: Iterable[str]) -> list[str]:
    return [name for name, times in Counter(names).items() if times > 1]


def test_no_service_has_the_name_of_another() -> None:
    assert repeated(service.name for service in SERVICES) == []


def test_each_event_has_a_name_of_its_own() -> None:
    below = [log.declared(module) for module in (kernel_events, http_events, jobs_events, server_events)]
    events = {id(event): event for group in (*below, *(service.events for service in SERVICES)) for event in group}
    assert len(events) > 30
    assert repeated(events.values()) == []


def test_each_problem_has_a_code_of_its_own() -> None:
    below = [kernel_problems.declared(module) for module in (kernel_problems, http_problems, server_problems)]
    kinds = {id(kind): kind for group in (*below, *(service.problems for service in SERVICES)) for kind in group}
    assert len(kinds) > 30
    assert repeated(kind.code for kind in kinds.values()) == []


def test_each_table_each_limit_and_each_queue_is_of_one_service() -> None:
    rights = [KERNEL, *(service.rights for service in SERVICES)]
    assert repeated(table for part in rights for table in part.tables) == []
    assert repeated(rule for service in SERVICES for rule in service.rate_limits) == []
    assert repeated(queue for service in SERVICES for queue in service.queues) == []
    assert repeated(job for service in SERVICES for job in service.jobs) == []


def settings(*services: str) -> Settings:
    secret = SecretStr("0123456789abcdef")
    url = SecretStr("postgresql://unused/unused")
    return FleetSettings(database_url=url, admin_key=secret, hmac_secret=secret, services=services)


def test_operations_are_always_on() -> None:
    assert [service.name for service in switched_on(settings())] == ["fleet", "sandboxes", "platform", "operations"]
    assert [service.name for service in switched_on(settings("fleet"))] == ["fleet", "operations"]
    assert [service.name for service in switched_on(settings("operations"))] == ["operations"]


def test_a_name_of_no_service_is_refused() -> None:
    with pytest.raises(
        ConfigurationError, match="NEXMDM_SERVICES: names no service; there is fleet, operations, platform, sandboxes"
    ):
        switched_on(settings("fleet", "hunter2"))


def test_the_readme_lists_every_setting_and_no_other() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`NEXMDM_([A-Z_]+)`", readme))
    assert named == {name.upper() for name in settings_class().model_fields}
