"""Statements that bring staged rows into the target (pure)."""

from __future__ import annotations

from collections.abc import Iterator

from psycopg2.sql import SQL, Composable, Identifier, Literal

from sync_assets.engine.compare.checksum import has_key_hash
from sync_assets.engine.load.staging_statements import IN_SCOPE
from sync_assets.engine.plan.plan import KeyBuckets, Plan, Removal
from sync_assets.engine.postgres.equality import same_key
from sync_assets.engine.postgres.identifiers import names, relation
from sync_assets.engine.postgres.relation import Key

PUBLISHED, STAGED = Identifier("t"), Identifier("s")


def joined(key: Key, staged: Composable = STAGED) -> Composable:
    """The condition under which a target row `t` and a staged row are the same row."""
    ours = (SQL("t.{}").format(Identifier(column)) for column in key.columns)
    theirs = (SQL("{}.{}").format(staged, Identifier(column)) for column in key.columns)
    return same_key(ours, key.operators, theirs)


def differs(plan: Plan) -> Composable:
    """The condition under which a target row `t` is not what the staged row `s` makes it."""
    # Compares the stored bytes: 1.0 and 1.00 are equal and yet not the same, and json has no `=`.
    changed = SQL("pg_catalog.record_image_ne(ROW({}), ROW({}))").format(
        names(plan.layout.names, PUBLISHED), names(plan.layout.names, STAGED)
    )
    if plan.layout.deleted_column is None:
        return changed
    # A row that was marked as deleted and is there again.
    return SQL("({} OR {})").format(changed, _is_marked(plan, negated=SQL(" NOT")))


def _is_marked(plan: Plan, *, negated: Composable) -> Composable:
    return SQL("t.{} IS{} NULL").format(Identifier(plan.layout.deleted_column or ""), negated)


def staged(plan: Plan, staging: Composable) -> Composable:
    """The staged rows that belong on the target."""
    if not plan.flags_scope:
        return staging
    return SQL("(SELECT * FROM {} AS s WHERE {})").format(staging, Identifier(IN_SCOPE))


def merge(plan: Plan, key: Key, staging: Composable) -> Composable:
    """MERGE the staged rows; a row that is already the same is not touched."""
    columns = (*plan.layout.names, plan.table.xmin_column)
    return SQL(
        "MERGE INTO {target} AS t USING {staging} AS s ON {joined} "
        "WHEN MATCHED AND {differs} THEN UPDATE SET {assignments} "
        "WHEN NOT MATCHED THEN INSERT ({columns}) OVERRIDING SYSTEM VALUE VALUES ({values})"
    ).format(
        target=relation(plan.table.target),
        staging=staged(plan, staging),
        joined=joined(key),
        differs=differs(plan),
        assignments=SQL(", ").join(_assignments(plan)),
        columns=names(columns),
        values=names(columns, STAGED),
    )


def _assignments(plan: Plan) -> Iterator[Composable]:
    settable = (field.name for field in plan.layout.fields if field.settable)
    for column in (*settable, plan.table.xmin_column):
        yield SQL("{column} = s.{column}").format(column=Identifier(column))
    if plan.layout.deleted_column is not None:
        yield SQL("{} = NULL").format(Identifier(plan.layout.deleted_column))


def counted_merge(merged: Composable) -> Composable:
    """A MERGE that answers how many rows it inserted and updated (PostgreSQL 17 and later)."""
    return SQL(
        "WITH merged AS ({} RETURNING merge_action() AS action) "
        "SELECT count(*) FILTER (WHERE action = 'INSERT'), "
        "count(*) FILTER (WHERE action = 'UPDATE') FROM merged"
    ).format(merged)


def count_changes(plan: Plan, key: Key, staging: Composable) -> Composable:
    """How many staged rows are new and how many differ, before a MERGE that can't tell."""
    return SQL(
        # The columns of both sides in one target list would be more than 1,664 from 833 on.
        "SELECT (SELECT count(*) FROM {staging} AS s "
        "WHERE NOT EXISTS (SELECT FROM {target} AS t WHERE {joined})), "
        "(SELECT count(*) FROM {staging} AS s JOIN {target} AS t ON {joined} WHERE {differs})"
    ).format(
        differs=differs(plan),
        staging=staged(plan, staging),
        target=relation(plan.table.target),
        joined=joined(key),
    )


