"""The control loop: commands, dispatches as an outbox with every step kept, device status, shared limits and jobs.

Dispatches of before become commands of their own that were sent or have failed; none is sent again.

Revision ID: e90b5d3c1f48
Revises: c2d81f6a90b7
"""

from alembic import op

revision = "e90b5d3c1f48"
down_revision = "c2d81f6a90b7"
branch_labels = None
depends_on = None

UPGRADE = (
    """
    ALTER TABLE devices
        ADD COLUMN token_version integer NOT NULL DEFAULT 1
            CONSTRAINT ck_devices_token_version CHECK (token_version > 0),
        ADD COLUMN fcm_token_dead_at timestamptz,
        ADD COLUMN retired_at timestamptz,
        ADD CONSTRAINT ck_devices_fcm_token_dead_at CHECK (fcm_token_dead_at IS NULL OR fcm_token IS NOT NULL),
        ADD CONSTRAINT ck_devices_retired_at CHECK (retired_at >= registered_at)
    """,
    "CREATE INDEX ix_devices_registered_at ON devices (registered_at, device_id)",
    """
    CREATE TABLE device_status (
        device_id uuid CONSTRAINT pk_device_status PRIMARY KEY
            CONSTRAINT fk_device_status_device_id REFERENCES devices (device_id),
        last_seen timestamptz NOT NULL,
        last_status text NOT NULL CONSTRAINT ck_device_status_last_status CHECK (last_status IN ('ok', 'warn', 'error'))
    ) WITH (fillfactor = 50)
    """,
    """
    INSERT INTO device_status (device_id, last_seen, last_status)
    SELECT DISTINCT ON (device_id) device_id, ts, status FROM device_heartbeats ORDER BY device_id, ts DESC
    """,
    "CREATE INDEX ix_enrollment_tokens_created_at ON enrollment_tokens (created_at, token_id)",
    "CREATE INDEX ix_apk_versions_sha256 ON apk_versions (sha256)",
    """
    CREATE TABLE commands (
        request_id text CONSTRAINT pk_commands PRIMARY KEY,
        action text NOT NULL CONSTRAINT ck_commands_action CHECK (action IN ('ping', 'launch_app')),
        params jsonb NOT NULL DEFAULT '{}' CONSTRAINT ck_commands_params CHECK (jsonb_typeof(params) = 'object'),
        content_hash text NOT NULL CONSTRAINT ck_commands_content_hash CHECK (content_hash ~ '^[0-9a-f]{64}$'),
        http_request_id text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        expires_at timestamptz NOT NULL,
        CONSTRAINT ck_commands_expires_at CHECK (expires_at > created_at)
    )
    """,
    "CREATE INDEX ix_commands_created_at ON commands (created_at)",
    """
    INSERT INTO commands (request_id, action, content_hash, http_request_id, created_at, expires_at)
    SELECT request_id, action, payload_hash, request_id,
        coalesce(sent_at, now()), coalesce(sent_at, now()) + interval '1 hour'
    FROM fcm_dispatches
    """,
    """
    ALTER TABLE fcm_dispatches
        ADD COLUMN command_request_id text
            CONSTRAINT fk_fcm_dispatches_command_request_id REFERENCES commands (request_id),
        ADD COLUMN ordinal integer,
        ADD COLUMN status text NOT NULL DEFAULT 'queued' CONSTRAINT ck_fcm_dispatches_status
            CHECK (status IN ('queued', 'sending', 'sent', 'failed', 'completed', 'expired')),
        ADD COLUMN created_at timestamptz NOT NULL DEFAULT now(),
        ADD COLUMN next_attempt_at timestamptz NOT NULL DEFAULT now(),
        ADD COLUMN lease_until timestamptz,
        ADD COLUMN attempts integer NOT NULL DEFAULT 0,
        ADD COLUMN completed_at timestamptz,
        ADD COLUMN expires_at timestamptz,
        ADD COLUMN outcome text CONSTRAINT ck_fcm_dispatches_outcome CHECK (outcome IN ('ok', 'error')),
        ADD COLUMN finished_at timestamptz,
        ADD COLUMN result_message text,
        ADD COLUMN result_data jsonb
            CONSTRAINT ck_fcm_dispatches_result_data CHECK (jsonb_typeof(result_data) = 'object')
    """,
    """
    UPDATE fcm_dispatches AS dispatch SET
        command_request_id = command.request_id,
        ordinal = 0,
        status = CASE WHEN fcm_message_id IS NULL THEN 'failed' ELSE 'sent' END,
        sent_at = CASE WHEN fcm_message_id IS NULL THEN NULL ELSE command.created_at END,
        created_at = command.created_at,
        next_attempt_at = command.created_at,
        expires_at = command.expires_at
    FROM commands AS command WHERE command.request_id = dispatch.request_id
    """,
    """
    ALTER TABLE fcm_dispatches
        ALTER COLUMN command_request_id SET NOT NULL,
        ALTER COLUMN ordinal SET NOT NULL,
        ALTER COLUMN expires_at SET NOT NULL,
        ADD CONSTRAINT uq_fcm_dispatches_command_device UNIQUE (command_request_id, device_id),
        ADD CONSTRAINT uq_fcm_dispatches_command_ordinal UNIQUE (command_request_id, ordinal),
        ADD CONSTRAINT ck_fcm_dispatches_counts
            CHECK (ordinal >= 0 AND attempts >= 0 AND retries >= 0 AND latency_ms >= 0),
        ADD CONSTRAINT ck_fcm_dispatches_expires_at CHECK (expires_at > created_at),
        ADD CONSTRAINT ck_fcm_dispatches_lease_while_sending CHECK ((status = 'sending') = (lease_until IS NOT NULL)),
        ADD CONSTRAINT ck_fcm_dispatches_sent_has_time CHECK (status <> 'sent' OR sent_at IS NOT NULL),
        ADD CONSTRAINT ck_fcm_dispatches_unsent_has_no_time
            CHECK (status NOT IN ('queued', 'sending', 'failed') OR sent_at IS NULL),
        ADD CONSTRAINT ck_fcm_dispatches_completed_has_time CHECK ((status = 'completed') = (completed_at IS NOT NULL)),
        ADD CONSTRAINT ck_fcm_dispatches_completed_has_outcome CHECK ((status = 'completed') = (outcome IS NOT NULL)),
        ADD CONSTRAINT ck_fcm_dispatches_result
            CHECK (outcome IS NOT NULL OR num_nonnulls(finished_at, result_message, result_data) = 0)
    """,
    "CREATE INDEX ix_fcm_dispatches_created_at ON fcm_dispatches (created_at, request_id)",
    "CREATE INDEX ix_fcm_dispatches_device_id ON fcm_dispatches (device_id, created_at)",
    "CREATE INDEX ix_fcm_dispatches_due ON fcm_dispatches (next_attempt_at) WHERE status = 'queued'",
    """
    CREATE INDEX ix_fcm_dispatches_open ON fcm_dispatches (expires_at)
        WHERE status IN ('queued', 'sending', 'sent')
    """,
    "CREATE INDEX ix_fcm_dispatches_leased ON fcm_dispatches (lease_until) WHERE status = 'sending'",
    """
    CREATE TABLE dispatch_transitions (
        id bigint GENERATED BY DEFAULT AS IDENTITY CONSTRAINT pk_dispatch_transitions PRIMARY KEY,
        request_id text NOT NULL CONSTRAINT fk_dispatch_transitions_request_id
            REFERENCES fcm_dispatches (request_id) ON DELETE CASCADE,
        status text NOT NULL CONSTRAINT ck_dispatch_transitions_status
            CHECK (status IN ('queued', 'sending', 'sent', 'failed', 'completed', 'expired')),
        at timestamptz NOT NULL DEFAULT now(),
        http_code integer CONSTRAINT ck_dispatch_transitions_http_code CHECK (http_code BETWEEN 100 AND 599),
        fcm_status text,
        latency_ms double precision CONSTRAINT ck_dispatch_transitions_latency_ms CHECK (latency_ms >= 0),
        error_msg text
    )
    """,
    "CREATE INDEX ix_dispatch_transitions_request_id ON dispatch_transitions (request_id, id)",
    """
    CREATE UNLOGGED TABLE rate_limits (
        rule text NOT NULL,
        subject text NOT NULL,
        window_start timestamptz NOT NULL,
        hits integer NOT NULL DEFAULT 0,
        prior_hits integer NOT NULL DEFAULT 0,
        CONSTRAINT pk_rate_limits PRIMARY KEY (rule, subject),
        CONSTRAINT ck_rate_limits_hits CHECK (hits >= 0 AND prior_hits >= 0)
    )
    """,
    """
    CREATE TABLE scheduled_jobs (
        name text CONSTRAINT pk_scheduled_jobs PRIMARY KEY,
        last_run_at timestamptz
    )
    """,
)

