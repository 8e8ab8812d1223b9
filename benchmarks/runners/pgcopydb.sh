#!/usr/bin/env bash
# pgcopydb clone of one table. Its changes are logical replication of a whole database: all of it again.
. "$(dirname "$0")/common.sh"
printf '[include-only-table]\npublic.%s\n' "$TABLE" > "$ROOM/filters.ini"
[ "$1" = prepare ] && exit
again=(); [ "$1" = initial ] || again=(--drop-if-exists)
rm -rf "$ROOM/work"
pgcopydb clone --source "$SOURCE_URL" --target "$TARGET_URL" --dir "$ROOM/work" \
  --filters "$ROOM/filters.ini" --no-owner --no-acl --skip-large-objects --skip-extensions \
  --table-jobs 2 --index-jobs 2 --split-tables-larger-than '100 MB' "${again[@]}" >&2
