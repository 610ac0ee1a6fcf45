"""${message}.

Revision ID: ${up_revision}
Revises: ${down_revision | comma,n}
"""

from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None

# One statement each: asyncpg prepares what it executes, and PostgreSQL prepares single statements only.
UPGRADE = (${"" if not upgrades else "".join(chr(10) + "    # " + line for line in upgrades.splitlines())}
)

DOWNGRADE = (${"" if not downgrades else "".join(chr(10) + "    # " + line for line in downgrades.splitlines())}
)


def upgrade() -> None:
    for statement in UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    for statement in DOWNGRADE:
        op.execute(statement)
