#!/usr/bin/env bash
# Sling: full-refresh, then incremental by the key and, where there is one, the cursor.
. "$(dirname "$0")/common.sh"
export SLING_DISABLE_TELEMETRY=TRUE SLING_HOME_DIR=$ROOM/home
export SRC="$SOURCE_URL?sslmode=disable" TGT="$TARGET_URL?sslmode=disable"
binary=$(echo "$VENV"/lib/python3*/site-packages/sling_linux_amd64/bin/sling-linux-amd64)
update=(); [ -z "$CURSOR" ] || update=(--update-key "$CURSOR")
copy() {
  exec "$binary" run --src-conn SRC --src-stream "public.$READ" --tgt-conn TGT \
    --tgt-object "public.$TABLE" --primary-key "$KEY" "$@" >&2
}
case $1 in
prepare) mkdir -p "$SLING_HOME_DIR"; chmod +x "$binary" ;;
initial) copy --mode full-refresh ;;
*) copy --mode incremental "${update[@]}" ;;
esac
