"""`dg scaffold defs sync_assets.TableSync NAME`: a commented `defs.yaml` to begin with."""

from __future__ import annotations

import dagster as dg
from pydantic import BaseModel, Field

from sync_assets.engine.errors import ConfigurationError

DEFS = """\
# Keeps tables of one PostgreSQL database in step with those of another one.
type: {type}
attributes:
  # Both ends by the names of their resources, each a sync_assets.PostgresResource in your
  # Definitions: PostgresResource(url=dg.EnvVar("..."))
  source_connection: {source}
  target_connection: {target}
  # For every table that does not say otherwise. `deletes: ignore` leaves on the target what was
  # deleted on the source; `hard` deletes it there too.
  defaults: {{sync_mode: xmin_incremental, deletes: ignore}}
  tables:
    - source: public.orders
      # target: replica.orders       # else the same schema and table
      # key: [id]                    # else the primary key
      # sync_mode: full_sync         # read every row in each run
      # deletes: hard
      # owners: ["team:shop"]
"""


class TableSyncParams(BaseModel):
    """What `dg scaffold defs` may be told."""

    source_connection: str = Field("source", description="The resource of the source database.")
    target_connection: str = Field("target", description="The resource of the target database.")


class TableSyncScaffolder(dg.Scaffolder[TableSyncParams]):
    """Writes `defs.yaml`; raises ConfigurationError if Python was asked for."""

    @classmethod
    def get_scaffold_params(cls) -> type[TableSyncParams]:
        """The options of the command."""
        return TableSyncParams

    def scaffold(self, request: dg.ScaffoldRequest[TableSyncParams]) -> None:
        """Write the file, or a document at the end of one that is there."""
        if request.scaffold_format != "yaml":
            raise ConfigurationError(
                f"{request.type_name} is written in YAML", remedy="Leave out --format."
            )
        text = DEFS.format(
            type=request.type_name,
            source=request.params.source_connection,
            target=request.params.target_connection,
        )
        if request.append:
            with request.target_path.open("a", encoding="utf-8") as file:
                file.write(f"---\n{text}")
        else:
            (request.target_path / "defs.yaml").write_text(text, encoding="utf-8")
