#!/usr/bin/env bash
# pg_dump into psql: data and primary key, in one transaction. It knows no changes: all of it again.
. "$(dirname "$0")/common.sh"
[ "$1" = prepare ] && exit
clean=(); [ "$1" = initial ] || clean=(--clean --if-exists)
# Not the post-data section: of W2 it would build a second index, which nobody else does.
{
  pg_dump --no-owner --section=pre-data --section=data "${clean[@]}" --table "$TABLE" "$SOURCE_URL"
  echo "$ADD_KEY;"
} | target_sql -1 -f - > /dev/null
