"""Time-outs of our sessions: ours where they are shorter, else those that are set for the role.

A DBA who limits a role limits us: nothing here ever lifts what is set.
"""

from __future__ import annotations

LOCK = 10_000
"""Milliseconds that a session waits for a lock."""

IDLE = 60_000
"""Milliseconds that a session may be idle inside a transaction."""

NAMES = (
    "statement_timeout",
    "idle_in_transaction_session_timeout",
    "transaction_timeout",
    "idle_session_timeout",
)
"""What may be set for a role and ends a session or its statement."""

SHOWN = tuple(f"pg_catalog.current_setting('{name}', true)" for name in NAMES)
"""Their values, in a SELECT; NULL for one that the server does not know."""

AS_IDLE_AS_ALLOWED = "SET LOCAL idle_in_transaction_session_timeout TO DEFAULT"
"""For a session that is watched and holds a snapshot while others work: as long as the role may."""


def ours() -> tuple[str, str]:
    """What every session sets once, in a SELECT."""
    return (
        at_most("lock_timeout", LOCK, local=False),
        at_most("idle_in_transaction_session_timeout", IDLE, local=False),
    )


def at_most(name: str, milliseconds: int, *, local: bool = True) -> str:
    """What sets a time-out in a SELECT, unless a shorter one is in force."""
    now = (
        f"pg_catalog.date_part('epoch', pg_catalog.current_setting('{name}')::pg_catalog.interval)"
    )
    now = f"1000 OPERATOR(pg_catalog.*) {now}"
    lower = f"LEAST({milliseconds}, CASE WHEN {now} OPERATOR(pg_catalog.>) 0 THEN {now} END)"
    value = f"{lower}::pg_catalog.int8::pg_catalog.text"
    return f"pg_catalog.set_config('{name}', {value}, {str(local).lower()})"


def number_at_most(name: str, most: int) -> str:
    """What sets a number in a SELECT, for the session, unless a lower one is in force."""
    now = f"nullif(pg_catalog.current_setting('{name}')::pg_catalog.int4, 0)"
    return f"pg_catalog.set_config('{name}', LEAST({most}, {now})::pg_catalog.text, false)"
