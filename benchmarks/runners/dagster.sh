#!/usr/bin/env bash
# `sync-assets run`: the same sync as a Dagster run, recorded in an instance of its own. With `empty` the
# asset's body does nothing.
. "$(dirname "$0")/common.sh"
export SYNC_DEFS=$ROOM/defs SYNC_SOURCE_URL=$SOURCE_URL SYNC_TARGET_URL=$TARGET_URL DAGSTER_HOME=$ROOM/home
body=$1 step=$2
case $step in
prepare)
  mkdir -p "$SYNC_DEFS" "$DAGSTER_HOME"
  echo 'telemetry: {enabled: false}' > "$DAGSTER_HOME/dagster.yaml"
  printf 'type: sync_assets.TableSync\nattributes:\n  tables:\n    - source: public.%s\n' "$TABLE" > "$SYNC_DEFS/defs.yaml" ;;
*)
  program=("$SYNC_ASSETS")
  [ "$body" = sync ] || program=("$(dirname "$SYNC_ASSETS")/python" "$(dirname "$0")/empty_run.py")
  exec "${program[@]}" run --json ;;
esac
