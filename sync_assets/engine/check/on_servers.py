"""What `check` finds on each server: one small function per finding (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from types import MappingProxyType

from sync_assets.engine.check.facts import Facts
from sync_assets.engine.check.finding import Finding, blocks, note, warning
from sync_assets.engine.check.server_facts import OpenTransaction
from sync_assets.engine.names import quoted
from sync_assets.engine.postgres.driver_errors import Side

TESTED_VERSIONS: Mapping[Side, range] = MappingProxyType(
    {"source": range(14, 20), "target": range(15, 20)}
)
"""The versions that our tests run on: 15 and 18 with each change, the others each week."""

OLD_XIDS = 1_000_000_000
"""Age of the oldest row version, in transactions, from which anti-wraparound vacuum falls behind."""

LAST_XIDS = 2_100_000_000
"""Age of the oldest row version, in transactions, at which the server soon takes no writes at all."""

LONG_TRANSACTION = timedelta(minutes=5)
MANY_XIDS = 1_000_000
"""Where a transaction's beginning is hidden: how many later ones make it a long one."""

CONTROL_FUNCTIONS = "pg_control_system(), pg_control_checkpoint()"
LIVABLE = timedelta(hours=1)
"""A time-out from which on hardly any statement of a run ever meets it."""


def untested_versions(facts: Facts) -> Iterator[Finding]:
    """A version that no test of ours runs on."""
    for server in facts.servers:
        tested = TESTED_VERSIONS[server.side]
        if server.version // 10000 not in tested:
            yield note(
                server.side,
                f"PostgreSQL {server.version_text} should work, but is not tested as {server.side}:"
                f" {tested[0]} to {tested[-1]} are",
                "sync-assets verify",
            )


def hidden_identity(facts: Facts) -> Iterator[Finding]:
    """A source that cannot be told from another one: every run reads everything."""
    source = facts.source
    if source is not None and not source.identifies:
        yield warning(
            "source",
            f"the role {source.role} may not read which server this is, so every run reads all rows",
            f"GRANT EXECUTE ON FUNCTION {CONTROL_FUNCTIONS} TO {quoted(source.role)};",
        )


def hidden_timeline(facts: Facts) -> Iterator[Finding]:
    """A standby whose timeline is known only up to its last checkpoint: runs wait for one."""
    source = facts.source
    if source is not None and source.standby and source.identifies and not source.sees_all:
        yield warning(
            "source",
            f"the role {source.role} may not see which timeline this standby follows, so a run may"
            " wait for its next checkpoint",
            f"GRANT pg_read_all_stats TO {quoted(source.role)};  -- on the primary",
        )


def narrower_encoding(facts: Facts) -> Iterator[Finding]:
    """A target that cannot write down every character of the source."""
    source, target = facts.source, facts.target
    if source is None or target is None:
        return
    if target.encoding not in ("UTF8", "SQL_ASCII", source.encoding):
        yield warning(
            "target",
            f"its encoding is {target.encoding}, the source's {source.encoding}: a character that"
            " it lacks makes a run fail",
            f"CREATE DATABASE {quoted(target.database + '_utf8')} ENCODING 'UTF8' TEMPLATE template0;",
        )


def unchecked_encoding(facts: Facts) -> Iterator[Finding]:
    """A source whose text may be bytes of any encoding, or of several."""
    source, target = facts.source, facts.target
    if source is None or target is None or source.encoding != "SQL_ASCII":
        return
    if target.encoding != source.encoding:
        yield warning(
            "source",
            f"its encoding is SQL_ASCII, the target's {target.encoding}: bytes that are not UTF8 make"
            " a run fail; mend them, or sync into a database of the same encoding",
            f"CREATE DATABASE {quoted(target.database + '_sql_ascii')} ENCODING 'SQL_ASCII'"
            " LOCALE 'C' TEMPLATE template0;  -- on the target",
        )


def old_xids(facts: Facts) -> Iterator[Finding]:
    """A database on its way to transaction id wraparound."""
    for server in facts.servers:
        if server.xid_age >= OLD_XIDS:
            kind = blocks if server.xid_age >= LAST_XIDS else warning
            yield kind(
                server.side,
                f"the oldest row of the database {server.database} is {server.xid_age:,}"
                " transactions old; PostgreSQL stops writing before 2,147,483,648",
                "VACUUM (FREEZE, INDEX_CLEANUP off);",
            )


