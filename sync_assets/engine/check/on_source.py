"""What `check` finds for each table on the source: one small function per finding (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sync_assets.engine import errors
from sync_assets.engine.check.facts import Facts
from sync_assets.engine.check.finding import Finding, blocks, warning
from sync_assets.engine.check.table_facts import TablePair
from sync_assets.engine.names import RelationName, listed, quoted
from sync_assets.engine.snapshot.identity import its_own_target

SYSTEM_COLUMNS = "xmin or ctid"
NAMED_AT_MOST = 3


def unfit_tables(facts: Facts) -> Iterator[Finding]:
    """Missing and unsupported relations, missing keys, targets that cannot hold the source's rows.

    What a run would say; rights have findings of their own, which name all of them at once.
    """
    for pair in facts.tables:
        problem = pair.problem
        if problem is not None and not isinstance(problem, errors.PrivilegeError):
            yield blocks(_source(pair), problem.message, problem.remedy)


def closed_schemas(facts: Facts) -> Iterator[Finding]:
    """Schemas of the source that this role may not look into."""
    found = {name for pair in facts.tables for name in pair.source.closed_schemas}
    for name in sorted(found):
        yield blocks(
            "source",
            f"the role {_role(facts)} has no USAGE on the schema {name}",
            f"GRANT USAGE ON SCHEMA {quoted(name)} TO {quoted(_role(facts))};",
        )


def unreadable_tables(facts: Facts) -> Iterator[Finding]:
    """Tables that this role may not read; some of their columns do not help."""
    for pair in facts.tables:
        relation = pair.source.relation
        if relation is None or not isinstance(pair.source.problem, errors.PrivilegeError):
            continue
        granted = pair.source.granted_columns
        some = (
            f"; {len(granted)} of its columns are granted singly, which gives no {SYSTEM_COLUMNS}"
        )
        yield blocks(
            _source(pair),
            f"the role {_role(facts)} may not read it{some if granted else ''}",
            f"GRANT SELECT ON {relation.name.as_sql} TO {quoted(_role(facts))};",
        )


def unreadable_leaves(facts: Facts) -> Iterator[Finding]:
    """Partitions that can be read through their parent alone, by one connection."""
    for pair in facts.tables:
        relation = pair.source.relation
        if relation is None or relation.kind != "p" or not relation.readable:
            continue
        names = [leaf.name for leaf in relation.leaves if not leaf.readable]
        if names:
            yield warning(
                _source(pair),
                f"{len(names)} of its {len(relation.leaves)} partitions can be read only through"
                " it, by one connection",
                f"GRANT SELECT ON {_listed(names)} TO {quoted(_role(facts))};",
            )


def row_level_security(facts: Facts) -> Iterator[Finding]:
    """Policies that hide rows from who reads them: a run refuses to take them for deleted."""
    for pair in facts.tables:
        for role in dict.fromkeys(each.role for each in pair.source.filtered):
            names = [each.table for each in pair.source.filtered if each.role == role]
            yield blocks(
                _source(pair),
                f"row-level security hides rows of {named(names)} from the role {role}",
                f"ALTER ROLE {quoted(role)} BYPASSRLS;",
            )


def one_table(facts: Facts) -> Iterator[Finding]:
    """A table that would be copied onto itself."""
    for pair in facts.tables:
        if pair.is_one:
            problem = its_own_target(pair.table)
            yield blocks(_source(pair), problem.message, "target:")


def named(names: Sequence[RelationName]) -> str:
    """The first few names, and how many more there are."""
    return listed(names, NAMED_AT_MOST)


def _listed(names: Sequence[RelationName]) -> str:
    return ", ".join(name.as_sql for name in names)


def _source(pair: TablePair) -> str:
    return f"source {pair.table.source}"


def _role(facts: Facts) -> str:
    return facts.source.role if facts.source else "?"
