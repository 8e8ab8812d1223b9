"""Asset checks: each a step of its own, so that it also runs alone."""

from collections.abc import Callable
from typing import Any

import dagster as dg
from pydantic import Field

from sync_assets.assets import specs
from sync_assets.config.automation import CheckOptions, ContentOptions, RowCountOptions
from sync_assets.config.model import SyncedTable
from sync_assets.engine import DataCopyEngine
from sync_assets.engine.errors import SyncError
from sync_assets.engine.postgres.access.database import DatabaseOrUrl
from sync_assets.engine.table import Deletes, SyncMode
from sync_assets.engine.verify.counts import RowCount, check_key, count_rows, schema_drift
from sync_assets.engine.verify.sample import Sample, sample_rows
from sync_assets.plain_text import as_markdown
from sync_assets.runs.failures import failure_of, retry_of
from sync_assets.runs.run_watch import stopped_with_run

SEVERITIES = {"error": dg.AssetCheckSeverity.ERROR, "warn": dg.AssetCheckSeverity.WARN}
Verdict = tuple[bool | None, str, dict[str, Any]]
"""Whether it passed, None where nothing was compared; one sentence, and the numbers."""

DOES_NOT_APPLY: Verdict = (True, "Does not apply: the table is synced without a key.", {})
"""Of a check that finds rows by their key; `sync-assets check` names the tables."""

NOTHING = "Nothing was compared: the source has no row that the last sync has seen."

UNSETTLED = (
    "They may have changed since the last sync: the source's rows tell no versions, and it was"
    " written to."
)

Context = dg.AssetCheckExecutionContext


class ContentConfig(dg.Config):
    """How much of a table one run of its content check compares."""

    whole: bool = Field(default=False, description="Compare every row, not a sample.")


def checks_of(synced: SyncedTable) -> list[dg.AssetsDefinition]:
    """The checks a table asks for."""
    made = (
        _content_check(synced, options)
        if isinstance(options, ContentOptions)
        else _check(synced, name, options)
        for name, options in synced.automation.checks
        if options is not None
    )
    return [specs.with_true_keys(each, [specs.target_key(synced)]) for each in made]


DESCRIPTIONS = {
    "key": "The key of the target is unique and never NULL.",
    "row_count": "The target has the rows that the source had at the last sync.",
    "content": "Rows are the same on both ends; in the launchpad, whole compares all of them.",
    "schema_drift": "The target has the source's columns, of types that hold them.",
}


def _check(synced: SyncedTable, name: str, options: CheckOptions) -> dg.AssetChecksDefinition:
    judge = {"key": _key, "row_count": _row_count, "schema_drift": _drift}[name]

    @dg.multi_asset_check(**_definition(synced, name, options))
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        return _result(context, options, lambda: judge(synced, *_urls(context, synced)))

    return check


def _content_check(synced: SyncedTable, options: ContentOptions) -> dg.AssetChecksDefinition:
    @dg.multi_asset_check(**_definition(synced, "content", options))
    def check(context: dg.AssetCheckExecutionContext, config: ContentConfig) -> dg.AssetCheckResult:
        def judge() -> Verdict:
            urls = _urls(context, synced)
            if config.whole or options.share >= 1:
                return _whole(context, synced, *urls)
            return _sample(synced, options, *urls)

        return _result(context, options, judge)

    return check


def _definition(synced: SyncedTable, name: str, options: CheckOptions) -> dict[str, Any]:
    key, said = specs.target_key(synced), DESCRIPTIONS[name]
    asset = specs.plain_key(key)
    spec = dg.AssetCheckSpec(name, asset=asset, description=said, blocking=options.blocking)
    return {
        # Dagster's own name for the step joins key and check, and then two may be the same.
        "name": specs.check_op(key, name),
        "specs": [spec],
        "pool": specs.pool(synced),
        "required_resource_keys": {synced.source_connection, synced.target_connection},
    }


def _urls(context: Context, synced: SyncedTable) -> tuple[DatabaseOrUrl, DatabaseOrUrl]:
    resources = context.op_execution_context.resources
    source, target = (
        getattr(resources, name).database()
        for name in (synced.source_connection, synced.target_connection)
    )
    return source, target


