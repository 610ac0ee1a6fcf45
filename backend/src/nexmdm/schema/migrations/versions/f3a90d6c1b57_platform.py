"""The platform: zones with their files and events, keys of zones, row-level security.

Revision ID: f3a90d6c1b57
Revises: b6e41c07d925
"""

from alembic import op

revision = "f3a90d6c1b57"
down_revision = "b6e41c07d925"
branch_labels = None
depends_on = None

ZONED = ("files", "objects", "file_parts", "events")
REGISTRY = ("zones", "zone_finalizers")

UPGRADE = (
    """
    ALTER TABLE api_keys
        ADD COLUMN subject text CONSTRAINT ck_api_keys_subject CHECK (subject ~ '^[A-Za-z0-9._:-]{1,128}$'),
        DROP CONSTRAINT ck_api_keys_role,
        ADD CONSTRAINT ck_api_keys_role CHECK (role IN ('admin', 'track', 'member', 'agent')),
        ADD CONSTRAINT ck_api_keys_zone CHECK ((role IN ('member', 'agent')) = (zone IS NOT NULL)),
        ADD CONSTRAINT ck_api_keys_agent_has_subject CHECK ((role = 'agent') = (subject IS NOT NULL))
    """,
    # The service's role makes keys of zones and revokes keys. It makes no admin, and nobody makes a key good again.
    """
    CREATE FUNCTION nexmdm_guard_api_keys() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'UPDATE' THEN
            NEW.revoked_at := coalesce(OLD.revoked_at, NEW.revoked_at);
        ELSIF NEW.zone IS NULL AND NOT pg_has_role(
            (SELECT relowner FROM pg_class WHERE oid = TG_RELID), 'USAGE'
        ) THEN
            RAISE insufficient_privilege USING MESSAGE = 'only the owner makes keys that are good for every zone';
        END IF;
        RETURN NEW;
    END
    $$
    """,
    """
    CREATE TRIGGER guard BEFORE INSERT OR UPDATE ON api_keys FOR EACH ROW EXECUTE FUNCTION nexmdm_guard_api_keys()
    """,
    """
    CREATE TABLE zones (
        zone_id text CONSTRAINT pk_zones PRIMARY KEY
            CONSTRAINT ck_zones_zone_id CHECK (zone_id ~ '^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$'),
        uid uuid NOT NULL DEFAULT gen_random_uuid() CONSTRAINT uq_zones_uid UNIQUE,
        name text NOT NULL,
        domain text,
        description text,
        owner text,
        phase text NOT NULL DEFAULT 'Active' CONSTRAINT ck_zones_phase CHECK (phase IN ('Active', 'Terminating')),
        terminating_at timestamptz,
        max_storage_bytes bigint,
        max_files bigint,
        max_agents bigint,
        max_tasks_queued bigint,
        max_uploads_open bigint,
        used_bytes bigint NOT NULL DEFAULT 0,
        reserved_bytes bigint NOT NULL DEFAULT 0,
        files bigint NOT NULL DEFAULT 0,
        agents bigint NOT NULL DEFAULT 0,
        tasks_queued bigint NOT NULL DEFAULT 0,
        uploads_open bigint NOT NULL DEFAULT 0,
        event_seq bigint NOT NULL DEFAULT 0 CONSTRAINT ck_zones_event_seq CHECK (event_seq >= 0),
        event_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        CONSTRAINT ck_zones_root_stays CHECK (zone_id <> 'root' OR phase = 'Active'),
        CONSTRAINT ck_zones_terminating_has_time CHECK ((phase = 'Terminating') = (terminating_at IS NOT NULL)),
        CONSTRAINT ck_zones_limits CHECK (
            coalesce(max_storage_bytes, 0) >= 0 AND coalesce(max_files, 0) >= 0 AND coalesce(max_agents, 0) >= 0
            AND coalesce(max_tasks_queued, 0) >= 0 AND coalesce(max_uploads_open, 0) >= 0),
        CONSTRAINT ck_zones_usage CHECK (
            used_bytes >= 0 AND reserved_bytes >= 0 AND files >= 0 AND agents >= 0 AND tasks_queued >= 0
            AND uploads_open >= 0)
    )
    """,
    "CREATE INDEX ix_zones_created_at ON zones (created_at, zone_id)",
    "INSERT INTO zones (zone_id, name) VALUES ('root', 'root')",
    """
    CREATE TABLE zone_finalizers (
        zone_id text NOT NULL CONSTRAINT fk_zone_finalizers_zone_id REFERENCES zones ON DELETE CASCADE,
        position integer NOT NULL,
        name text NOT NULL,
        removed bigint NOT NULL DEFAULT 0 CONSTRAINT ck_zone_finalizers_removed CHECK (removed >= 0),
        finished_at timestamptz,
        CONSTRAINT pk_zone_finalizers PRIMARY KEY (zone_id, position)
    )
    """,
    """
    CREATE TABLE files (
        zone_id text NOT NULL CONSTRAINT fk_files_zone_id REFERENCES zones ON DELETE RESTRICT,
        path text COLLATE "C" NOT NULL
            CONSTRAINT ck_files_path CHECK (path ~ '^/.' AND octet_length(path) <= 1024),
        file_id uuid NOT NULL DEFAULT gen_random_uuid(),
        kind text NOT NULL CONSTRAINT ck_files_kind CHECK (kind IN ('file', 'directory')),
        size bigint NOT NULL DEFAULT 0,
        etag text,
        version integer NOT NULL DEFAULT 1,
        content bytea CONSTRAINT ck_files_content_is_small CHECK (octet_length(content) <= 65536),
        modified_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        CONSTRAINT pk_files PRIMARY KEY (zone_id, path),
        CONSTRAINT uq_files_file_id UNIQUE (zone_id, file_id),
        CONSTRAINT ck_files_file_has_etag CHECK ((kind = 'file') = (etag IS NOT NULL)),
        CONSTRAINT ck_files_directory_is_empty CHECK (kind = 'file' OR (size = 0 AND content IS NULL)),
        CONSTRAINT ck_files_size CHECK (size >= 0 AND version >= 1),
        CONSTRAINT ck_files_content CHECK (content IS NULL OR octet_length(content) = size)
    )
    """,
    """
    CREATE TABLE objects (
        zone_id text NOT NULL CONSTRAINT fk_objects_zone_id REFERENCES zones ON DELETE RESTRICT,
        object_id uuid NOT NULL,
        size bigint NOT NULL CONSTRAINT ck_objects_size CHECK (size > 0),
        sha256 text NOT NULL CONSTRAINT ck_objects_sha256 CHECK (sha256 ~ '^[0-9a-f]{64}$'),
        pinned_until timestamptz NOT NULL,
        CONSTRAINT pk_objects PRIMARY KEY (zone_id, object_id)
    )
    """,
    "CREATE INDEX ix_objects_pinned_until ON objects (pinned_until)",
    """
    CREATE TABLE file_parts (
        zone_id text NOT NULL,
        file_id uuid NOT NULL,
        number integer NOT NULL CONSTRAINT ck_file_parts_number CHECK (number >= 1),
        object_id uuid NOT NULL,
        CONSTRAINT pk_file_parts PRIMARY KEY (zone_id, file_id, number),
        CONSTRAINT uq_file_parts_object_id UNIQUE (zone_id, object_id),
        CONSTRAINT fk_file_parts_file_id FOREIGN KEY (zone_id, file_id) REFERENCES files (zone_id, file_id)
            ON DELETE CASCADE,
        CONSTRAINT fk_file_parts_object_id FOREIGN KEY (zone_id, object_id) REFERENCES objects (zone_id, object_id)
            ON DELETE RESTRICT
    )
    """,
    # With the owner's rights: a cascade has the rights of the one that deletes, and must reach every zone's objects.
    """
    CREATE FUNCTION nexmdm_take_object() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
        SET search_path = public AS $$
    BEGIN
        UPDATE objects SET pinned_until = 'infinity'
        WHERE zone_id = NEW.zone_id AND object_id = NEW.object_id AND pinned_until > clock_timestamp();
        IF NOT FOUND THEN
            RAISE EXCEPTION 'the object is not pinned' USING ERRCODE = 'foreign_key_violation';
        END IF;
        RETURN NEW;
    END
    $$
    """,
    """
    CREATE FUNCTION nexmdm_let_go_of_object() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
        SET search_path = public AS $$
    BEGIN
        UPDATE objects SET pinned_until = clock_timestamp()
        WHERE zone_id = OLD.zone_id AND object_id = OLD.object_id;
        RETURN OLD;
    END
    $$
    """,
    """
    CREATE TRIGGER take BEFORE INSERT ON file_parts FOR EACH ROW EXECUTE FUNCTION nexmdm_take_object()
    """,
    """
    CREATE TRIGGER let_go AFTER DELETE ON file_parts FOR EACH ROW EXECUTE FUNCTION nexmdm_let_go_of_object()
    """,
    # To fire a trigger needs no right to its function; two of these have the owner's rights.
    "REVOKE ALL ON FUNCTION nexmdm_guard_api_keys, nexmdm_take_object, nexmdm_let_go_of_object FROM PUBLIC",
    """
    CREATE TABLE events (
        zone_id text NOT NULL CONSTRAINT fk_events_zone_id REFERENCES zones ON DELETE RESTRICT,
        sequence_number bigint NOT NULL CONSTRAINT ck_events_sequence_number CHECK (sequence_number >= 1),
        event_id uuid NOT NULL DEFAULT gen_random_uuid() CONSTRAINT uq_events_event_id UNIQUE,
        type text NOT NULL CONSTRAINT ck_events_type CHECK (type IN (
            'write', 'delete', 'rename', 'mkdir', 'rmdir',
            'zone.created', 'zone.updated', 'zone.terminating', 'zone.deleted')),
        path text COLLATE "C" NOT NULL,
        new_path text COLLATE "C",
        agent_id text,
        occurred_at timestamptz NOT NULL,
        CONSTRAINT pk_events PRIMARY KEY (zone_id, sequence_number),
        CONSTRAINT ck_events_rename_has_new_path CHECK ((type = 'rename') = (new_path IS NOT NULL))
    )
    """,
    "CREATE INDEX ix_events_type ON events (zone_id, type, sequence_number)",
    "CREATE INDEX ix_events_path ON events (zone_id, path, sequence_number)",
    "CREATE INDEX ix_events_occurred_at ON events USING brin (occurred_at)",
    """
    CREATE TABLE bricks (
        name text CONSTRAINT pk_bricks PRIMARY KEY,
        mounted boolean NOT NULL DEFAULT true,
        changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )
    """,
    "INSERT INTO bricks (name) VALUES ('files'), ('events')",
    *(
        statement
        for table in ZONED
        for statement in (
            f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
            f"CREATE POLICY zone ON {table} USING (zone_id = current_setting('nexmdm.zone', true))",
        )
    ),
    # Every request finds its zone in the registry, and changes its own alone.
    *(
        statement
        for table in REGISTRY
        for statement in (
            f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
            f"CREATE POLICY registry ON {table} FOR SELECT USING (true)",
            f"CREATE POLICY zone ON {table} USING (zone_id = current_setting('nexmdm.zone', true))",
        )
    ),
)
DOWNGRADE = (
    "DROP TABLE bricks, events, file_parts, objects, files, zone_finalizers, zones",
    "DROP TRIGGER guard ON api_keys",
    "DROP FUNCTION nexmdm_take_object, nexmdm_let_go_of_object, nexmdm_guard_api_keys",
    # The version before knows no such key, and would refuse its role.
    "DELETE FROM api_keys WHERE role IN ('member', 'agent')",
    """
    ALTER TABLE api_keys
        DROP CONSTRAINT ck_api_keys_agent_has_subject, DROP CONSTRAINT ck_api_keys_zone,
        DROP CONSTRAINT ck_api_keys_role,
        ADD CONSTRAINT ck_api_keys_role CHECK (role IN ('admin', 'track')),
        DROP COLUMN subject
    """,
)


def upgrade() -> None:
    for statement in UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    for statement in DOWNGRADE:
        op.execute(statement)