def count_lacking(plan: Plan, key: Key, staging: Composable) -> Composable:
    """Count the staged rows that no target row is the same as."""
    return SQL(
        "SELECT count(*) FROM {} AS s WHERE NOT EXISTS (SELECT FROM {} AS t WHERE {})"
    ).format(staged(plan, staging), relation(plan.table.target), joined(key))


def _missing(key: Key, keys: Composable, within: Composable | None = None) -> Composable:
    missing = SQL("NOT EXISTS (SELECT FROM {} AS s WHERE {})").format(keys, joined(key))
    return missing if within is None else SQL("{} AND {}").format(within, missing)


def live(plan: Plan) -> Composable:
    """The condition that a target row `t` is not marked as deleted."""
    if plan.layout.deleted_column is None:
        return SQL("true")
    return _is_marked(plan, negated=SQL(""))


def within(plan: Plan, key: Key, buckets: KeyBuckets | None) -> Composable | None:
    """The condition that a target row `t` is of the part, and in a bucket that differs.

    None where all rows are meant; settings must be pinned.
    """
    conditions = [] if plan.part is None or plan.part.within is None else [plan.part.within]
    if buckets is not None:
        conditions.append(within_buckets(key, buckets))
    return SQL(" AND ").join(conditions) if conditions else None


def within_buckets(key: Key, buckets: KeyBuckets) -> Composable:
    """The condition that a target row `t` is in a bucket that differs; settings must be pinned."""
    hashed = [SQL("t.{}").format(Identifier(name)) for name in key.columns]
    return has_key_hash(hashed, buckets.prefixes)


def remove_others(
    plan: Plan, key: Key, keys: Composable, within: Composable | None = None
) -> Composable:
    """Remove the target rows whose key is not among `keys`, a table with all of the source's.

    Where it has not all of them, `within` is the condition on those that it has.
    """
    return _remove(plan, _missing(key, keys, within))


def remove_gone(plan: Plan, key: Key, gone: Composable) -> Composable:
    """Remove the target rows whose key is among `gone`."""
    return _remove(plan, joined(key), gone)


def _remove(plan: Plan, condition: Composable, beside: Composable | None = None) -> Composable:
    """Delete rows, or mark them with the time of the snapshot that no longer had them."""
    target, marks = relation(plan.table.target), plan.removal is Removal.MARK
    joining = SQL(" FROM {} AS s" if marks else " USING {} AS s")
    others = SQL("") if beside is None else joining.format(beside)
    if not marks:
        return SQL("DELETE FROM {} AS t{} WHERE {}").format(target, others, condition)
    return SQL("UPDATE {} AS t SET {} = {}{} WHERE {} AND {}").format(
        target,
        Identifier(plan.layout.deleted_column or ""),
        Literal(plan.view.snapshot.taken_at),
        others,
        live(plan),
        condition,
    )


def any_live(plan: Plan) -> Composable:
    """Whether the target has a row that is not marked as deleted."""
    return SQL("SELECT EXISTS (SELECT FROM {} AS t WHERE {})").format(
        relation(plan.table.target), live(plan)
    )


def count_missing(
    plan: Plan, key: Key, keys: Composable, within: Composable | None = None
) -> Composable:
    """Count the live target rows whose key is not among `keys`."""
    return SQL("SELECT count(*) FROM {} AS t WHERE {} AND {}").format(
        relation(plan.table.target), live(plan), _missing(key, keys, within)
    )


def count_there(plan: Plan, key: Key, gone: Composable) -> Composable:
    """Count the live target rows whose key is among `gone`."""
    return SQL("SELECT count(*) FROM {} AS t JOIN {} AS s ON {} WHERE {}").format(
        relation(plan.table.target), gone, joined(key), live(plan)
    )