def long_transactions(facts: Facts) -> Iterator[Finding]:
    """An open transaction that has written: the watermark cannot pass it."""
    for each in facts.source.open_transactions if facts.source else ():
        if each.pid is not None and _is_long(each):
            who = f"process {each.pid} ({each.role}, {each.application or 'unnamed'})"
            yield warning(
                "source",
                f"{who} has a transaction open for {_for_how_long(each)}; until it ends, every run"
                " reads again what was written since",
                f"SELECT pg_terminate_backend({each.pid});",
            )


def prepared_transactions(facts: Facts) -> Iterator[Finding]:
    """A prepared transaction that nobody ends: it holds the watermark back, even over a restart."""
    for each in facts.source.open_transactions if facts.source else ():
        if each.gid is not None and _is_long(each):
            gid = each.gid.replace("'", "''")
            yield warning(
                "source",
                f"the transaction prepared as {each.gid!r} by {each.role} in {each.database} waits"
                f" for {_for_how_long(each)}; until it ends, every run reads again what was"
                " written since",
                f"ROLLBACK PREPARED '{gid}';  -- in {each.database}; or COMMIT PREPARED",
            )


def _is_long(each: OpenTransaction) -> bool:
    if each.seconds is None:
        return each.xids >= MANY_XIDS
    return each.seconds >= LONG_TRANSACTION.total_seconds()


def _for_how_long(each: OpenTransaction) -> str:
    if each.seconds is None:
        return f"{each.xids:,} transactions"
    return str(timedelta(seconds=round(each.seconds)))


def mark_held_back_on_standby(facts: Facts) -> Iterator[Finding]:
    """A standby whose primary has a long transaction, which only the primary can name."""
    source = facts.source
    if source is not None and source.standby and source.mark_distance >= MANY_XIDS:
        yield warning(
            "source",
            f"a transaction on the primary holds the watermark {source.mark_distance:,}"
            " transactions back",
            "SELECT pid, usename, xact_start FROM pg_stat_activity WHERE backend_xid IS NOT NULL"
            " ORDER BY age(backend_xid) DESC;  -- on the primary",
        )


def cancelling_standby(facts: Facts) -> Iterator[Finding]:
    """A standby that cancels long reads to keep up with its primary."""
    source = facts.source
    if source is None or not source.standby:
        return
    delay, feedback = (
        source.settings[name] for name in ("max_standby_streaming_delay", "hot_standby_feedback")
    )
    if delay != "-1" and feedback != "on":
        yield warning(
            "source",
            f"this standby cancels reads that hold up replay for {int(delay) / 1000:g} s"
            " (max_standby_streaming_delay), and hot_standby_feedback is off",
            "ALTER SYSTEM SET hot_standby_feedback = on; SELECT pg_reload_conf();",
        )


def snapshots_not_shared(facts: Facts) -> Iterator[Finding]:
    """A standby: one connection reads it, and other tools may have harmed it by sharing a snapshot."""
    source = facts.source
    if source is None or not source.standby:
        return
    heaps = (pair.source.relation for pair in facts.tables)
    name = next((each.name.as_sql for each in heaps if each and each.kind == "r"), "a_table")
    yield note(
        "source",
        "a standby is read over one connection: where several share a snapshot of it (pg_dump --jobs"
        " does), PostgreSQL may hide committed rows from everybody there; such a standby differs from"
        " its primary, at the latest after a restart",
        f"SELECT count(*), sum(hashtextextended(t::text, 0)) FROM {name} AS t;"  # noqa: S608 - a name, quoted
        "  -- on both, while nobody writes; pg_basebackup makes a harmed standby anew",
    )


def read_only_target(facts: Facts) -> Iterator[Finding]:
    """A target that takes no writes: a standby, or a role whose transactions only read."""
    target = facts.target
    if target is None:
        return
    if target.standby:
        yield blocks("target", "it is a standby, which takes no writes", "SYNC_TARGET_URL: …")
    elif target.settings.get("default_transaction_read_only") == "on":
        yield blocks(
            "target",
            f"transactions of the role {target.role} only read (default_transaction_read_only)",
            f"ALTER ROLE {quoted(target.role)} IN DATABASE {quoted(target.database)}"
            " SET default_transaction_read_only = off;",
        )


def ddl_triggers(facts: Facts) -> Iterator[Finding]:
    """Event triggers on the target: a run makes tables, if only temporary ones, and they may refuse."""
    for name in facts.target.event_triggers if facts.target else ():
        yield note(
            "target",
            f"the event trigger {name} sees, and may refuse, the DDL of every run",
            f"ALTER EVENT TRIGGER {quoted(name)} DISABLE;",
        )
