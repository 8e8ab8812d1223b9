"""What a component's `translation` makes of the specs of its targets, as Dagster's own components do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg
from pydantic import ValidationError

from sync_assets.config.model import SyncedTable
from sync_assets.config.templates import Environment
from sync_assets.config.yaml_file import Document
from sync_assets.runs.unexported import unexported

with unexported():
    from dagster.components.resolved.core_models import AssetAttributesModel
    from dagster.components.utils.translation import TranslatorResolvingInfo

Translate = Callable[[dg.AssetSpec, SyncedTable], dg.AssetSpec]

PLACE = ("attributes", "translation")


def translation(
    document: Document, written: Mapping[str, Any], context: dg.ComponentLoadContext
) -> Translate:
    """What changes a spec as `written`, whose values may be templates.

    They may use `source` and `target`, each with `schema` and `name`, `table` and `spec`. Raises
    ConfigurationError with the line of what cannot be resolved.
    """
    try:
        model = AssetAttributesModel.model_validate(written)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = (*PLACE, *first["loc"][:1])
        known = ", ".join(sorted(AssetAttributesModel.model_fields))
        unknown = first["type"] == "extra_forbidden"
        said = f"the key is not known; known keys are {known}" if unknown else first["msg"]
        raise document.error(place, said) from None
    resolving = context.resolution_context.with_scope(env=Environment())
    info = TranslatorResolvingInfo(model, resolving, "translation")

    def translate(spec: dg.AssetSpec, table: SyncedTable) -> dg.AssetSpec:
        ends = {"source": table.table.source, "target": table.table.target}
        try:
            return info.get_asset_spec(spec, {**ends, "table": table, "spec": spec})
        except Exception as error:  # noqa: BLE001 - a template may raise anything
            # Whatever a template raises, Dagster wraps in pages of its own.
            problem = f"for {table.table.source}: {str(error).strip().splitlines()[-1]}"
            raise document.error(PLACE, problem) from None

    return translate