def count_live(plan: Plan, most: int | None = None) -> Composable:
    """Count the target rows that are not marked as deleted, up to `most` of them."""
    return SQL("SELECT count(*) FROM (SELECT FROM {} AS t WHERE {} LIMIT {}) AS live").format(
        relation(plan.table.target), live(plan), Literal(most)
    )


def count_left(plan: Plan, key: Key, staging: Composable) -> Composable:
    """Count the target rows whose row on the source fails the filter, and all staged such rows."""
    return SQL(
        "SELECT (SELECT count(*) FROM {target} AS t WHERE EXISTS "
        "(SELECT FROM {staging} AS s WHERE NOT s.{flag} AND {joined})), "
        "(SELECT count(*) FROM {staging} AS s WHERE NOT s.{flag})"
    ).format(
        target=relation(plan.table.target),
        staging=staging,
        flag=Identifier(IN_SCOPE),
        joined=joined(key),
    )


# Without a key a table is a multiset of rows. Their text, under pinned settings, tells any two
# values apart that COPY tells apart, whatever operators their types have or lack.


IMAGE = Identifier("sync_assets.image")
"""A row's hash, as a column beside those of the table: the dot keeps the names apart."""

NUMBER = Identifier("sync_assets.number")
"""A row's number among its equals, as a column beside those of the table."""


def delete_surplus(plan: Plan, staging: Composable) -> Composable:
    """Delete the target rows that the source has fewer of."""
    return SQL(
        "DELETE FROM {target} AS t USING ("
        "SELECT place, leaf FROM ({here}) AS here LEFT JOIN ("
        "SELECT {image}, count(*) AS wanted FROM ({there}) AS there GROUP BY {image}) AS counted "
        "USING ({image}) WHERE {number} > coalesce(wanted, 0)) AS surplus "
        "WHERE t.ctid = surplus.place AND t.tableoid = surplus.leaf"
    ).format(
        target=relation(plan.table.target),
        image=IMAGE,
        number=NUMBER,
        here=_images(plan, relation(plan.table.target), SQL(", ctid AS place, tableoid AS leaf")),
        there=_images(plan, staging, SQL("")),
    )


def insert_lacking(plan: Plan, staging: Composable) -> Composable:
    """Insert the staged rows that the target has fewer of."""
    columns = (*plan.layout.names, plan.table.xmin_column)
    return SQL(
        "INSERT INTO {target} ({columns}) OVERRIDING SYSTEM VALUE "
        "SELECT {wanted} FROM ({there}) AS there LEFT JOIN ("
        "SELECT {image}, count(*) AS present FROM ({here}) AS here GROUP BY {image}) AS counted "
        "USING ({image}) WHERE there.{number} > coalesce(counted.present, 0)"
    ).format(
        target=relation(plan.table.target),
        columns=names(columns),
        wanted=names(columns, Identifier("there")),
        image=IMAGE,
        number=NUMBER,
        there=_images(plan, staging, SQL(", {}").format(names(columns))),
        here=_images(plan, relation(plan.table.target), SQL("")),
    )


def count_unlike(plan: Plan, staging: Composable) -> Composable:
    """Count the images that one end has more of than the other."""
    counted = SQL("SELECT {image}, count(*) AS found FROM ({rows}) AS rows GROUP BY {image}")
    return SQL(
        "SELECT count(*) FROM ({here}) AS here FULL JOIN ({there}) AS there USING ({image}) "
        "WHERE here.found IS DISTINCT FROM there.found"
    ).format(
        image=IMAGE,
        here=counted.format(image=IMAGE, rows=_images(plan, relation(plan.table.target), SQL(""))),
        there=counted.format(image=IMAGE, rows=_images(plan, staging, SQL(""))),
    )


def _images(plan: Plan, table: Composable, more: Composable) -> Composable:
    """Each row's image, and its number among the rows that are the same."""
    value = SQL("sha256(convert_to(ROW({})::text, 'UTF8'))").format(names(plan.layout.names))
    return SQL(
        "SELECT {value} AS {image}, row_number() OVER (PARTITION BY {value}) AS {number}{more} "
        "FROM {table} AS rows"
    ).format(value=value, image=IMAGE, number=NUMBER, more=more, table=table)
