#!/usr/bin/env bash
# All tables of a database, by one of: run (`sync-assets run`), dump (pg_dump | psql), pgcopydb, sling.
. "$(dirname "$0")/common.sh"
way=$1 step=$2
export SYNC_DEFS=$ROOM/defs SYNC_SOURCE_URL=$SOURCE_URL SYNC_TARGET_URL=$TARGET_URL
export SLING_DISABLE_TELEMETRY=TRUE SLING_HOME_DIR=$ROOM/sling
export SRC="$SOURCE_URL?sslmode=disable" TGT="$TARGET_URL?sslmode=disable"
case $way-$step in
run-prepare)
  mkdir -p "$SYNC_DEFS"
  { printf 'type: sync_assets.TableSync\nattributes:\n  tables:\n'
    for table in $ASKED; do echo "    - source: public.$table"; done; } > "$SYNC_DEFS/defs.yaml" ;;
run-plan) exec "$SYNC_ASSETS" plan > /dev/null ;;
run-named) exec "$SYNC_ASSETS" run --json $ASKED > /dev/null ;;
run-*) exec "$SYNC_ASSETS" run --json > /dev/null ;;
dump-initial)
  pg_dump --no-owner "$SOURCE_URL" | target_sql -1 -f - > /dev/null ;;
pgcopydb-initial)
  pgcopydb clone --source "$SOURCE_URL" --target "$TARGET_URL" --dir "$ROOM/work" --no-owner \
    --no-acl --skip-large-objects --skip-extensions --table-jobs 2 --index-jobs 2 >&2 ;;
sling-prepare)
  mkdir -p "$SLING_HOME_DIR"
  chmod +x "$VENV"/lib/python3*/site-packages/sling_linux_amd64/bin/sling-linux-amd64 ;;
sling-*)
  mode=incremental
  [ "$step" = initial ] && mode=full-refresh
  exec "$VENV"/lib/python3*/site-packages/sling_linux_amd64/bin/sling-linux-amd64 run --src-conn SRC \
    --src-stream 'public.*' --tgt-conn TGT --tgt-object 'public.{stream_table}' --primary-key id \
    --mode "$mode" >&2 ;;
esac
