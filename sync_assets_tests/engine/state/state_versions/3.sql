-- What version 3 of the state was created as: never edited.
CREATE SCHEMA sync_assets;
CREATE TABLE sync_assets.version (version integer PRIMARY KEY);
INSERT INTO sync_assets.version VALUES (3);
CREATE TABLE sync_assets.state (
  target_schema text, target_table text, PRIMARY KEY (target_schema, target_table),
  version bigint NOT NULL,
  source_schema text NOT NULL, source_table text NOT NULL,
  mode text NOT NULL,
  watermark bigint NOT NULL,
  snapshot_xmax bigint NOT NULL,
  source_lsn bigint NOT NULL,
  source_max_xmin bigint,
  system_identifier text, source_database bigint NOT NULL, timeline integer,
  postmaster_start timestamptz NOT NULL,
  fingerprint text NOT NULL, configuration text NOT NULL, target_storage text NOT NULL,
  rows_in_target bigint,
  snapshot_at timestamptz NOT NULL,
  cursor_column text, cursor_mark text,
  columns jsonb,
  samples jsonb NOT NULL DEFAULT '[]',
  positions jsonb NOT NULL DEFAULT '[]', mapped boolean NOT NULL DEFAULT false,
  synced_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  run_id text NOT NULL
);
COMMENT ON COLUMN sync_assets.state.watermark IS
  'pg_snapshot_xmin of the last export: every transaction below it had ended by then';
CREATE TABLE sync_assets.state_leaf (
  target_schema text, target_table text, leaf bigint,
  PRIMARY KEY (target_schema, target_table, leaf),
  FOREIGN KEY (target_schema, target_table) REFERENCES sync_assets.state ON DELETE CASCADE,
  filenode bigint NOT NULL, tablespace bigint NOT NULL, fingerprint text NOT NULL,
  columns jsonb
);
CREATE TABLE sync_assets.receipt (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  target_schema text NOT NULL, target_table text NOT NULL,
  run_id text NOT NULL,
  finished_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  receipt jsonb NOT NULL,
  UNIQUE (target_schema, target_table, run_id)
);
