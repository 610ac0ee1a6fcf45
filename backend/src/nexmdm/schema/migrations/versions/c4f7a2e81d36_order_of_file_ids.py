"""The index of file ids begins with the id: beginning with the zone, the planner took it for that of a zone's paths.

Revision ID: c4f7a2e81d36
Revises: 9d4e6f1a2b83
"""

from alembic import op

revision = "c4f7a2e81d36"
down_revision = "9d4e6f1a2b83"
branch_labels = None
depends_on = None


def _ordered(columns: str) -> tuple[str, ...]:
    return (
        "ALTER TABLE file_parts DROP CONSTRAINT fk_file_parts_file_id",
        f"ALTER TABLE files DROP CONSTRAINT uq_files_file_id, ADD CONSTRAINT uq_files_file_id UNIQUE ({columns})",
        """
        ALTER TABLE file_parts ADD CONSTRAINT fk_file_parts_file_id FOREIGN KEY (zone_id, file_id)
            REFERENCES files (zone_id, file_id) ON DELETE CASCADE
        """,
    )


UPGRADE = _ordered("file_id, zone_id")
DOWNGRADE = _ordered("zone_id, file_id")


def upgrade() -> None:
    for statement in UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    for statement in DOWNGRADE:
        op.execute(statement)
