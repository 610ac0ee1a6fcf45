"""Agents of zones, with their capabilities.

Revision ID: 5a1d0c9e7b34
Revises: 0c7e4b8a9d12
"""

from alembic import op

revision = "5a1d0c9e7b34"
down_revision = "0c7e4b8a9d12"
branch_labels = None
depends_on = None

TYPES = (
    "'write', 'delete', 'rename', 'mkdir', 'rmdir', 'zone.created', 'zone.updated', 'zone.terminating', 'zone.deleted',"
    " 'upload.created', 'upload.terminated'"
)
AGENTS = "'agent.registered', 'agent.updated', 'agent.deleted', 'agent.transition', 'agent.spec'"

UPGRADE = (
    """
    CREATE TABLE agents (
        zone_id text NOT NULL CONSTRAINT fk_agents_zone_id REFERENCES zones ON DELETE RESTRICT,
        agent_id text NOT NULL CONSTRAINT ck_agents_agent_id CHECK (agent_id ~ '^[A-Za-z0-9._:-]{1,128}$'),
        uid uuid NOT NULL DEFAULT gen_random_uuid(),
        user_id text NOT NULL,
        name text NOT NULL,
        description text,
        metadata jsonb NOT NULL DEFAULT '{}',
        key_name text CONSTRAINT fk_agents_key_name REFERENCES api_keys,
        created_at timestamptz NOT NULL DEFAULT statement_timestamp(),
        updated_at timestamptz NOT NULL DEFAULT statement_timestamp(),
        state text NOT NULL DEFAULT 'UNKNOWN'
            CONSTRAINT ck_agents_state CHECK (state IN ('UNKNOWN', 'CONNECTED', 'IDLE', 'SUSPENDED')),
        generation bigint NOT NULL DEFAULT 0,
        connected_at timestamptz,
        last_heartbeat timestamptz,
        ready_since timestamptz NOT NULL DEFAULT statement_timestamp(),
        spec_generation bigint NOT NULL DEFAULT 0,
        observed_generation bigint NOT NULL DEFAULT 0,
        agent_type text,
        resource_requests jsonb NOT NULL DEFAULT '{}',
        resource_limits jsonb NOT NULL DEFAULT '{}',
        qos_class text CONSTRAINT ck_agents_qos_class CHECK (qos_class IN ('premium', 'standard', 'spot')),
        zone_affinity text,
        tokens_used bigint NOT NULL DEFAULT 0,
        storage_used_mb bigint NOT NULL DEFAULT 0,
        context_usage_pct double precision NOT NULL DEFAULT 0
            CONSTRAINT ck_agents_context_usage_pct CHECK (context_usage_pct BETWEEN 0 AND 100),
        warmup uuid,
        warmup_until timestamptz,
        CONSTRAINT pk_agents PRIMARY KEY (zone_id, agent_id),
        CONSTRAINT uq_agents_created_at UNIQUE (zone_id, created_at, uid),
        CONSTRAINT ck_agents_generation CHECK (generation >= 0 AND (generation = 0) = (state = 'UNKNOWN')),
        CONSTRAINT ck_agents_connected_has_time CHECK ((connected_at IS NULL) = (state = 'UNKNOWN')),
        CONSTRAINT ck_agents_observed_generation CHECK (observed_generation BETWEEN 0 AND spec_generation),
        CONSTRAINT ck_agents_spec_has_type CHECK ((spec_generation > 0) = (agent_type IS NOT NULL)),
        CONSTRAINT ck_agents_spec_has_class CHECK ((spec_generation > 0) = (qos_class IS NOT NULL)),
        CONSTRAINT ck_agents_usage CHECK (tokens_used >= 0 AND storage_used_mb >= 0),
        CONSTRAINT ck_agents_warmup_ends CHECK ((warmup IS NULL) = (warmup_until IS NULL))
    )
    """,
    """
    CREATE TABLE agent_capabilities (
        zone_id text NOT NULL,
        capability text COLLATE "C" NOT NULL,
        agent_id text NOT NULL,
        CONSTRAINT pk_agent_capabilities PRIMARY KEY (zone_id, capability, agent_id),
        CONSTRAINT fk_agent_capabilities_agent_id FOREIGN KEY (zone_id, agent_id)
            REFERENCES agents (zone_id, agent_id) ON DELETE CASCADE
    )
    """,
    "CREATE INDEX ix_agent_capabilities_agent_id ON agent_capabilities (zone_id, agent_id, capability)",
    f"""
    ALTER TABLE events DROP CONSTRAINT ck_events_type,
        ADD CONSTRAINT ck_events_type CHECK (type IN ({TYPES}, {AGENTS}))
    """,
    *(
        statement
        for table in ("agents", "agent_capabilities")
        for statement in (
            f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
            f"CREATE POLICY zone ON {table} USING (zone_id = current_setting('nexmdm.zone', true))",
        )
    ),
    "INSERT INTO bricks (name) VALUES ('agents')",
)
DOWNGRADE = (
    "DELETE FROM bricks WHERE name = 'agents'",
    "DROP TABLE agent_capabilities, agents",
    # The version before could not read them.
    f"DELETE FROM events WHERE type IN ({AGENTS})",  # noqa: S608 - words of our own
    f"ALTER TABLE events DROP CONSTRAINT ck_events_type, ADD CONSTRAINT ck_events_type CHECK (type IN ({TYPES}))",
)


def upgrade() -> None:
    for statement in UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    for statement in DOWNGRADE:
        op.execute(statement)
