"""API keys: named, revocable credentials beside the one admin key of the environment.

Revision ID: 81d5e2b7a3c6
Revises: d47a90c15e63
"""

from alembic import op

revision = "81d5e2b7a3c6"
down_revision = "d47a90c15e63"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE api_keys (
            name text CONSTRAINT pk_api_keys PRIMARY KEY
                CONSTRAINT ck_api_keys_name CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
            role text NOT NULL CONSTRAINT ck_api_keys_role CHECK (role IN ('admin')),
            services text[] CONSTRAINT ck_api_keys_services
                CHECK (cardinality(services) > 0 AND array_position(services, NULL) IS NULL),
            zone text,
            key_hash text NOT NULL CONSTRAINT uq_api_keys_key_hash UNIQUE
                CONSTRAINT ck_api_keys_key_hash CHECK (key_hash ~ '^[0-9a-f]{64}$'),
            created_at timestamptz NOT NULL DEFAULT now(),
            last_used_at timestamptz,
            revoked_at timestamptz
        )
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE api_keys")
