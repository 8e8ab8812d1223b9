"""What must hold on the target before the first row is staged."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from sync_assets.engine import errors
from sync_assets.engine.computed.labels import labels_as_text
from sync_assets.engine.load.immutable import require_immutable, rows_on_target
from sync_assets.engine.plan.plan import Plan
from sync_assets.engine.postgres.lock import lock_ddl
from sync_assets.engine.postgres.session import UNFLUSHED, Connection, Cursor, rows, transaction
from sync_assets.engine.postgres.types import missing_types
from sync_assets.engine.snapshot.scope import own_names
from sync_assets.engine.table import SyncMode


def require_followed(cursor: Cursor, plan: Plan) -> None:
    """Prove that filter and expressions can be followed by an incremental mode; ConfigurationError."""
    table, view = plan.table, plan.view
    if table.mode is not SyncMode.FULL_SYNC:
        if view.probe_types:
            lock_ddl(cursor)
        own = own_names(table, view.relation, view.types) != ()
        types = view.probe_types
        followed = labels_as_text(table.expressions, view.columns, types)
        rest = tuple(each for each in table.expressions if each[0] not in followed)
        proven = dataclasses.replace(table, expressions=rest)
        require_immutable(cursor, proven, view.columns, types, own_names=own)


def parts_told(connection: Connection, plans: Sequence[Plan]) -> Sequence[Plan]:
    """The plans, in which the target's rows of each part are told if any of them may have to go.

    Raises ConfigurationError where the target cannot tell them.
    """
    if not any(plan.part and plan.compares_keys for plan in plans):
        return plans
    with transaction(connection, UNFLUSHED) as cursor:
        return [_told(cursor, plan) if plan.compares_keys else plan for plan in plans]


def _told(cursor: Cursor, plan: Plan) -> Plan:
    if plan.part is None:
        return plan
    table, view = plan.table, plan.view
    own = own_names(table, view.relation, view.types) != ()
    # A column that is computed has other values on the target than those that are asked for.
    plain = [field for field in plan.layout.fields if field.expression is None]
    with errors.about(table.target):
        within = rows_on_target(cursor, table, plain, own_names=own)
    return dataclasses.replace(plan, part=dataclasses.replace(plan.part, within=within))


def require_collations(cursor: Cursor, names: Iterable[str | None]) -> None:
    """See that the target has these collations, written as SQL; raises SchemaConflict."""
    wanted = sorted({each for each in names if each})
    if not wanted:
        return
    missing = rows(
        cursor,
        "SELECT name FROM unnest(%s::text[]) AS name WHERE to_regcollation(name) IS NULL",
        (wanted,),
    )
    if missing:
        raise errors.SchemaConflict(
            f"the target has no collation {', '.join(found for (found,) in missing)}",
            remedy="Make it on the target as it is on the source, where psql's \\dO+ shows it.",
        )


def require_types(cursor: Cursor, plan: Plan) -> None:
    """See that nothing has to be created for a dry run; raises SchemaConflict, ConfigurationError."""
    require_collations(cursor, (field.collation for field in plan.layout.fields))
    missing = missing_types(cursor, plan.view.types)
    if missing:
        raise errors.ConfigurationError(
            f"a dry run does not create the type {missing[0].full_name}, which the target lacks",
            remedy="See what would be done with: sync-assets plan.",
        )