def _result(
    context: Context, options: CheckOptions, judge: Callable[[], Verdict]
) -> dg.AssetCheckResult:
    try:
        passed, sentence, numbers = judge()
    except SyncError as error:
        retry = retry_of(error, context.run, context.retry_number)
        raise (retry or failure_of(error)) from None
    # Nothing is known to be wrong: that must neither look like a pass nor stop what comes after.
    severity = "warn" if passed is None else options.severity
    return dg.AssetCheckResult(
        passed=bool(passed),
        severity=SEVERITIES[severity],
        # Shown as Markdown, and it holds names of columns.
        description=as_markdown(sentence),
        metadata=numbers,
    )


def _key(synced: SyncedTable, _source: DatabaseOrUrl, target: DatabaseOrUrl) -> Verdict:
    found = check_key(target, synced.table)
    if found is None:
        return DOES_NOT_APPLY
    key = ", ".join(found.columns)
    sentence = (
        f"Keys ({key}) that are there twice: {found.duplicates:,}; with a NULL: {found.nulls:,}."
    )
    numbers = {"key": key, "rows": found.rows, "nulls": found.nulls}
    return (
        not (found.duplicates or found.nulls),
        sentence,
        numbers | {"duplicates": found.duplicates},
    )


def _row_count(synced: SyncedTable, source: DatabaseOrUrl, target: DatabaseOrUrl) -> Verdict:
    found = count_rows(source, target, synced.table)
    missing = max(found.settled - found.target, 0)
    # Where deletes are ignored, or swept only now and then, the target may have more.
    extra = max(found.target - found.source, 0) if _removes(synced) else 0
    options = synced.automation.checks.row_count or RowCountOptions()
    passed = missing + extra <= options.tolerance * found.source
    sentence = f"Rows too few on the target: {missing:,}; too many: {extra:,}."
    numbers = {"rows_in_source": found.source, "rows_in_target": found.target}
    numbers |= {"rows_missing": missing, "rows_extra": extra}
    return _told(sentence, numbers, found, passed=passed)


def _told(
    sentence: str, numbers: dict[str, Any], found: RowCount | Sample, *, passed: bool
) -> Verdict:
    if passed and not found.tells:
        return None, NOTHING, numbers
    if not passed and found.unsettled:
        return None, f"{sentence} {UNSETTLED}", numbers
    return passed, sentence, numbers


def _removes(synced: SyncedTable) -> bool:
    table = synced.between_sweeps
    return table.mode is SyncMode.FULL_SYNC or table.deletes is not Deletes.IGNORE


def _sample(
    synced: SyncedTable, options: ContentOptions, source: DatabaseOrUrl, target: DatabaseOrUrl
) -> Verdict:
    found = sample_rows(source, target, synced.table, options.share)
    if found is None:
        return DOES_NOT_APPLY
    wrong = found.differing + found.missing
    sentence = f"Of {found.rows:,} rows {found.differing:,} differ, {found.missing:,} are missing."
    numbers = {"rows_compared": found.rows, "rows_differing": found.differing}
    numbers |= {"rows_missing": found.missing}
    return _told(sentence, numbers, found, passed=not wrong)


def _whole(
    context: Context, synced: SyncedTable, source: DatabaseOrUrl, target: DatabaseOrUrl
) -> Verdict:
    run_id = context.run.run_id
    engine = DataCopyEngine(source, target, run_id=run_id, limits=synced.limits)
    with stopped_with_run(context.instance, run_id, engine.cancel):
        found = engine.verify(synced.between_sweeps, sync=False)
    sentence = (
        f"Of {found.rows_source:,} rows {found.rows_wrong:,} are wrong on the target,"
        f" {found.rows_pending:,} wait for the next sync;"
        f" {found.rows_kept:,} are kept that only the target has."
    )
    names = ("source", "target", "wrong", "pending", "kept", "differing")
    numbers = {f"rows_{name}": getattr(found, f"rows_{name}") for name in names}
    compared = not found.faultless or found.tells
    return (found.faultless, sentence, numbers) if compared else (None, NOTHING, numbers)


def _drift(synced: SyncedTable, source: DatabaseOrUrl, target: DatabaseOrUrl) -> Verdict:
    found = schema_drift(source, target, synced.table)
    problems = [
        *(f"{name} is missing on the target" for name in found.missing),
        *found.differing,
    ]
    numbers = {"missing": list(found.missing), "differing": list(found.differing)}
    sentence = "; ".join(problems) or "The columns agree."
    return not problems, sentence, numbers | {"only_on_target": list(found.extra)}
