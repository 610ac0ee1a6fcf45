"""Keys of a zone's members and agents over REST and at the command line: shown once, good at once, revoked at once."""

import json
from pathlib import Path
from typing import Any

import pytest

from acceptance.platform.zones import Platform
from acceptance.suite.case import case
from acceptance.system.match import accepted, pointers, refused
from acceptance.system.system import System, new_alias
from acceptance.system.web_workers import background_process, both, frozen
from harness.http.client import Answer
from harness.platform.zone import Zone
from harness.settings import SECRETS

KEYS = "/api/keys"


def create(platform: Platform, **fields: Any) -> Answer:
    answer = platform.admin("POST", KEYS, json={"name": new_alias(), "role": "member", **fields})
    if answer.status == 201:
        SECRETS.add(answer.json()["key"])
    return answer


@case("zone-keys/001", "createKey 201", "listKeys 200", "revokeKey 200")
def test_a_key_is_made_shown_once_and_revoked(system: System, platform: Platform, zone: Zone) -> None:
    """A new key is shown once and opens its zone at once; it is listed without itself, and revoked for good (api)."""
    name = new_alias()
    answer = create(platform, name=name, zone=zone.zone_id)
    made = accepted(answer, 201)
    system.logs.expect(answer, "sec.key.create", name=name)
    key = made.pop("key")
    assert made == {
        "name": name,
        "role": "member",
        "services": None,
        "zone": zone.zone_id,
        "subject": None,
        "created_at": made["created_at"],
        "last_used_at": None,
        "revoked_at": None,
    }
    Zone(system.api, key, zone.zone_id).write("/a", "text")
    listed = platform.admin("GET", KEYS, params={"limit": 200})
    [row] = [one for one in accepted(listed)["items"] if one["name"] == name]
    assert row | {"last_used_at": None} == made
    assert row["last_used_at"] is not None
    assert key.encode() not in listed.body
    revoked = platform.admin("DELETE", f"{KEYS}/{name}")
    system.logs.expect(revoked, "sec.key.revoke", name=name)
    assert accepted(revoked)["revoked_at"] is not None
    with platform.unchanged():
        assert accepted(platform.admin("DELETE", f"{KEYS}/{name}")) == accepted(revoked)
        refused(Zone(system.api, key, zone.zone_id).call("read", path="/a"), 401, "token_invalid")
        refused(create(platform, name=name, zone=zone.zone_id), 409, "key_exists")


@case("zone-keys/002", "createKey 201")
def test_an_agents_key_speaks_for_it(platform: Platform, zone: Zone) -> None:
    """An agent's key speaks for the subject that it was made for, by default for its name (platform.md)."""
    for fields, subject in (({"subject": "team:worker-7"}, "team:worker-7"), ({"name": "agent-" + new_alias()}, None)):
        made = accepted(create(platform, role="agent", zone=zone.zone_id, **fields), 201)
        assert made["subject"] == (subject or made["name"])
        Zone(platform.system.api, made["key"], zone.zone_id).write("/a", "text")
        assert zone.log()[-1]["agent_id"] == made["subject"]


@case("zone-keys/003", "createKey 404", "createKey 409", "createKey 422", "revokeKey 404", "listKeys 422")
def test_a_key_that_cannot_be_made(platform: Platform, zone: Zone) -> None:
    """A key needs a name, a role and what the role needs; its zone has to be there and to stay (platform.md)."""
    ending = platform.zone()
    wrong: dict[str, tuple[dict[str, Any], str]] = {
        "a member without a zone": ({}, "/zone"),
        "an agent without a zone": ({"role": "agent"}, "/zone"),
        "an admin's": ({"role": "admin", "zone": zone.zone_id}, "/role"),
        "a role that is none": ({"role": "owner", "zone": zone.zone_id}, "/role"),
        "a track's": ({"role": "track", "zone": zone.zone_id}, "/role"),
        "a name of another shape": ({"name": "-a", "zone": zone.zone_id}, "/name"),
        "a name of 65 letters": ({"name": "a" * 65, "zone": zone.zone_id}, "/name"),
        "a member's subject": ({"zone": zone.zone_id, "subject": "a"}, "/subject"),
        "a subject with a space": ({"role": "agent", "zone": zone.zone_id, "subject": "a b"}, "/subject"),
        "an unknown member": ({"zone": zone.zone_id, "secret": "x"}, ""),
    }
    with frozen(background_process(platform.system)):
        accepted(platform.admin("DELETE", f"/api/zones/{ending.zone_id}"), 202)
        with platform.unchanged():
            for name, (fields, pointer) in wrong.items():
                problem = refused(create(platform, **fields), 422, "validation_error")
                assert pointers(problem) == {f"/body{pointer}"}, name
            refused(create(platform, zone="nobody-s"), 404, "zone_not_found")
            refused(create(platform, zone="../root"), 404, "zone_not_found")
            refused(create(platform, zone=ending.zone_id), 409, "zone_terminating")
            for nobody in ("nobody-s", "%00", "a" * 300):
                refused(platform.admin("DELETE", f"{KEYS}/{nobody}"), 404, "key_not_found")
            refused(platform.admin("GET", KEYS, params={"limit": 0}), 422, "validation_error")
    platform.gone(ending.zone_id)


