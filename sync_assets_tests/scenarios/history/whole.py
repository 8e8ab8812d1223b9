"""What must hold of a history whatever happened: one statement that names each row that breaks it."""

from __future__ import annotations

from sync_assets_tests.fixtures.pair import Pair

OURS = ("valid_from", "valid_to", "ended_by", "time_from")
NOT_COMPARED = ("source_xmin", "deleted_at")


def broken(pair: Pair, table: str = "public.t", key: str = "id") -> list[tuple[str, str]]:
    """What is wrong, with the version or row; `table` may have marks of deletes in `deleted_at`."""
    columns = [
        name
        for (name,) in pair.target(
            "SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = "
            f"'{table}'::regclass AND attnum > 0 AND NOT attisdropped"
        )
    ]
    live = "t.deleted_at IS NULL" if "deleted_at" in columns else "true"
    compared = [name for name in columns if name not in NOT_COMPARED]
    of_row, of_version = (", ".join(f"{of}.{name}" for name in compared) for of in "th")
    keys = key.split(", ")
    same = " AND ".join(f"h.{name} = t.{name}" for name in keys)
    by = ", ".join(f"h.{name}" for name in keys)
    history = f"{table}_history"
    return pair.target(
        f"""
        WITH h AS (SELECT h.*, lead(valid_from) OVER versions AS next, lead(time_from) OVER versions
                     AS next_time FROM {history} AS h WINDOW versions AS (PARTITION BY {by}
                     ORDER BY valid_from, valid_to))
        SELECT 'ends before it begins', h::text FROM h WHERE valid_to <= valid_from
        UNION ALL SELECT 'overlaps the next', h::text FROM h WHERE next < coalesce(valid_to, 'infinity')
        UNION ALL SELECT 'a gap', h::text FROM h WHERE ended_by = 'update' AND next IS DISTINCT FROM valid_to
        UNION ALL SELECT 'ended without a reason', h::text FROM h WHERE (valid_to IS NULL) <> (ended_by IS NULL)
        UNION ALL SELECT 'open without a row', h::text FROM h WHERE valid_to IS NULL
          AND NOT EXISTS (SELECT FROM {table} t WHERE {same} AND {live})
        UNION ALL SELECT 'no open version', t::text FROM {table} t WHERE {live}
          AND NOT EXISTS (SELECT FROM h WHERE valid_to IS NULL AND {same})
        UNION ALL SELECT 'two open versions', min(h::text) FROM h WHERE valid_to IS NULL
          GROUP BY {by} HAVING count(*) > 1
        UNION ALL SELECT 'open and other than its row', h::text FROM h JOIN {table} t ON {same}
          WHERE valid_to IS NULL AND record_image_ne(ROW({of_row}), ROW({of_version}))
        """
    )
