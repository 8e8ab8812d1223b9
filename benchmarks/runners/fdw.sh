#!/usr/bin/env bash
# postgres_fdw on the target: INSERT … SELECT, then the key; later a MERGE from the foreign table, of what
# the cursor says is new or, without one, of everything.
. "$(dirname "$0")/common.sh"
case $1 in
prepare)
  read -r host port database user password <<< "$SOURCE_PARTS"
  target_sql -c "CREATE EXTENSION postgres_fdw" -c "CREATE SCHEMA far" \
    -c "CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw
        OPTIONS (host '$host', port '$port', dbname '$database', fetch_size '10000')" \
    -c "CREATE USER MAPPING FOR CURRENT_USER SERVER far OPTIONS (user '$user', password '$password')" \
    -c "IMPORT FOREIGN SCHEMA public LIMIT TO ($TABLE) FROM SERVER far INTO far" ;;
initial) target_sql -1 -c "$CREATE_TABLE" -c "INSERT INTO $TABLE SELECT * FROM far.$TABLE" -c "$ADD_KEY" ;;
*)
  from=far.$TABLE
  if [ -n "$CURSOR" ]; then
    from="(SELECT * FROM far.$TABLE WHERE $CURSOR > '$(target_sql -c "SELECT max($CURSOR) FROM $TABLE")')"
  fi
  target_sql -c "${MERGE/USING incoming/USING $from}" ;;
esac
