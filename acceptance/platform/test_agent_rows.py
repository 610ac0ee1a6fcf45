"""The rows of agents: what the database itself refuses, whoever asks."""

from acceptance.platform.agents import registered, specified
from acceptance.platform.test_zone_rows import NAMES, refused_by
from acceptance.platform.zones import Platform
from acceptance.suite.case import case
from acceptance.system.roles import as_owner
from acceptance.system.system import System
from harness.platform.zone import Zone

TABLES = ["agents", "agent_capabilities"]
ONE = "where zone_id = %(zone)s and agent_id = 'a'"
REFUSED = {
    "pk_agents": "insert into agents (zone_id, agent_id, user_id, name) values (%(zone)s, 'a', 'u', 'n')",
    "fk_agents_zone_id": "delete from events where zone_id = %(zone)s; delete from zones where zone_id = %(zone)s",
    "fk_agents_key_name": f"update agents set key_name = 'nobody-s' {ONE}",
    "uq_agents_created_at": "update agents set uid = gen_random_uuid(), created_at = now() where zone_id = %(zone)s;"
    " update agents set uid = (select uid from agents where zone_id = %(zone)s limit 1) where zone_id = %(zone)s",
    "ck_agents_agent_id": "insert into agents (zone_id, agent_id, user_id, name) values (%(zone)s, 'a b', 'u', 'n')",
    "ck_agents_state": f"update agents set state = 'DEAD', generation = 1, connected_at = now() {ONE}",
    "ck_agents_generation": f"update agents set generation = 1 {ONE}",
    "ck_agents_connected_has_time": f"update agents set connected_at = now() {ONE}",
    "ck_agents_observed_generation": f"update agents set observed_generation = 2 {ONE}",
    "ck_agents_spec_has_type": f"update agents set agent_type = null {ONE}",
    "ck_agents_spec_has_class": f"update agents set qos_class = null {ONE}",
    "ck_agents_qos_class": f"update agents set qos_class = 'gold' {ONE}",
    "ck_agents_usage": f"update agents set tokens_used = -1 {ONE}",
    "ck_agents_context_usage_pct": f"update agents set context_usage_pct = 101 {ONE}",
    "ck_agents_warmup_ends": f"update agents set warmup = gen_random_uuid() {ONE}",
    "pk_agent_capabilities": "insert into agent_capabilities select * from agent_capabilities where zone_id = %(zone)s",
    "fk_agent_capabilities_agent_id": "update agent_capabilities set agent_id = 'nobody-s' where zone_id = %(zone)s",
}


@case("agent-rows/001")
def test_the_database_refuses_what_no_agent_is(system: System, platform: Platform, zone: Zone) -> None:
    """Each constraint of the tables of agents refuses a change that breaks it, to every role (platform.md)."""
    for agent_id in ("a", "b"):
        registered(zone, agent_id)
    specified(zone, "a", capabilities=["python"])
    with as_owner(system) as owner, platform.unchanged():
        for name, statements in REFUSED.items():
            assert refused_by(owner, statements.split(";"), zone.zone_id) == name
        there = owner.execute(NAMES, [TABLES]).fetchall()
    assert {name for (name,) in there} == REFUSED.keys()
