"""Views above the table: changes of them on either end, and whether the target's say what the source's say."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from sync_assets.engine import RelationName
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.random_changes.shape import (
    BESIDE,
    COMPANION,
    OWN,
    SCHEMA,
    TABLE,
    RememberedColumns,
    View,
)
from sync_assets_tests.random_changes.values import CONSTANTS

VIEW_NAMES = (
    f"{SCHEMA}.a",
    f"{SCHEMA}.b",
    f'{SCHEMA}."View"',
    f"{BESIDE}.a",
    f"{BESIDE}.c",
    f'{BESIDE}."v, (""w"".x"',
)
Columns = Sequence[tuple[str, str]]
"""Names and types."""


def create_view(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """Over the table, another view, or either beside a second table."""
    name = _free(shape, chance)
    query = _query(shape, chance)
    kind = "MATERIALIZED VIEW" if chance.random() < 0.1 and "CHECK" not in query else "VIEW"
    return [f"CREATE {kind} {name} AS {query}"] if name else []


def replace_view(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """By a query that has its columns, and perhaps one more."""
    view = _any(shape, chance)
    if view is None:
        return []
    more = f", 'x'::text AS {_unused(view.columns)}" * (chance.random() < 0.5)
    query = f"SELECT *{more} FROM ({view.text}) AS before WHERE {_condition(view.columns, chance)}"
    return [f"CREATE OR REPLACE VIEW {view.name} AS {query}"]


def drop_view(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """With those above it; and perhaps make another one of its name."""
    view = _any(shape, chance)
    if view is None:
        return []
    kind = "MATERIALIZED VIEW" if chance.random() < 0.3 else "VIEW"
    again = f"CREATE {kind} {view.name} AS SELECT * FROM ({view.text}) AS before"
    return [f"DROP VIEW {view.name} CASCADE", *[again] * (chance.random() < 0.4)]


def rename_view(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """Itself or a column; those above it go on reading it."""
    view, name = _any(shape, chance), _free(shape, chance)
    if view is None or name is None:
        return []
    if chance.random() < 0.4:
        column, _ = chance.choice(view.columns)
        return [f"ALTER VIEW {view.name} RENAME COLUMN {column} TO {_unused(view.columns)}"]
    own, (schema, new) = view.name, name.split(".", 1)
    parts = []
    if not own.startswith(f"{schema}."):
        between = f"between_{chance.randrange(10**6)}"
        parts = [f"ALTER VIEW {own} RENAME TO {between}"]
        own = f"{own.split('.', 1)[0]}.{between}"
        parts.append(f"ALTER VIEW {own} SET SCHEMA {schema}")
        own = f"{schema}.{between}"
    return [*parts, f"ALTER VIEW {own} RENAME TO {new}"]


def set_option_of_view(shape: RememberedColumns, chance: random.Random) -> list[str]:
    """What its definition does not say."""
    view = _any(shape, chance)
    option = chance.choice(["security_barrier", "security_invoker"])
    change = chance.choice([f"SET ({option})", f"RESET ({option})"])
    return [f"ALTER VIEW {view.name} {change}"] if view else []


def drop_target_view(
    shape: RememberedColumns, chance: random.Random, synced: Sequence[str]
) -> list[str]:
    """With those above it."""
    view = _any(shape, chance)
    return [f"DROP VIEW {view.name} CASCADE"] if view else []


def replace_target_view(
    shape: RememberedColumns, chance: random.Random, synced: Sequence[str]
) -> list[str]:
    """It says something else from now on."""
    view = _any(shape, chance)
    if view is None:
        return []
    return [f"CREATE OR REPLACE VIEW {view.name} AS SELECT * FROM ({view.text}) AS theirs LIMIT 1"]


def build_on_view(
    shape: RememberedColumns, chance: random.Random, synced: Sequence[str]
) -> list[str]:
    """Somebody's own view, so that ours cannot be dropped."""
    view = _any(shape, chance)
    own = f"{SCHEMA}.{OWN}"
    return (
        [f"CREATE OR REPLACE VIEW {own} AS SELECT count(*) AS n FROM {view.name}"] if view else []
    )


