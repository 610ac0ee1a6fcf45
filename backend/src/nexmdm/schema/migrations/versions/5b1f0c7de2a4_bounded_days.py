"""The days of heartbeats for who does not own them: the functions of these names run as the owner, within bounds.

So the service needs no right to create or to drop anything. What they did before is done by the same functions under
longer names, which nobody but the owner may call.

Revision ID: 5b1f0c7de2a4
Revises: e90b5d3c1f48
"""

from alembic import op

revision = "5b1f0c7de2a4"
down_revision = "e90b5d3c1f48"
branch_labels = None
depends_on = None

UPGRADE = (
    """
    ALTER FUNCTION nexmdm_ensure_heartbeat_partitions(date, date)
    RENAME TO nexmdm_ensure_heartbeat_partitions_unbounded
    """,
    "ALTER FUNCTION nexmdm_drop_heartbeat_partitions(date) RENAME TO nexmdm_drop_heartbeat_partitions_unbounded",
    "REVOKE ALL ON FUNCTION nexmdm_ensure_heartbeat_partitions_unbounded(date, date) FROM PUBLIC",
    "REVOKE ALL ON FUNCTION nexmdm_drop_heartbeat_partitions_unbounded(date) FROM PUBLIC",
    # pg_temp comes last: first, as it is where it is not named, it would let a caller's temporary table stand for ours.
    # In such a function current_user is the owner. Who has his rights could do it by hand, so nothing bounds him.
    """
    CREATE FUNCTION nexmdm_ensure_heartbeat_partitions(from_day date, to_day date) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    DECLARE
        today date := (now() AT TIME ZONE 'UTC')::date;
    BEGIN
        IF (from_day < today - 7 OR to_day > today + 7) AND NOT pg_has_role(session_user, current_user, 'MEMBER') THEN
            RAISE invalid_parameter_value USING MESSAGE = 'days of heartbeats are made up to a week from today';
        END IF;
        RETURN public.nexmdm_ensure_heartbeat_partitions_unbounded(from_day, to_day);
    END
    $$
    """,
    """
    CREATE FUNCTION nexmdm_drop_heartbeat_partitions(before date)
    RETURNS TABLE (partition_name text, row_estimate bigint)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    BEGIN
        IF before > (now() AT TIME ZONE 'UTC')::date AND NOT pg_has_role(session_user, current_user, 'MEMBER') THEN
            RAISE invalid_parameter_value USING MESSAGE = 'days of heartbeats are dropped when they are over';
        END IF;
        RETURN QUERY SELECT * FROM public.nexmdm_drop_heartbeat_partitions_unbounded(before);
    END
    $$
    """,
    "REVOKE ALL ON FUNCTION nexmdm_ensure_heartbeat_partitions(date, date) FROM PUBLIC",
    "REVOKE ALL ON FUNCTION nexmdm_drop_heartbeat_partitions(date) FROM PUBLIC",
)

DOWNGRADE = (
    "DROP FUNCTION nexmdm_drop_heartbeat_partitions(date)",
    "DROP FUNCTION nexmdm_ensure_heartbeat_partitions(date, date)",
    """
    ALTER FUNCTION nexmdm_ensure_heartbeat_partitions_unbounded(date, date)
    RENAME TO nexmdm_ensure_heartbeat_partitions
    """,
    "ALTER FUNCTION nexmdm_drop_heartbeat_partitions_unbounded(date) RENAME TO nexmdm_drop_heartbeat_partitions",
    "GRANT EXECUTE ON FUNCTION nexmdm_ensure_heartbeat_partitions(date, date) TO PUBLIC",
    "GRANT EXECUTE ON FUNCTION nexmdm_drop_heartbeat_partitions(date) TO PUBLIC",
)


def upgrade() -> None:
    for statement in UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    for statement in DOWNGRADE:
        op.execute(statement)
