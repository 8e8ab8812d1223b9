# What the shell runners share. The harness gives them SOURCE_URL, TARGET_URL, TABLE, KEY, CURSOR (empty
# where the table has none), CREATE_TABLE, ADD_KEY, MERGE (from `incoming`, only rows that differ) and
# ROOM, a folder that stays from step to step. The last argument is prepare, initial, changes or unchanged.
set -euo pipefail
source_sql() { psql -qXAt -v ON_ERROR_STOP=1 "$SOURCE_URL" "$@"; }
target_sql() { psql -qXAt -v ON_ERROR_STOP=1 "$TARGET_URL" "$@"; }