def out_of_the_way(
    shape: RememberedColumns, chance: random.Random, statements: list[str]
) -> list[str]:
    """Statements that no column may have a view for: they go before, and perhaps come again."""
    if not (shape.views and statements):
        return statements
    gone = [
        f"DROP {'MATERIALIZED ' * each.materialized}VIEW IF EXISTS {each.name} CASCADE"
        for each in shape.views
    ]
    again = [
        f"DO $do$ BEGIN CREATE VIEW {each.name} AS {each.text}; EXCEPTION WHEN OTHERS THEN NULL; END $do$"
        for each in shape.views
        if chance.random() < 0.8
    ]
    return [*gone, *statements, *again]


def _any(shape: RememberedColumns, chance: random.Random) -> View | None:
    plain = [each for each in shape.views if not each.materialized]
    return chance.choice(plain) if plain else None


def _free(shape: RememberedColumns, chance: random.Random) -> str | None:
    used = {each.name for each in shape.views}
    free = [name for name in VIEW_NAMES if name not in used]
    return chance.choice(free) if free else None


def _unused(columns: Columns) -> str:
    names = {name for name, _ in columns}
    return next(name for name in (f"extra_{n}" for n in range(1000)) if name not in names)


def _relation(shape: RememberedColumns, chance: random.Random) -> tuple[str, Columns]:
    columns = tuple((column.name, column.type) for column in shape.columns)
    views = [(each.name, each.columns) for each in shape.views]
    return chance.choice([(TABLE, columns)] * (len(views) or 1) + views)


def _condition(columns: Columns, chance: random.Random, of: str = "") -> str:
    name, type_ = chance.choice(columns)
    conditions = [
        f"{of}{name} IS NOT NULL",
        f"""{of}{name}::text COLLATE "C" < 'm'""",
        f"{of}{name} = {of}{name}",
    ]
    if type_ in CONSTANTS:
        conditions.append(f"{of}{name} >= {CONSTANTS[type_]}::{type_}")
    return chance.choice(conditions)


def _query(shape: RememberedColumns, chance: random.Random) -> str:
    relation, columns = _relation(shape, chance)
    return chance.choice(_QUERIES)(relation, columns, chance)


def _some(columns: Columns, chance: random.Random) -> Columns:
    return chance.sample(list(columns), chance.randint(1, min(3, len(columns))))


def _names(columns: Columns, of: str = "") -> str:
    return ", ".join(f"{of}{name}" for name, _ in columns)


def _plain(relation: str, columns: Columns, chance: random.Random) -> str:
    checked = " WITH CHECK OPTION" * (relation == TABLE and chance.random() < 0.3)
    chosen = _names(_some(columns, chance))
    return f"SELECT {chosen} FROM {relation} WHERE {_condition(columns, chance)}{checked}"


def _computed(relation: str, columns: Columns, chance: random.Random) -> str:
    (name, _), new = chance.choice(columns), _unused(columns)
    return f"SELECT *, length({name}::text) AS {new} FROM {relation}"


def _grouped(relation: str, columns: Columns, chance: random.Random) -> str:
    by, new = _some(columns, chance), _unused(columns)
    return f"SELECT {_names(by)}, count(*) AS {new} FROM {relation} GROUP BY {_names(by)}"


def _joined(relation: str, columns: Columns, chance: random.Random) -> str:
    """By a column's name, which may change."""
    (by, _), (one, _), new = chance.choice(columns), chance.choice(columns), _unused(columns)
    left, right = f"SELECT {by}", f"right_.{one} AS {new}"
    return f"{left}, {right} FROM {relation} AS left_ JOIN {relation} AS right_ USING ({by})"


