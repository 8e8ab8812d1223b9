#!/usr/bin/env bash
# COPY out of one psql into another. Initial: the rows, then the key. Later: what is new since the mark
# before the last read, by `age(xmin)` or, with `cursor`, by the cursor; staged, and a MERGE. With `file`
# the rows carry their xid, and go through a file, as ours do.
. "$(dirname "$0")/common.sh"
by=$1 step=$2
mark() { source_sql -c "SELECT pg_snapshot_xmin(pg_current_snapshot())"; }
case $step in
prepare) ;;
initial)
  mark > "$ROOM/mark"
  if [ "$by" = file ]; then
    latest=$(cat "$ROOM/mark")
    xid="$latest::bigint + age('$latest'::xid8::xid) - (age(xmin)::bigint & 4294967295)"
    source_sql -c "COPY (SELECT *, $xid FROM $TABLE) TO STDOUT (FORMAT csv)" > "$ROOM/rows.csv"
    target_sql -1 -c "$CREATE_TABLE" -c "ALTER TABLE $TABLE ADD source_xmin bigint" \
      -c "\\copy $TABLE FROM '$ROOM/rows.csv' (FORMAT csv, FREEZE)" -c "$ADD_KEY"
    exit
  fi
  source_sql -c "COPY $TABLE TO STDOUT" |
    target_sql -1 -c "$CREATE_TABLE" -c "COPY $TABLE FROM STDIN (FREEZE)" -c "$ADD_KEY" ;;
*)
  if [ "$by" = cursor ]; then
    where="$CURSOR > '$(target_sql -c "SELECT max($CURSOR) FROM $TABLE")'"
  else
    where="age(xmin) <= age('$(cat "$ROOM/mark")'::xid8::xid)"
    mark > "$ROOM/mark"
  fi
  source_sql -c "COPY (SELECT * FROM $TABLE WHERE $where) TO STDOUT" |
    target_sql -1 -c "CREATE TEMP TABLE incoming (LIKE $TABLE)" -c "COPY incoming FROM STDIN" \
      -c "ANALYZE incoming" -c "$MERGE" ;;
esac
