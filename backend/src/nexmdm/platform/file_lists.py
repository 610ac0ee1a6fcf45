"""The statements that list files, and what is made of them."""

from typing import Final

FILES: Final = """
    SELECT path, kind AS type, size, etag, modified_at FROM files
    WHERE zone_id = $1 AND path > $2 AND path < $3 ORDER BY path LIMIT $4
"""
# From one entry to the next: what lies in a directory is skipped at once. A directory that was made has a row of its
# own, which comes first. `after`: the least path that the next entry can have; no path holds a control character.
CHILDREN: Final = """
    WITH RECURSIVE step (path, end_of_name, after, kind, size, etag, modified_at) AS (
        SELECT NULL::text COLLATE "C", 0, $2::text COLLATE "C", NULL::text, 0::bigint, NULL::text, NULL::timestamptz
        UNION ALL
        SELECT f.path, strpos(substr(f.path, $5), '/'),
            CASE strpos(substr(f.path, $5), '/')
                WHEN 0 THEN f.path || E'\\x01'
                ELSE left(f.path, $5 - 2 + strpos(substr(f.path, $5), '/')) || '0'
            END COLLATE "C",
            f.kind, f.size, f.etag, f.modified_at
        FROM step CROSS JOIN LATERAL (
            SELECT * FROM files WHERE zone_id = $1 AND path >= step.after AND path < $3 ORDER BY path LIMIT 1
        ) AS f
    )
    SELECT CASE end_of_name WHEN 0 THEN path ELSE left(path, $5 - 2 + end_of_name) END AS path, after,
        CASE end_of_name WHEN 0 THEN kind ELSE 'directory' END AS type,
        CASE end_of_name WHEN 0 THEN size ELSE 0 END AS size,
        CASE end_of_name WHEN 0 THEN etag END AS etag,
        CASE end_of_name WHEN 0 THEN modified_at END AS modified_at
    FROM step
    WHERE path IS NOT NULL AND (end_of_name = 0 OR NOT EXISTS (
        SELECT FROM files AS made WHERE made.zone_id = $1 AND made.path = left(step.path, $5 - 2 + end_of_name)))
    LIMIT $4
"""
