"""What `check` finds on the target, for its tables and their schemas (pure)."""

from __future__ import annotations

from collections.abc import Iterator

from sync_assets.engine.check.facts import Facts
from sync_assets.engine.check.finding import Finding, blocks, note, warning
from sync_assets.engine.check.on_source import named
from sync_assets.engine.check.table_facts import TablePair
from sync_assets.engine.names import quoted
from sync_assets.engine.table import Deletes, SyncMode


def obstacles(facts: Facts) -> Iterator[Finding]:
    """A type on the target that has the name of a table to be made."""
    for pair in facts.tables:
        if pair.target.obstacle is not None:
            yield blocks(
                _target(pair),
                f"the table cannot be made: {pair.target.obstacle} is a type of that name",
                "target: another_schema.another_name",
            )


def missing_extensions(facts: Facts) -> Iterator[Finding]:
    """Extensions that a run would have to create on the target, and cannot."""
    for each in facts.types.extensions:
        create = f"CREATE EXTENSION {quoted(each.name)} SCHEMA {quoted(each.schema)};"
        needed = f"the source's columns need types of the extension {each.name}"
        if each.elsewhere is not None:
            yield blocks(
                "target",
                f"{needed} in the schema {each.schema}; it is in {each.elsewhere}",
                f"ALTER EXTENSION {quoted(each.name)} SET SCHEMA {quoted(each.schema)};",
            )
        elif not each.available:
            yield blocks(
                "target",
                f"{needed}, which is not on the target's server",
                f"{create}  -- once its package is installed",
            )
        elif not each.trusted:
            yield blocks(
                "target",
                f"{needed}, which a run does not install: the target's server does not call it trusted",
                create,
            )
        elif not each.creatable:
            yield blocks(
                "target", f"{needed}, and the role {_target_role(facts)} may not create it", create
            )


def missing_schemas(facts: Facts) -> Iterator[Finding]:
    """Schemas that a first run must make, without the right to."""
    server = facts.target
    if server is None or server.may_create_schemas:
        return
    wanted = {p.table.target.schema for p in facts.tables if not p.target.schema_exists}
    wholes = (pair.target.whole for pair in facts.tables)
    wanted |= {each.name.schema for each in wholes if each and not each.schema_exists}
    if not server.state_exists:
        wanted.add("sync_assets")
    for name in sorted(wanted):
        yield blocks(
            "target",
            f"the schema {name} is missing, and the role {server.role} may not create it in"
            f" {server.database}",
            f"CREATE SCHEMA {quoted(name)} AUTHORIZATION {quoted(server.role)};",
        )


def closed_target_schemas(facts: Facts) -> Iterator[Finding]:
    """Schemas of the target where this role may make no table: a run stages its rows there."""
    seen: set[str] = set()
    for pair in facts.tables:
        place, name = pair.target, pair.table.target.schema
        if name in seen or not place.schema_exists:
            continue
        seen.add(name)
        rights = [("USAGE", place.schema_usable), ("CREATE", place.schema_writable)]
        missing = ", ".join(right for right, held in rights if not held)
        if missing:
            yield blocks(
                "target",
                f"the role {_target_role(facts)} has no {missing} on the schema {name}",
                f"GRANT {missing} ON SCHEMA {quoted(name)} TO {quoted(_target_role(facts))};",
            )


def target_rights(facts: Facts) -> Iterator[Finding]:
    """Rights that a run needs on a table that is there."""
    for pair in facts.tables:
        if pair.target.missing_rights:
            missing = ", ".join(pair.target.missing_rights)
            yield blocks(
                _target(pair),
                f"the role {_target_role(facts)} has no {missing} on it",
                f"GRANT {missing} ON {pair.table.target.as_sql} TO {quoted(_target_role(facts))};",
            )


def history_rights(facts: Facts) -> Iterator[Finding]:
    """Rights that a run needs on a history that somebody else has made."""
    for pair in facts.tables:
        history, role = pair.table.history_table, _target_role(facts)
        if history is not None and pair.target.history_lacks:
            missing = ", ".join(pair.target.history_lacks)
            yield blocks(
                _target(pair),
                f"the role {role} has no {missing} on its history {history}",
                f"GRANT {missing} ON {history.as_sql} TO {quoted(role)};",
            )


def columns_to_change(facts: Facts) -> Iterator[Finding]:
    """Columns that a run must add or change in a table that belongs to somebody else."""
    for pair in facts.tables:
        if pair.alters_target and not pair.target.owned:
            yield blocks(
                _target(pair),
                f"a run must change its columns, and the role {_target_role(facts)} does not own it",
                f"ALTER TABLE {pair.table.target.as_sql} OWNER TO {quoted(_target_role(facts))};",
            )


