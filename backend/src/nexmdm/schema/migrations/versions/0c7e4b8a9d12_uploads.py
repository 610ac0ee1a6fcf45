"""Resumable uploads into zones.

Revision ID: 0c7e4b8a9d12
Revises: f3a90d6c1b57
"""

from alembic import op

revision = "0c7e4b8a9d12"
down_revision = "f3a90d6c1b57"
branch_labels = None
depends_on = None

TYPES = (
    "'write', 'delete', 'rename', 'mkdir', 'rmdir', 'zone.created', 'zone.updated', 'zone.terminating', 'zone.deleted'"
)
UPLOADS = "'upload.created', 'upload.terminated'"
LET_GO = """
    CREATE OR REPLACE FUNCTION nexmdm_let_go_of_object() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
        SET search_path = public AS $$
    BEGIN
        UPDATE objects AS o SET pinned_until = clock_timestamp()
        WHERE o.zone_id = OLD.zone_id AND o.object_id = OLD.object_id{unless};
        RETURN OLD;
    END
    $$
"""
IN_A_FILE = """
            AND NOT EXISTS (SELECT FROM file_parts AS p WHERE p.zone_id = o.zone_id AND p.object_id = o.object_id)"""

UPGRADE = (
    """
    CREATE TABLE uploads (
        zone_id text NOT NULL CONSTRAINT fk_uploads_zone_id REFERENCES zones ON DELETE RESTRICT,
        upload_id uuid NOT NULL,
        path text COLLATE "C" NOT NULL
            CONSTRAINT ck_uploads_path CHECK (path ~ '^/.' AND octet_length(path) <= 1024),
        length bigint,
        upload_offset bigint NOT NULL DEFAULT 0,
        reserved bigint NOT NULL,
        metadata text NOT NULL,
        holder uuid,
        agent_id text,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        expires_at timestamptz NOT NULL,
        finished_at timestamptz,
        CONSTRAINT pk_uploads PRIMARY KEY (zone_id, upload_id),
        CONSTRAINT ck_uploads_upload_offset
            CHECK (upload_offset >= 0 AND upload_offset <= coalesce(length, upload_offset)),
        CONSTRAINT ck_uploads_length CHECK (length >= 0 AND reserved >= 0),
        CONSTRAINT ck_uploads_finished_is_whole
            CHECK (finished_at IS NULL OR (upload_offset = length AND reserved = 0))
    )
    """,
    "CREATE INDEX ix_uploads_expires_at ON uploads (expires_at)",
    """
    CREATE TABLE upload_parts (
        zone_id text NOT NULL,
        upload_id uuid NOT NULL,
        number integer NOT NULL CONSTRAINT ck_upload_parts_number CHECK (number >= 1),
        object_id uuid NOT NULL,
        CONSTRAINT pk_upload_parts PRIMARY KEY (zone_id, upload_id, number),
        CONSTRAINT uq_upload_parts_object_id UNIQUE (zone_id, object_id),
        CONSTRAINT fk_upload_parts_upload_id FOREIGN KEY (zone_id, upload_id) REFERENCES uploads (zone_id, upload_id)
            ON DELETE CASCADE,
        CONSTRAINT fk_upload_parts_object_id FOREIGN KEY (zone_id, object_id) REFERENCES objects (zone_id, object_id)
            ON DELETE RESTRICT
    )
    """,
    # A finished upload hands its objects over: the file has them before the upload lets go.
    LET_GO.format(unless=IN_A_FILE),
    "CREATE TRIGGER take BEFORE INSERT ON upload_parts FOR EACH ROW EXECUTE FUNCTION nexmdm_take_object()",
    "CREATE TRIGGER let_go AFTER DELETE ON upload_parts FOR EACH ROW EXECUTE FUNCTION nexmdm_let_go_of_object()",
    f"""
    ALTER TABLE events DROP CONSTRAINT ck_events_type,
        ADD CONSTRAINT ck_events_type CHECK (type IN ({TYPES}, {UPLOADS}))
    """,
    *(
        statement
        for table in ("uploads", "upload_parts")
        for statement in (
            f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
            f"CREATE POLICY zone ON {table} USING (zone_id = current_setting('nexmdm.zone', true))",
        )
    ),
    "INSERT INTO bricks (name) VALUES ('uploads')",
)
DOWNGRADE = (
    "DELETE FROM bricks WHERE name = 'uploads'",
    "DROP TABLE upload_parts, uploads",
    LET_GO.format(unless=""),
    # The version before could not read them.
    f"DELETE FROM events WHERE type IN ({UPLOADS})",  # noqa: S608 - words of our own
    f"ALTER TABLE events DROP CONSTRAINT ck_events_type, ADD CONSTRAINT ck_events_type CHECK (type IN ({TYPES}))",
)


def upgrade() -> None:
    for statement in UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    for statement in DOWNGRADE:
        op.execute(statement)
