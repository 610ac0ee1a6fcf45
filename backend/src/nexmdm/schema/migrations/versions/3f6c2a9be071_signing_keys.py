"""The key of device tokens' tickets, drawn here: random, of this database alone, and backed up with the hashes.

Revision ID: 3f6c2a9be071
Revises: 5b1f0c7de2a4
"""

from alembic import op

revision = "3f6c2a9be071"
down_revision = "5b1f0c7de2a4"
branch_labels = None
depends_on = None

UPGRADE = (
    """
    CREATE TABLE signing_keys (
        name text CONSTRAINT pk_signing_keys PRIMARY KEY,
        key bytea NOT NULL CONSTRAINT ck_signing_keys_key CHECK (octet_length(key) >= 32)
    )
    """,
    # A version 4 UUID has 122 bits of PostgreSQL's strong random numbers; gen_random_bytes is in no core.
    """
    INSERT INTO signing_keys (name, key)
    SELECT 'device_token', sha256(convert_to(string_agg(gen_random_uuid()::text, ''), 'UTF8'))
    FROM generate_series(1, 4)
    """,
)


def upgrade() -> None:
    for statement in UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE signing_keys")