def _beside(relation: str, columns: Columns, chance: random.Random) -> str:
    its, new = _names(_some(columns, chance), "r."), _unused(columns)
    return f"SELECT {its}, other.companion_id AS {new} FROM {relation} AS r CROSS JOIN {COMPANION} AS other"


def _by_place(relation: str, columns: Columns, chance: random.Random) -> str:
    """Columns get other names by where they stand."""
    names = [f"place_{n}" for n in range(chance.randint(1, len(columns)))]
    return f"SELECT {names[-1]}, {names[0]} AS first FROM {relation} AS named ({', '.join(names)})"


def _whole_row(relation: str, columns: Columns, chance: random.Random) -> str:
    return f"SELECT to_jsonb(r) AS whole FROM {relation} AS r"


def _united(relation: str, columns: Columns, chance: random.Random) -> str:
    chosen = _names(_some(columns, chance))
    one, other = (_condition(columns, chance) for _ in range(2))
    return f"SELECT {chosen} FROM {relation} WHERE {one} UNION ALL SELECT {chosen} FROM ONLY {relation} WHERE {other}"


def _windowed(relation: str, columns: Columns, chance: random.Random) -> str:
    (by, _), new, chosen = chance.choice(columns), _unused(columns), _some(columns, chance)
    return (
        f"WITH few AS (SELECT * FROM {relation} WHERE {_condition(columns, chance)}) "
        f"SELECT {_names(chosen)}, count(*) OVER (PARTITION BY {by}) AS {new} FROM few"
    )


def _correlated(relation: str, columns: Columns, chance: random.Random) -> str:
    (by, _), chosen = chance.choice(columns), _names(_some(columns, chance))
    inner = (
        f"SELECT FROM {relation} AS i WHERE i.{by} = o.{by} AND {_condition(columns, chance, 'i.')}"
    )
    return f"SELECT {chosen} FROM {relation} AS o WHERE EXISTS ({inner})"


_QUERIES: Sequence[Callable[[str, Columns, random.Random], str]] = (
    _plain,
    _plain,
    _computed,
    _grouped,
    _joined,
    _beside,
    _by_place,
    _whole_row,
    _united,
    _windowed,
    _correlated,
)

_READS = """
SELECT n.nspname::text, c.relname::text, c.relkind = 'm',
  ARRAY(SELECT DISTINCT ARRAY[rn.nspname::text, r.relname::text] FROM pg_rewrite w
        JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
          AND d.refclassid = 'pg_class'::regclass
        JOIN pg_class r ON r.oid = d.refobjid JOIN pg_namespace rn ON rn.oid = r.relnamespace
        WHERE w.ev_class = c.oid AND r.oid <> c.oid)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('v', 'm') AND n.nspname IN %s AND c.relname <> %s
"""


def unfollowed(pair: Pair, synced: Collection[str], told: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with the target's views, but for what was `told` of them.

    `synced` are the tables that were, `told` what runs said was not carried, by name.
    """
    source = {RelationName(*name): its for *name, _, its in pair.source(_asked())}
    there = {RelationName(*name) for *name, _, _ in pair.target(_asked())}
    tables = {RelationName.parse(name) for name in synced}
    above = {RelationName.parse(TABLE)}
    for _ in source:
        above |= {name for name, its in source.items() if {RelationName(*i) for i in its} & above}
    for name in sorted({*source, *there} - tables):
        words = told.get(str(name))
        if words is not None or (name in source and name not in above):
            continue
        if name not in there:
            yield f"{name} is not there"
        elif name not in source:
            yield f"{name} is there still"
        else:
            rows = f'SELECT v::text COLLATE "C" FROM {name.as_sql} AS v ORDER BY 1'
            if pair.source(rows) != pair.target(rows):
                yield f"{name} says something else"


def _asked() -> str:
    return _READS.replace("%s", f"('{SCHEMA}', '{BESIDE}')", 1).replace("%s", f"'{OWN}'")
