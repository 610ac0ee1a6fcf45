"""Add scope and CI metadata: the columns, indexes and constraints that seed 002 names for tokens and builds.

Revision ID: a43a2b52588a
Revises: 7ac6ecbe4e31
"""

from alembic import op

revision = "a43a2b52588a"
down_revision = "7ac6ecbe4e31"
branch_labels = None
depends_on = None

UPGRADE = (
    """
    ALTER TABLE enrollment_tokens
        ADD COLUMN scope text NOT NULL DEFAULT 'register'
            CONSTRAINT ck_enrollment_tokens_scope CHECK (scope IN ('register', 'apk_download')),
        ADD COLUMN last_used_at timestamptz,
        ADD CONSTRAINT uq_enrollment_token_hash UNIQUE (token_hash)
    """,
    "CREATE INDEX idx_enrollment_issued_by ON enrollment_tokens (issued_by)",
    "CREATE INDEX ix_enrollment_tokens_alias ON enrollment_tokens (alias)",
    """
    ALTER TABLE apk_versions
        ADD COLUMN package_name text NOT NULL DEFAULT 'com.example.app',
        ADD COLUMN build_type text NOT NULL DEFAULT 'release'
            CONSTRAINT ck_apk_versions_build_type CHECK (build_type IN ('debug', 'release')),
        ADD COLUMN notes text,
        ADD COLUMN ci_run_id text,
        ADD COLUMN git_sha text,
        ADD COLUMN signer_fingerprint text,
        ADD COLUMN storage_url text
    """,
    # Relative to the configured storage, where a build lies under its SHA-256.
    "UPDATE apk_versions SET storage_url = sha256 || '.apk'",
    """
    ALTER TABLE apk_versions
        ALTER COLUMN storage_url SET NOT NULL,
        ADD CONSTRAINT uq_apk_versions_build UNIQUE (package_name, version_code, build_type)
    """,
    "CREATE INDEX idx_apk_build_type ON apk_versions (build_type)",
    "CREATE INDEX idx_apk_version_lookup ON apk_versions (package_name, build_type, version_code)",
)

DOWNGRADE = (
    "DROP INDEX idx_apk_version_lookup",
    "DROP INDEX idx_apk_build_type",
    """
    ALTER TABLE apk_versions
        DROP CONSTRAINT uq_apk_versions_build,
        DROP COLUMN storage_url,
        DROP COLUMN signer_fingerprint,
        DROP COLUMN git_sha,
        DROP COLUMN ci_run_id,
        DROP COLUMN notes,
        DROP COLUMN build_type,
        DROP COLUMN package_name
    """,
    "DROP INDEX ix_enrollment_tokens_alias",
    "DROP INDEX idx_enrollment_issued_by",
    """
    ALTER TABLE enrollment_tokens
        DROP CONSTRAINT uq_enrollment_token_hash,
        DROP COLUMN last_used_at,
        DROP COLUMN scope
    """,
)


def upgrade() -> None:
    for statement in UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    for statement in DOWNGRADE:
        op.execute(statement)