DOWNGRADE = (
    "DROP TABLE scheduled_jobs",
    "DROP TABLE rate_limits",
    "DROP TABLE dispatch_transitions",
    # Dropping a column drops the constraints and indexes that name it.
    """
    ALTER TABLE fcm_dispatches
        DROP CONSTRAINT ck_fcm_dispatches_counts,
        DROP CONSTRAINT ck_fcm_dispatches_sent_has_time,
        DROP CONSTRAINT ck_fcm_dispatches_unsent_has_no_time,
        DROP COLUMN result_data,
        DROP COLUMN result_message,
        DROP COLUMN finished_at,
        DROP COLUMN outcome,
        DROP COLUMN expires_at,
        DROP COLUMN completed_at,
        DROP COLUMN attempts,
        DROP COLUMN lease_until,
        DROP COLUMN next_attempt_at,
        DROP COLUMN created_at,
        DROP COLUMN status,
        DROP COLUMN ordinal,
        DROP COLUMN command_request_id
    """,
    "DROP TABLE commands",
    "DROP INDEX ix_apk_versions_sha256",
    "DROP INDEX ix_enrollment_tokens_created_at",
    "DROP TABLE device_status",
    "DROP INDEX ix_devices_registered_at",
    """
    ALTER TABLE devices
        DROP CONSTRAINT ck_devices_retired_at,
        DROP CONSTRAINT ck_devices_fcm_token_dead_at,
        DROP COLUMN retired_at,
        DROP COLUMN fcm_token_dead_at,
        DROP COLUMN token_version
    """,
)


def upgrade() -> None:
    for statement in UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    for statement in DOWNGRADE:
        op.execute(statement)