@case("zone-keys/004", "writeFile 401")
def test_a_revocation_holds_in_every_worker(two_workers: System, platform_of_two: Platform) -> None:
    """A key that both workers have let in is refused by both from the answer of its revocation on (004: namespace)."""
    platform = platform_of_two
    made = accepted(create(platform, zone=platform.zone().zone_id), 201)
    zone = Zone(two_workers.api, made["key"], made["zone"])
    with both(two_workers):
        for _ in range(4):
            zone.write("/a", "text")
        accepted(platform.admin("DELETE", f"{KEYS}/{made['name']}"))
        with platform.unchanged():
            for _ in range(4):
                refused(zone.call("write", path="/b", content="text"), 401, "token_invalid")


@case("zone-keys/005", slow="starts nine commands")
def test_keys_and_zones_from_the_command_line(system: System, zone: Zone, tmp_path: Path) -> None:
    """`keys create` makes a zone's keys; `platform init` makes two zones and an admin's key, once, and tells none."""
    owner = system.running.owner

    def run(*arguments: str) -> tuple[int, str]:
        return system.running.run(*arguments, env=owner)

    code, said = run("keys", "create", "of-a-member", "--role", "member", "--zone", zone.zone_id)
    assert code == 0, said
    Zone(system.api, json.loads(said)["key"], zone.zone_id).write("/a", "text")
    code, said = run("keys", "create", "of-an-agent", "--role", "agent", "--zone", zone.zone_id, "--subject", "me")
    assert (code, json.loads(said)["subject"]) == (0, "me")
    for wrong in (
        ("--role", "member"),
        ("--role", "admin", "--zone", zone.zone_id),
        ("--role", "member", "--zone", "nobody-s"),
        ("--role", "member", "--zone", zone.zone_id, "--subject", "me"),
    ):
        code, said = run("keys", "create", "wrong", *wrong)
        assert (code, len(said.splitlines())) == (1, 1), said
    file, written = tmp_path / ".nexus-admin-env", set[str]()
    for _ in range(2):
        code, said = run("platform", "init", "--file", str(file))
        assert code == 0, said
        assert "nxk_" not in said
        assert file.stat().st_mode & 0o777 == 0o600
        written.add(file.read_text())
        lines = dict(line.split("=", 1) for line in file.read_text().splitlines())
        assert lines.keys() == {"NEXUS_URL", "NEXUS_API_KEY"}
        admin = system.api.bearer(lines["NEXUS_API_KEY"], "GET", "/api/zones", params={"limit": 200})
        assert {"corp", "corp-eng"} <= {one["zone_id"] for one in accepted(admin)["zones"]}
    assert len(written) == 1, "a second run leaves a good key alone"


@case("zone-keys/006", "getZone 200", "getZone 401")
@pytest.mark.parametrize("scheme", ["", "Bearer ", "bearer ", "BEARER  "])
def test_a_key_with_and_without_its_scheme(scheme: str, system: System, zone: Zone) -> None:
    """A key alone in the header is as good as one behind `Bearer`, as clients of such platforms send it (004)."""
    headers = [("Authorization", f"{scheme}{zone.key}")]
    accepted(system.api.request("GET", f"/api/zones/{zone.zone_id}", headers=headers))
    for wrong in (f"Basic {zone.key}", f"{zone.key} ", f"Bearer{zone.key}", f"{zone.key},{zone.key}"):
        answer = system.api.request(
            "GET", f"/api/zones/{zone.zone_id}", headers=[("Authorization", wrong.strip() + "x")]
        )
        refused(answer, 401, "token_invalid")
