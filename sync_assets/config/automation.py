"""When a table is synced by itself, how old it may get and what is checked, as YAML says it."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from sync_assets.config.strict import EMAIL, StrictModel, refuse, written

CRON_FIELDS = 5
FIVE_FIELDS = 'write five fields: minute, hour, day, month, day of the week, as in "*/15 * * * *"'
A_FRIDAY = datetime(2027, 1, 1, tzinfo=timezone.utc)
TIMES = 14
"""Times that are looked at, at least, of a schedule that does not come every day: a year of months."""

INTERVAL = re.compile(r"(\d+(?:\.\d+)?) ?(second|minute|hour|day|week)s?")


def _cron(text: str) -> str:
    """Refuse what Dagster's scheduler refuses, and days that never come, which would stop it."""
    from croniter import CroniterError, croniter

    try:
        fields = croniter.expand(text)[0]
        croniter(text).get_prev()
    except CroniterError as error:
        raise refuse(f"{FIVE_FIELDS}; croniter says: {error}") from None
    if len(fields) != CRON_FIELDS:
        raise refuse(f"{FIVE_FIELDS}; it has {len(fields)}")
    return text


def _timezone(text: str) -> str:
    if text not in zoneinfo.available_timezones():
        raise refuse("write a time zone's name, such as Europe/Berlin or UTC")
    return text


def interval(text: str) -> timedelta:
    """Read `30 minutes`, `1.5 hours`, `7 days`."""
    match = INTERVAL.fullmatch(text)
    length = timedelta(**{f"{match[2]}s": float(match[1])}) if match else timedelta()
    if not length:
        raise refuse("write a number and a unit, such as 30 minutes, 2 hours or 1 day")
    return length


def _interval(text: str) -> str:
    interval(text)
    return text


@cache
def longest_gap(cron: str) -> float:
    """The most seconds between two times of a schedule, a weekend's and a month's among them."""
    from croniter import croniter

    times, fields = croniter(cron, A_FRIDAY), croniter.expand(cron)[0]
    # Where days are alike one is enough, and where hours are, an hour.
    alike = [field == ["*"] for field in fields]
    days, least = (0 if all(alike[1:]) else 1, 2) if all(alike[2:]) else (4, TIMES)
    found = [times.get_next(float)]
    while len(found) < least or found[-1] - found[0] < max(days * 86400, 3600):
        found.append(times.get_next(float))
    return max(later - earlier for earlier, later in pairwise(found))


def _switch(value: Any) -> Any:
    """`true` is a check as it comes, `false` none."""
    return {True: {}, False: None}[value] if isinstance(value, bool) else value


Cron = Annotated[str, AfterValidator(_cron)]
Timezone = Annotated[str, AfterValidator(_timezone)]
Interval = Annotated[str, AfterValidator(_interval)]
Address = Annotated[str, written(EMAIL, "write an e-mail address")]
WebAddress = Annotated[
    str,
    written(r"https?://[^\s@]+", "write the UI's address, such as https://dagster.example.org"),
    AfterValidator(lambda text: text.rstrip("/")),
]


class CheckOptions(StrictModel):
    """How much a failed check matters."""

    severity: Literal["error", "warn"] = Field(
        "error", description="how Dagster shows a failure: `error` or `warn`"
    )
    blocking: bool = Field(
        default=False,
        description="let a failure of severity `error` fail the run, and what depends on the table"
        " wait; the rows are committed by then",
    )


class RowCountOptions(CheckOptions):
    """A check that compares row counts: its options, and how much the counts may differ."""

    tolerance: float = Field(
        0.0, ge=0, le=1, description="the share of the source's rows by which the counts may differ"
    )


class ContentOptions(CheckOptions):
    """A check that compares rows: its options, and how many rows are compared."""

    share: float = Field(
        0.01, gt=0, le=1, description="the share of the rows that is compared, at random; 1: all"
    )


class Checks(StrictModel):
    """The checks of a table; those that are not named do not exist."""

    key: Annotated[CheckOptions | None, BeforeValidator(_switch)] = Field(
        None, description="the target's key is unique and never NULL"
    )
    row_count: Annotated[RowCountOptions | None, BeforeValidator(_switch)] = Field(
        None, description="the target has the rows that the source had at the last sync"
    )
    content: Annotated[ContentOptions | None, BeforeValidator(_switch)] = Field(
        None, description="rows are the same on both ends, byte by byte"
    )
    schema_drift: Annotated[CheckOptions | None, BeforeValidator(_switch)] = Field(
        None, description="the target has the source's columns, of the same types"
    )


class Email(StrictModel):
    """Addresses that get mail."""

    to: list[Address] = Field(min_length=1, description="the addresses that get mail")
    sender: Address | None = Field(
        None, description="the address it comes from; else sync-assets@localhost"
    )


AlertKind = Literal["failure", "stale", "schema_change", "new_table", "full_pass"]
"""What people may want to be told of."""


