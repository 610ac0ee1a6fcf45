"""A live FCM token is one device's at most, and never a retired one's.

Of devices that share one the row that changed last keeps it; the others' are marked dead.

Revision ID: d47a90c15e63
Revises: 3f6c2a9be071
"""

from alembic import op

revision = "d47a90c15e63"
down_revision = "3f6c2a9be071"
branch_labels = None
depends_on = None

UPGRADE = (
    "LOCK TABLE devices IN SHARE ROW EXCLUSIVE MODE",  # nobody makes another pair before the index is there
    """
    UPDATE devices SET fcm_token = NULL, fcm_token_dead_at = NULL
    WHERE retired_at IS NOT NULL AND fcm_token IS NOT NULL
    """,
    """
    UPDATE devices AS d SET fcm_token_dead_at = now()
    FROM (
        SELECT device_id, row_number() OVER (PARTITION BY fcm_token ORDER BY updated_at DESC, device_id DESC) AS place
        FROM devices WHERE fcm_token IS NOT NULL AND fcm_token_dead_at IS NULL
    ) AS sharer
    WHERE d.device_id = sharer.device_id AND sharer.place > 1
    """,
    "CREATE UNIQUE INDEX uq_devices_live_fcm_token ON devices (fcm_token) WHERE fcm_token_dead_at IS NULL",
)


def upgrade() -> None:
    for statement in UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP INDEX uq_devices_live_fcm_token")
