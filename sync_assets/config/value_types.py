"""The values of single keys in defs.yaml: what each may be."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator

from sync_assets.config.automation import Interval, interval
from sync_assets.config.strict import EMAIL, StrictModel, Word, refuse, written
from sync_assets.engine.computed.expression import require_expression
from sync_assets.engine.computed.masks import FORMS, KEPT, WORDS, Mask
from sync_assets.engine.errors import ConfigurationError
from sync_assets.engine.limits import Hours, Limits, PauseWhile
from sync_assets.engine.names import IDENTIFIER_BYTES, RelationName, nearest
from sync_assets.engine.table import Carry

# Dagster's own rules, kept here so that reading the configuration does not load Dagster.
TAG_KEY = re.compile(r"([A-Za-z0-9_.-]{1,63}/)?[A-Za-z0-9_.-]{1,63}")
TAG_VALUE = re.compile(r"[A-Za-z0-9_.-]{0,63}")
PLACE = re.compile(r"\{(\w*)\}")
"""What a target may take from its source's name."""

CONNECTION = r"[A-Za-z_][A-Za-z0-9_]*"
NO_CONNECTION = "write the name of a connection (letters, digits and '_'), not a URL"

OWNER = rf"{EMAIL}|team:(?s:.+)"


def _accepted_by(check: Callable[[str], object]) -> AfterValidator:
    """Text against which `check` raises no ConfigurationError."""

    def accepted(text: str) -> str:
        try:
            check(text)
        except ConfigurationError as error:
            raise refuse(f"{error.message}; {error.remedy.rstrip('.')}") from None
        return text

    return AfterValidator(accepted)


def _column(text: str) -> str:
    if not text or "\0" in text or len(text.encode()) > IDENTIFIER_BYTES:
        raise refuse(f"a column's name has 1 to {IDENTIFIER_BYTES} bytes")
    return text


def _places(text: str) -> str:
    for each in PLACE.findall(text):
        if each not in ("schema", "table"):
            raise refuse(
                f"{{{each}}} stands for nothing; use {{schema}} and {{table}}, the source's"
            )
    return text


def _places_of_source(text: str) -> str:
    _places(text.replace("{connection}", ""))
    if not text or "\0" in text:
        raise refuse("name what tells this source's rows from the others'")
    return text