class Alerts(StrictModel):
    """Where failures are told, and what is in the way of a sync; and what else, and what not."""

    webhook: bool = Field(
        default=False,
        description='post `{"text": …}` to the URL in `SYNC_ALERT_WEBHOOK`, as Slack takes it',
    )
    email: Email | None = Field(
        None, description="send mail through the server in `SYNC_ALERT_SMTP`, see below"
    )
    ui_url: WebAddress | None = Field(
        None, description="where people reach the Dagster UI, for the links in a message"
    )
    on: list[AlertKind] = Field(
        default=["failure", "stale", "schema_change", "new_table"],
        min_length=1,
        description="what is told: `failure`, a sync or a check that failed and what else is in the"
        " way of one; `stale`, a `freshness` that has passed; `schema_change`, columns of the source"
        " that a run has followed; `new_table`; `full_pass`, a run that read every row, and why",
    )

    @model_validator(mode="before")
    @classmethod
    def _on(cls, values: Any) -> Any:
        """In YAML 1.1, which PyYAML and Dagster read, a bare `on` is true."""
        return (
            {"on" if key is True else key: value for key, value in values.items()}
            if isinstance(values, dict)
            else values
        )

    @property
    def reach_somebody(self) -> bool:
        """Whether there is anybody to tell."""
        return self.webhook or self.email is not None

    def tell(self, kind: AlertKind) -> bool:
        """Whether somebody wants to be told of this."""
        return self.reach_somebody and kind in self.on


class AutomationOptions(StrictModel):
    """What a table may say about its automation, and `defaults` for all."""

    automation: Literal["stopped", "running"] | None = Field(
        None,
        description="`running` lets the schedules below, or without `schedule` the change sensor,"
        " start by themselves; `stopped` leaves that to a person in the UI",
    )
    schedule: Cron | None = Field(None, description="sync at these times, a cron expression")
    delete_schedule: Cron | None = Field(
        None,
        description="look for deleted rows at these times only, not in each run; needs `deletes`",
    )
    reconcile: Cron | None = Field(
        None, description="read every row again at these times and correct what differs"
    )
    timezone: Timezone | None = Field(
        None, description="where these times hold, such as `Europe/Berlin`"
    )
    freshness: Interval | None = Field(
        None, description="how old the last sync may be, such as `30 minutes`"
    )
    checks: Checks | None = Field(None, description="what Dagster checks after a sync, see below")


@dataclass(frozen=True, slots=True)
class Automation:
    """The automation of one table, as sensors and schedules take it.

    `own` are the keys that the table writes itself; the others come from `defaults`. A table that
    is neither running nor stopped says nothing of it.
    """

    running: bool = False
    stopped: bool = False
    schedule: str | None = None
    delete_schedule: str | None = None
    reconcile: str | None = None
    timezone: str = "UTC"
    freshness: timedelta | None = None
    checks: Checks = field(default_factory=Checks)
    own: frozenset[str] = frozenset()

    @classmethod
    def of(cls, chosen: dict[str, Any], own: Iterable[str]) -> Automation:
        """From the values that were set, `own` by the table itself."""
        names = ("schedule", "delete_schedule", "reconcile", "timezone", "checks")
        values = {name: chosen[name] for name in names if name in chosen}
        if "freshness" in chosen:
            values["freshness"] = interval(chosen["freshness"])
        values |= {name: chosen.get("automation") == name for name in ("running", "stopped")}
        return cls(own=frozenset(own) & values.keys(), **values)

    @property
    def freshness_seconds(self) -> float | None:
        """How old the last sync may be."""
        return self.freshness.total_seconds() if self.freshness else None

    @property
    def is_freshness_too_short(self) -> bool:
        """Whether the table gets too old by its schedule alone."""
        allowed, cron = self.freshness_seconds, self.schedule
        return allowed is not None and cron is not None and allowed <= longest_gap(cron)

    @property
    def tolerated(self) -> timedelta | None:
        """How old the last sync is before that is told: never while the schedule's next time is awaited."""
        if self.freshness is None or self.schedule is None or not self.is_freshness_too_short:
            return self.freshness
        return self.freshness + timedelta(seconds=longest_gap(self.schedule))

    @property
    def times(self) -> tuple[object, ...]:
        """What members of a snapshot group must agree on."""
        return (self.running, self.schedule, self.delete_schedule, self.reconcile, self.timezone)


Automated = TypeVar("Automated")


def chosen_and_status(
    tables: Sequence[Automated], starts: Callable[[Automated], bool]
) -> tuple[list[Automated], bool]:
    """The tables that one sensor or schedule is for, and whether it starts by itself.

    It is for the tables that are to be started, where there are any; else for all, switched off.
    """
    chosen = [table for table in tables if starts(table)]
    return (chosen, True) if chosen else (list(tables), False)
