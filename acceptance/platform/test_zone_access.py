"""Who may do what in a zone: every operation of the platform with a key of each role, of this zone and of another.

Credentials that are none are in acceptance/access/matrix.py.
"""

from collections.abc import Callable

import pytest

from acceptance.access.judging import naming
from acceptance.access.matrix import ACCEPTED
from acceptance.access.requests import OF_A_BRICK, OF_A_CONFLICT, is_let_in, is_refused
from acceptance.platform.test_zone_requests import OF_THE_PLATFORM
from acceptance.platform.zones import UNKNOWN_KEY, Platform
from acceptance.suite.case import case
from acceptance.system import api_keys
from harness.http.client import Answer
from harness.platform.zone import Zone

# in the zone: files, events and uploads.
_TABLE = """
caller                     | in the zone         | getZone            | deleteZone         | listZones          | admin's
an admin                   | accepted            | accepted           | accepted           | accepted           | accepted
a member                   | accepted            | accepted           | 403 admin_required | accepted           | 403 admin_required
an owner                   | accepted            | accepted           | accepted           | accepted           | 403 admin_required
an agent                   | accepted            | 403 role_forbidden | 403 role_forbidden | 403 role_forbidden | 403 admin_required
an agent as another        | 403 agent_forbidden | 403 role_forbidden | 403 role_forbidden | 403 role_forbidden | 403 admin_required
another zone's member      | 403 zone_forbidden  | 403 zone_forbidden | 403 zone_forbidden | accepted           | 403 admin_required
another zone's agent       | 403 zone_forbidden  | 403 role_forbidden | 403 role_forbidden | 403 role_forbidden | 403 admin_required
a member that was revoked  | 401 token_invalid   | 401 token_invalid  | 401 token_invalid  | 401 token_invalid  | 401 token_invalid
a track                    | 401 token_invalid   | 401 token_invalid  | 401 token_invalid  | 401 token_invalid  | 401 token_invalid
another service's member   | 401 token_invalid   | 401 token_invalid  | 401 token_invalid  | 401 token_invalid  | 401 token_invalid
nobody's key               | 401 token_invalid   | 401 token_invalid  | 401 token_invalid  | 401 token_invalid  | 401 token_invalid
"""  # noqa: E501 - a table is read across
HEAD, *ROWS = ([cell.strip() for cell in line.split("|")] for line in _TABLE.strip().splitlines())
TABLE = {row[0]: dict(zip(HEAD[1:], row[1:], strict=True)) for row in ROWS}
ADMINS = {"createZone", "updateZone", "createKey", "listKeys", "revokeKey", "getBricksHealth", *OF_A_BRICK}

# As in the zone, but for those who are no admins, and for agents.
PUSHES = {"pushRoot", "pushMount"}
OF_SYNC = {"listSyncRuns", "listConflicts", *OF_A_CONFLICT, *PUSHES}


def revoked(platform: Platform, zone_id: str) -> str:
    key = platform.named_key("member", zone_id)
    api_keys.revoke(platform.system, key.name)
    return key.secret


def owner(platform: Platform, zone_id: str) -> str:
    key = platform.named_key("member", zone_id)
    platform.write("update zones set owner = %(name)s where zone_id = %(zone)s", name=key.name, zone=zone_id)
    return key.secret


# The key of each caller, given the zone and another one.
KEYS: dict[str, Callable[[Platform, str, str], str]] = {
    "an admin": lambda platform, _zone, _other: platform.admin_key,
    "a member": lambda platform, zone, _other: platform.key("member", zone),
    "an owner": lambda platform, zone, _other: owner(platform, zone),
    "an agent": lambda platform, zone, _other: platform.key("agent", zone, "worker-7"),
    "an agent as another": lambda platform, zone, _other: platform.key("agent", zone, "worker-7"),
    "another zone's member": lambda platform, _zone, other: platform.key("member", other),
    "another zone's agent": lambda platform, _zone, other: platform.key("agent", other, "worker-7"),
    "a member that was revoked": lambda platform, zone, _other: revoked(platform, zone),
    "a track": lambda platform, _zone, _other: platform.key("track"),
    "another service's member": lambda platform, zone, _other: platform.key("member", zone, services=["sandboxes"]),
    "nobody's key": lambda _platform, _zone, _other: UNKNOWN_KEY,
}


def cell(caller: str, operation: str) -> str:
    if operation in PUSHES and caller in ("a member", "an owner"):
        return "403 admin_required"
    if operation in OF_SYNC and caller == "an agent":
        return "403 role_forbidden"
    row = TABLE[caller]
    return row["admin's" if operation in ADMINS else operation if operation in row else "in the zone"]


def ask(zone: Zone, operation: str) -> Answer:
    path, content, headers = OF_THE_PLATFORM[operation].filled({"zone_id": zone.zone_id, "key_name": zone.zone_id})
    return zone.request(OF_THE_PLATFORM[operation].method, path, content=content, headers=headers)


@case("zone-access/001", "* 401", "* 403", "* 202")
@pytest.mark.parametrize("caller", TABLE)
def test_who_may_do_what_in_a_zone(caller: str, platform: Platform, zone: Zone) -> None:
    """An operation of the platform lets in those that the table names; a refusal changes nothing (platform.md)."""
    other = platform.zone()
    key = KEYS[caller](platform, zone.zone_id, other.zone_id)
    agent = [("X-Agent-Id", "worker-8")] if caller == "an agent as another" else []
    asks = Zone(platform.system.api, key, zone.zone_id, headers=[("X-Nexus-Zone-ID", zone.zone_id), *agent])
    cells = {operation: cell(caller, operation) for operation in OF_THE_PLATFORM}
    with platform.unchanged():
        for operation, wanted in cells.items():
            if wanted != ACCEPTED:
                status, code = wanted.split()
                with naming(operation, caller):
                    is_refused(operation, ask(asks, operation), int(status), code)
    # The zone's end comes last.
    for operation in sorted((one for one, wanted in cells.items() if wanted == ACCEPTED), key="deleteZone".__eq__):
        answer = ask(asks, operation)
        assert is_let_in(operation, answer), f"{operation} with {caller}: {answer.status} {answer.body[:300]!r}"
    if cells["deleteZone"] == ACCEPTED:
        platform.gone(zone.zone_id)


@case("zone-access/002")
def test_the_table_has_every_caller() -> None:
    """Each caller of the table has a key, and each operation of the contract that takes a zone's key a cell (api)."""
    assert KEYS.keys() == TABLE.keys()
    assert all(cell("an admin", operation) == ACCEPTED for operation in OF_THE_PLATFORM)
    assert ADMINS | (set(HEAD[1:]) - {"in the zone", "admin's"}) <= OF_THE_PLATFORM.keys()