def _columns(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _different(columns: list[str]) -> list[str]:
    if not columns or len(set(columns)) < len(columns):
        raise refuse("name each column once")
    return columns


def _connections(value: Any) -> list[str]:
    names = _columns(value)
    if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
        raise refuse("write the name of a connection, or a list of them")
    if not all(re.fullmatch(CONNECTION, each) for each in names):
        raise refuse(NO_CONNECTION)
    if not names or len(set(names)) < len(names):
        raise refuse("name each connection once")
    return names


def _mask(value: Any) -> Mask:
    try:
        return Mask.parse(value)
    except ConfigurationError:
        said = next(iter(value), "") if isinstance(value, dict) else str(value)
        close = nearest(said, (*WORDS, KEPT))
        raise refuse(f"write {FORMS}" + (f"; did you mean {close}?" if close else "")) from None


def _carry(value: Any) -> Any:
    return list(Carry) if value == "all" else _columns(value)


def _history(value: Any) -> bool | str:
    if isinstance(value, bool):
        return value
    if isinstance(value, dict) and set(value) == {"table"} and isinstance(value["table"], str):
        name = _column(_places(value["table"]))
        if "." not in name:
            return name
    raise refuse("write true, or {table: its_name}; it is made in the target's schema")


def _lookback(value: Any) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if number else value


def _tags(tags: dict[str, str]) -> dict[str, str]:
    for key, value in tags.items():
        if not TAG_KEY.fullmatch(key) or not TAG_VALUE.fullmatch(value):
            raise refuse(
                f"the tag {key!r}: {value!r} does not fit Dagster; keys and values have at most"
                " 63 letters, digits, '_', '-' and '.', keys may have a namespace before a '/'"
            )
    return tags


Relation = Annotated[str, _accepted_by(RelationName.parse)]
Relations = Annotated[list[Relation], BeforeValidator(_columns)]
Target = Annotated[str, AfterValidator(_places), _accepted_by(RelationName.parse)]
Column = Annotated[str, AfterValidator(_column)]
Key = Annotated[
    list[Column],
    BeforeValidator(_columns, json_schema_input_type=str | list[str]),
    AfterValidator(_different),
]
Names = Annotated[list[Column], BeforeValidator(_columns), AfterValidator(_different)]
Expression = Annotated[str, _accepted_by(lambda text: require_expression(text, "it"))]
MaskOfColumn = Annotated[
    Mask,
    PlainValidator(
        _mask,
        json_schema_input_type=Literal["hmac", "redact"]
        | dict[Literal["keep_last"], Annotated[int, Field(ge=1)]],
    ),
]
Carried = Annotated[
    list[Word[Carry]],
    BeforeValidator(_carry, json_schema_input_type=Literal["all"] | list[Carry]),
]
History = Annotated[
    bool | str,
    PlainValidator(_history, json_schema_input_type=bool | dict[Literal["table"], str]),
]
Lookback = Annotated[str, BeforeValidator(_lookback)]
Owners = list[
    Annotated[str, written(OWNER, "write an e-mail address, or team: and the team's name")]
]
Tags = Annotated[dict[str, str], AfterValidator(_tags)]
Group = Annotated[
    str,
    written(r"[A-Za-z0-9_]+(/[A-Za-z0-9_]+)*", "a group is written with letters, digits and '_'"),
]
Name = Annotated[str, written(r"[A-Za-z0-9_]+", "a name is written with letters, digits and '_'")]
Connection = Annotated[
    str,
    written(CONNECTION, NO_CONNECTION),
]


Connections = Annotated[
    list[str], PlainValidator(_connections, json_schema_input_type=Connection | list[Connection])
]


class Partition(StrictModel):
    """The table of many sources that a target is one partition of."""

    table: Target = Field(
        description="the table of all sources, made with the first of them; `{schema}` and `{table}`"
        " stand for the source's"
    )
    column: Column = Field(description="its column that says which source a row is from")
    value: Annotated[str, AfterValidator(_places_of_source)] = Field(
        description="what that column holds in the rows of this source; `{connection}`, `{schema}` and"
        " `{table}` stand for the source's"
    )


class Workers(StrictModel):
    """Limits for the workers that export one table."""

    default_workers: int | None = Field(
        4,
        ge=1,
        description="how many export one table, held between `min_workers` and `max_workers` and to"
        " the number of page ranges; null takes what `sync-assets workers` recommends",
    )
    max_workers: int = Field(8, ge=1, description="at most so many")
    min_workers: int = Field(2, ge=1, description="at least so many, where there are page ranges")
    batch_size: int = Field(1000, ge=1, description="rows that a batch file holds at least")


class Pause(StrictModel):
    """States of the source in which a run waits before it begins to read."""

    replication_lag: Interval | None = Field(
        None,
        description="while any standby of the source is behind by more than this, such as"
        " `30 seconds`, as `replay_lag` in `pg_stat_replication` shows it",
    )
    active_sessions: int | None = Field(
        None,
        ge=0,
        description="while more than so many sessions of clients are at work on the source's server,"
        " without ours",
    )
    between: Annotated[str, _accepted_by(Hours.parse)] | None = Field(
        None,
        description="in these hours of each day, such as `08:00-18:00 Europe/Berlin`; they may cross"
        " midnight",
    )

    def as_engine(self) -> PauseWhile:
        """The states as the engine takes them."""
        lag = self.replication_lag
        return PauseWhile(
            replication_lag=None if lag is None else interval(lag).total_seconds(),
            active_sessions=self.active_sessions,
            between=None if self.between is None else Hours.parse(self.between),
        )


class SourceLimits(StrictModel):
    """What a run may take from the source."""

    max_mb_per_second: float | None = Field(
        None,
        gt=0,
        description="megabytes (10^6 bytes of COPY data) that a run reads in a second, all its workers"
        " together, and all runs of one process from this source",
    )
    pause_while: Pause | None = Field(
        None,
        description="when a run waits before it takes a snapshot, see below; it never waits with one",
    )
    piece_mb: int = Field(
        16,
        ge=0,
        description="megabytes of a table that a first load or a full pass reads under one snapshot; a"
        " table of more than eight such [pieces](first-load.md) is read by them, a smaller one where the rate would take"
        " too long, and with 0 none is",
    )
    max_snapshot_age: Interval = Field(
        "1 minute",
        description="how long a piece may hold its snapshot; a longer one is cut smaller",
    )

    def as_engine(self) -> Limits:
        """The limits as the engine takes them."""
        pause = self.pause_while
        return Limits(
            self.max_mb_per_second,
            pause.as_engine() if pause else None,
            self.piece_mb,
            interval(self.max_snapshot_age).total_seconds(),
        )
