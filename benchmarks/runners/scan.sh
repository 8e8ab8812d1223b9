#!/usr/bin/env bash
# One filtered scan of the source: what it takes to see that nothing has changed.
. "$(dirname "$0")/common.sh"
[ "$1" = unchanged ] || exit 0
source_sql <<SQL
SELECT pg_snapshot_xmin(pg_current_snapshot()) AS mark \gset
COPY (SELECT * FROM $TABLE WHERE age(xmin) <= age(:'mark'::xid8::xid)) TO STDOUT;
SQL