def tables_of_many_sources(facts: Facts) -> Iterator[Finding]:
    """Tables of somebody else that a target is to be a partition of."""
    role = _target_role(facts)
    for pair in facts.tables:
        whole = pair.target.whole
        if whole is not None and not whole.owned and pair.table.target not in whole.bounds:
            yield blocks(
                _target(pair),
                f"it is to be a partition of {whole.name}, and the role {role} does not own that",
                f"ALTER TABLE {whole.name.as_sql} OWNER TO {quoted(role)};",
            )


def target_rules(facts: Facts) -> Iterator[Finding]:
    """Rewrite rules on the target, which MERGE refuses."""
    for pair in facts.tables:
        for rule in pair.target.rules:
            yield blocks(
                _target(pair),
                f"it has the rule {rule}, and PostgreSQL merges into no table with rules",
                f"DROP RULE {quoted(rule)} ON {pair.table.target.as_sql};",
            )


def target_triggers(facts: Facts) -> Iterator[Finding]:
    """Triggers on the target that act on what a run writes."""
    for pair in facts.tables:
        for trigger in pair.target.triggers:
            yield warning(
                _target(pair),
                f"{trigger} acts on what a run writes: a run stops where it leaves a row out, or"
                " changes a column that is synced (options=-csession_replication_role=replica in"
                " the target's URL switches it off for us alone)",
                trigger.disabled,
            )


def stricter_targets(facts: Facts) -> Iterator[Finding]:
    """Unique and exclusion constraints on the target that the source does not have."""
    for pair in facts.tables:
        for unique in pair.others:
            if not any(each.forbids_as_much_as(unique) for each in pair.source.uniques):
                yield warning(
                    _target(pair),
                    f"{unique.name} allows no two rows beside each other that the source, which has"
                    " no such constraint, may have: a run stops at them",
                    unique.dropped,
                )


def values_taken_over(facts: Facts) -> Iterator[Finding]:
    """Constraints under which rows cannot take over each other's values, as a delete sets off more."""
    for pair in facts.tables:
        for unique in pair.others if pair.target.acts else ():
            columns = [pair.target.relation.column(n) for n in unique.plain if pair.target.relation]
            may_be_null = any(column and not column.not_null for column in columns)
            if not unique.deferrable and not may_be_null:
                yield warning(
                    _target(pair),
                    f"a run stops at rows that have taken over each other's values under"
                    f" {unique.name}: they cannot be taken out and put back, as {pair.target.acts}",
                    unique.checked_later,
                )


def filtered_targets(facts: Facts) -> Iterator[Finding]:
    """Policies of the target, which hide rows that a run must find, or refuse those it writes."""
    for pair in facts.tables:
        for each in pair.target.filtered:
            yield blocks(
                _target(pair),
                f"row-level security applies to the role {each.role}, which a run refuses",
                f"ALTER ROLE {quoted(each.role)} BYPASSRLS;",
            )


def closed_state(facts: Facts) -> Iterator[Finding]:
    """A schema sync_assets that belongs to somebody else."""
    server = facts.target
    if server is not None and server.state_exists and not server.state_usable:
        role = quoted(server.role)
        yield blocks(
            "target",
            f"the role {server.role} may not use the schema sync_assets, which holds the state",
            f"GRANT USAGE, CREATE ON SCHEMA sync_assets TO {role};"
            f" GRANT ALL ON ALL TABLES IN SCHEMA sync_assets TO {role};",
        )


def deletes_left_behind(facts: Facts) -> Iterator[Finding]:
    """Tables whose deleted rows stay on the target."""
    names = [
        pair.table.target
        for pair in facts.tables
        if pair.table.deletes is Deletes.IGNORE and pair.table.mode is not SyncMode.FULL_SYNC
    ]
    if names:
        yield note(
            "target",
            f"rows deleted on the source, and old keys, stay in {named(names)}",
            "deletes: hard",
        )


def unchecked_domains(facts: Facts) -> Iterator[Finding]:
    """Domains that a run creates: their checks would be code of the source's owner on the target."""
    if facts.types.domains:
        yield note(
            "target",
            f"a run creates {named([each.name for each in facts.types.domains])} as plain domains: CHECK,"
            " NOT NULL and DEFAULT stay on the source, where the rows were checked",
            "; ".join(each.statement for each in facts.types.domains)
            + ";  -- before the first run, with the CHECK that you want there",
        )


def _target(pair: TablePair) -> str:
    return f"target {pair.table.target}"


def _target_role(facts: Facts) -> str:
    return facts.target.role if facts.target else "?"


def not_carried(facts: Facts) -> Iterator[Finding]:
    """What `carry` names and a run cannot make."""
    kinds = {pair.table.target: pair.table.carry for pair in facts.tables}
    for target, what, why in facts.not_carried:
        kind = what.partition(":")[0]
        others = ", ".join(each.value for each in kinds[target] if each.value != kind)
        yield note(
            f"target {target}",
            f"it is not given what its source has, {what}: {why}",
            f"carry: [{others}]  # or make it on the target yourself",
        )
