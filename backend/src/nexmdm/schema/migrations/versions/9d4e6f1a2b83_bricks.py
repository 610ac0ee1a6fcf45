"""What the parts of the platform need of each other, and what a part's loop failed of.

Revision ID: 9d4e6f1a2b83
Revises: 6b2e1dafbc45
"""

from alembic import op

revision = "9d4e6f1a2b83"
down_revision = "6b2e1dafbc45"
branch_labels = None
depends_on = None

TYPES = (
    "'write', 'delete', 'rename', 'mkdir', 'rmdir', 'zone.created', 'zone.updated', 'zone.terminating', 'zone.deleted',"
    " 'upload.created', 'upload.terminated',"
    " 'agent.registered', 'agent.updated', 'agent.deleted', 'agent.transition', 'agent.spec',"
    " 'task.submitted', 'task.claimed', 'task.completed', 'task.failed', 'task.retried', 'task.cancelled'"
)
BRICKS = "'brick.mounted', 'brick.unmounted'"

UPGRADE = (
    """
    ALTER TABLE bricks ADD COLUMN error text,
        ADD CONSTRAINT ck_bricks_failed_is_mounted CHECK (error IS NULL OR mounted)
    """,
    "CREATE UNIQUE INDEX uq_bricks_mounted ON bricks (name, mounted)",
    # Follows the part, and demands what it needs for as long as the part is mounted.
    """
    CREATE TABLE brick_needs (
        brick text NOT NULL,
        needs text NOT NULL,
        brick_mounted boolean NOT NULL DEFAULT true,
        needs_mounted boolean GENERATED ALWAYS AS (CASE WHEN brick_mounted THEN true END) STORED,
        CONSTRAINT pk_brick_needs PRIMARY KEY (brick, needs),
        CONSTRAINT fk_brick_needs_brick FOREIGN KEY (brick, brick_mounted) REFERENCES bricks (name, mounted)
            ON UPDATE CASCADE ON DELETE CASCADE,
        CONSTRAINT fk_brick_needs_needs FOREIGN KEY (needs, needs_mounted) REFERENCES bricks (name, mounted)
    )
    """,
    """
    INSERT INTO brick_needs (brick, needs, brick_mounted)
    SELECT name, 'files', mounted FROM bricks WHERE name = 'uploads'
    """,
    f"""
    ALTER TABLE events DROP CONSTRAINT ck_events_type,
        ADD CONSTRAINT ck_events_type CHECK (type IN ({TYPES}, {BRICKS}))
    """,
)
DOWNGRADE = (
    "DROP TABLE brick_needs",
    "DROP INDEX uq_bricks_mounted",
    "ALTER TABLE bricks DROP COLUMN error",
    # The version before could not read them.
    f"DELETE FROM events WHERE type IN ({BRICKS})",  # noqa: S608 - words of our own
    f"ALTER TABLE events DROP CONSTRAINT ck_events_type, ADD CONSTRAINT ck_events_type CHECK (type IN ({TYPES}))",
)


def upgrade() -> None:
    for statement in UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    for statement in DOWNGRADE:
        op.execute(statement)
