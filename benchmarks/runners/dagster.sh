#!/usr/bin/env bash
# `sync-assets run`: the same sync as a Dagster run, recorded in an instance of its own.
. "$(dirname "$0")/common.sh"
export SYNC_DEFS=$ROOM/defs SYNC_SOURCE_URL=$SOURCE_URL SYNC_TARGET_URL=$TARGET_URL DAGSTER_HOME=$ROOM/home
case $1 in
prepare)
  mkdir -p "$SYNC_DEFS" "$DAGSTER_HOME"
  echo 'telemetry: {enabled: false}' > "$DAGSTER_HOME/dagster.yaml"
  printf 'type: sync_assets.TableSync\nattributes:\n  tables:\n    - source: public.%s\n' "$TABLE" > "$SYNC_DEFS/defs.yaml" ;;
*) exec "$SYNC_ASSETS" run --json ;;
esac
