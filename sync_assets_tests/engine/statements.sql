-- export_chunk: whole, a range of pages
COPY (SELECT "id", "total", "email", (CASE WHEN xmin OPERATOR(pg_catalog.=) '2'::pg_catalog.xid THEN 2 ELSE 1009::bigint OPERATOR(pg_catalog.+) pg_catalog.age('1009'::pg_catalog.xid) OPERATOR(pg_catalog.-) (pg_catalog.age(xmin)::bigint OPERATOR(pg_catalog.&) 4294967295) END)
  FROM ONLY "shop"."orders"
  WHERE ctid OPERATOR(pg_catalog.>=) '(0,0)'::pg_catalog.tid AND ctid OPERATOR(pg_catalog.<) '(1024,0)'::pg_catalog.tid)
  TO STDOUT (FORMAT csv, ENCODING 'UTF8')

-- export_chunk: by xid
COPY (SELECT "id", "total", "email", (CASE WHEN xmin OPERATOR(pg_catalog.=) '2'::pg_catalog.xid THEN 2 ELSE 1009::bigint OPERATOR(pg_catalog.+) pg_catalog.age('1009'::pg_catalog.xid) OPERATOR(pg_catalog.-) (pg_catalog.age(xmin)::bigint OPERATOR(pg_catalog.&) 4294967295) END)
  FROM ONLY "shop"."orders"
  WHERE ctid OPERATOR(pg_catalog.>=) '(0,0)'::pg_catalog.tid AND ctid OPERATOR(pg_catalog.<) '(1024,0)'::pg_catalog.tid AND (pg_catalog.age(xmin) OPERATOR(pg_catalog.<=) pg_catalog.age('900'::pg_catalog.xid) AND pg_catalog.age(xmin) OPERATOR(pg_catalog.>=) pg_catalog.age('1009'::pg_catalog.xid) OR pg_catalog.age('900'::pg_catalog.xid) OPERATOR(pg_catalog.<) 0))
  TO STDOUT (FORMAT csv, ENCODING 'UTF8')

-- export_chunk: a piece: rows older than the mark
COPY (SELECT "id", "total", "email", (CASE WHEN xmin OPERATOR(pg_catalog.=) '2'::pg_catalog.xid THEN 2 ELSE 1009::bigint OPERATOR(pg_catalog.+) pg_catalog.age('1009'::pg_catalog.xid) OPERATOR(pg_catalog.-) (pg_catalog.age(xmin)::bigint OPERATOR(pg_catalog.&) 4294967295) END)
  FROM ONLY "shop"."orders"
  WHERE ctid OPERATOR(pg_catalog.>=) '(0,0)'::pg_catalog.tid AND ctid OPERATOR(pg_catalog.<) '(1024,0)'::pg_catalog.tid AND NOT (pg_catalog.age(xmin) OPERATOR(pg_catalog.<=) pg_catalog.age('900'::pg_catalog.xid) AND pg_catalog.age(xmin) OPERATOR(pg_catalog.>=) pg_catalog.age('1009'::pg_catalog.xid) OR pg_catalog.age('900'::pg_catalog.xid) OPERATOR(pg_catalog.<) 0))
  TO STDOUT (FORMAT csv, ENCODING 'UTF8')

-- export_chunk: a piece, by a scan
COPY (SELECT "id", "total", "email", (CASE WHEN xmin OPERATOR(pg_catalog.=) '2'::pg_catalog.xid THEN 2 ELSE 1009::bigint OPERATOR(pg_catalog.+) pg_catalog.age('1009'::pg_catalog.xid) OPERATOR(pg_catalog.-) (pg_catalog.age(xmin)::bigint OPERATOR(pg_catalog.&) 4294967295) END)
  FROM (SELECT *, tableoid, xmin, ctid
  FROM ONLY "shop"."orders" LIMIT 9000) AS scanned
  WHERE CASE WHEN CASE WHEN ctid OPERATOR(pg_catalog.<) '(640,0)'::pg_catalog.tid THEN pg_catalog.current_setting('sync_assets.scan_came_to') OPERATOR(pg_catalog.=) '' AND (pg_catalog.current_setting('sync_assets.scan_began') OPERATOR(pg_catalog.<>) '' OR pg_catalog.set_config('sync_assets.scan_began', ctid::pg_catalog.text, true) OPERATOR(pg_catalog.<>) '') WHEN ctid OPERATOR(pg_catalog.>=) '(896,0)'::pg_catalog.tid THEN pg_catalog.set_config('sync_assets.scan_came_to', ctid::pg_catalog.text, true) OPERATOR(pg_catalog.<>) '' ELSE true END THEN ctid OPERATOR(pg_catalog.>=) '(512,0)'::pg_catalog.tid AND ctid OPERATOR(pg_catalog.<) '(1024,0)'::pg_catalog.tid AND NOT (pg_catalog.age(xmin) OPERATOR(pg_catalog.<=) pg_catalog.age('900'::pg_catalog.xid) AND pg_catalog.age(xmin) OPERATOR(pg_catalog.>=) pg_catalog.age('1009'::pg_catalog.xid) OR pg_catalog.age('900'::pg_catalog.xid) OPERATOR(pg_catalog.<) 0) END)
  TO STDOUT (FORMAT csv, ENCODING 'UTF8')

-- export_chunk: a piece, after a scan
COPY (SELECT "id", "total", "email", (CASE WHEN xmin OPERATOR(pg_catalog.=) '2'::pg_catalog.xid THEN 2 ELSE 1009::bigint OPERATOR(pg_catalog.+) pg_catalog.age('1009'::pg_catalog.xid) OPERATOR(pg_catalog.-) (pg_catalog.age(xmin)::bigint OPERATOR(pg_catalog.&) 4294967295) END)
  FROM ONLY "shop"."orders"
  WHERE ctid OPERATOR(pg_catalog.>) '(1008,7)'::pg_catalog.tid AND ctid OPERATOR(pg_catalog.<) '(1024,0)'::pg_catalog.tid AND NOT (pg_catalog.age(xmin) OPERATOR(pg_catalog.<=) pg_catalog.age('900'::pg_catalog.xid) AND pg_catalog.age(xmin) OPERATOR(pg_catalog.>=) pg_catalog.age('1009'::pg_catalog.xid) OR pg_catalog.age('900'::pg_catalog.xid) OPERATOR(pg_catalog.<) 0))
  TO STDOUT (FORMAT csv, ENCODING 'UTF8')

-- export_chunk: changed pages
COPY (SELECT "id", "total", "email", (CASE WHEN xmin OPERATOR(pg_catalog.=) '2'::pg_catalog.xid THEN 2 ELSE 1009::bigint OPERATOR(pg_catalog.+) pg_catalog.age('1009'::pg_catalog.xid) OPERATOR(pg_catalog.-) (pg_catalog.age(xmin)::bigint OPERATOR(pg_catalog.&) 4294967295) END)
  FROM ONLY "shop"."orders"
  WHERE ctid OPERATOR(pg_catalog.>=) '(3,0)'::pg_catalog.tid AND ctid OPERATOR(pg_catalog.<) '(5,0)'::pg_catalog.tid AND (pg_catalog.age(xmin) OPERATOR(pg_catalog.<=) pg_catalog.age('900'::pg_catalog.xid) AND pg_catalog.age(xmin) OPERATOR(pg_catalog.>=) pg_catalog.age('1009'::pg_catalog.xid) OR pg_catalog.age('900'::pg_catalog.xid) OPERATOR(pg_catalog.<) 0)
  UNION ALL SELECT "id", "total", "email", (CASE WHEN xmin OPERATOR(pg_catalog.=) '2'::pg_catalog.xid THEN 2 ELSE 1009::bigint OPERATOR(pg_catalog.+) pg_catalog.age('1009'::pg_catalog.xid) OPERATOR(pg_catalog.-) (pg_catalog.age(xmin)::bigint OPERATOR(pg_catalog.&) 4294967295) END)
  FROM ONLY "shop"."orders"
  WHERE ctid OPERATOR(pg_catalog.>=) '(9,0)'::pg_catalog.tid AND ctid OPERATOR(pg_catalog.<) '(10,0)'::pg_catalog.tid AND (pg_catalog.age(xmin) OPERATOR(pg_catalog.<=) pg_catalog.age('900'::pg_catalog.xid) AND pg_catalog.age(xmin) OPERATOR(pg_catalog.>=) pg_catalog.age('1009'::pg_catalog.xid) OR pg_catalog.age('900'::pg_catalog.xid) OPERATOR(pg_catalog.<) 0))
  TO STDOUT (FORMAT csv, ENCODING 'UTF8')

-- export_chunk: from a cursor on
COPY (SELECT "id", "total", "email", (CASE WHEN xmin OPERATOR(pg_catalog.=) '2'::pg_catalog.xid THEN 2 ELSE 1009::bigint OPERATOR(pg_catalog.+) pg_catalog.age('1009'::pg_catalog.xid) OPERATOR(pg_catalog.-) (pg_catalog.age(xmin)::bigint OPERATOR(pg_catalog.&) 4294967295) END)
  FROM ONLY "shop"."orders"
  WHERE ("id" OPERATOR(pg_catalog.>=) '7'::bigint OR "id" IS NULL))
  TO STDOUT (FORMAT csv, ENCODING 'UTF8')

-- export_chunk: from a cursor on, without what is read by xid
COPY (SELECT "id", "total", "email", (CASE WHEN xmin OPERATOR(pg_catalog.=) '2'::pg_catalog.xid THEN 2 ELSE 1009::bigint OPERATOR(pg_catalog.+) pg_catalog.age('1009'::pg_catalog.xid) OPERATOR(pg_catalog.-) (pg_catalog.age(xmin)::bigint OPERATOR(pg_catalog.&) 4294967295) END)
  FROM ONLY "shop"."orders"
  WHERE "id" OPERATOR(pg_catalog.>=) '7'::bigint AND NOT (pg_catalog.age(xmin) OPERATOR(pg_catalog.<=) pg_catalog.age('900'::pg_catalog.xid) AND pg_catalog.age(xmin) OPERATOR(pg_catalog.>=) pg_catalog.age('1009'::pg_catalog.xid) OR pg_catalog.age('900'::pg_catalog.xid) OPERATOR(pg_catalog.<) 0))
  TO STDOUT (FORMAT csv, ENCODING 'UTF8')

-- export_chunk: a computed column
COPY (SELECT "id", "total", ( lower(email) ), (CASE WHEN xmin OPERATOR(pg_catalog.=) '2'::pg_catalog.xid THEN 2 ELSE 1009::bigint OPERATOR(pg_catalog.+) pg_catalog.age('1009'::pg_catalog.xid) OPERATOR(pg_catalog.-) (pg_catalog.age(xmin)::bigint OPERATOR(pg_catalog.&) 4294967295) END)
  FROM ONLY "shop"."orders"
  WHERE ctid OPERATOR(pg_catalog.>=) '(0,0)'::pg_catalog.tid AND ctid OPERATOR(pg_catalog.<) '(1024,0)'::pg_catalog.tid)
  TO STDOUT (FORMAT csv, ENCODING 'UTF8')

-- export_chunk: filtered
COPY (SELECT "id", "total", "email", (CASE WHEN xmin OPERATOR(pg_catalog.=) '2'::pg_catalog.xid THEN 2 ELSE 1009::bigint OPERATOR(pg_catalog.+) pg_catalog.age('1009'::pg_catalog.xid) OPERATOR(pg_catalog.-) (pg_catalog.age(xmin)::bigint OPERATOR(pg_catalog.&) 4294967295) END)
  FROM ONLY "shop"."orders"
  WHERE ctid OPERATOR(pg_catalog.>=) '(0,0)'::pg_catalog.tid AND ctid OPERATOR(pg_catalog.<) '(1024,0)'::pg_catalog.tid AND ( total > 0 ))
  TO STDOUT (FORMAT csv, ENCODING 'UTF8')

-- export_chunk: filtered, by xid, with what left the scope
COPY (SELECT "id", CASE WHEN (( total > 0 ) IS TRUE) THEN "total" END, CASE WHEN (( total > 0 ) IS TRUE) THEN "email" END, (CASE WHEN xmin OPERATOR(pg_catalog.=) '2'::pg_catalog.xid THEN 2 ELSE 1009::bigint OPERATOR(pg_catalog.+) pg_catalog.age('1009'::pg_catalog.xid) OPERATOR(pg_catalog.-) (pg_catalog.age(xmin)::bigint OPERATOR(pg_catalog.&) 4294967295) END), (( total > 0 ) IS TRUE)
  FROM ONLY "shop"."orders"
  WHERE ctid OPERATOR(pg_catalog.>=) '(0,0)'::pg_catalog.tid AND ctid OPERATOR(pg_catalog.<) '(1024,0)'::pg_catalog.tid AND (pg_catalog.age(xmin) OPERATOR(pg_catalog.<=) pg_catalog.age('900'::pg_catalog.xid) AND pg_catalog.age(xmin) OPERATOR(pg_catalog.>=) pg_catalog.age('1009'::pg_catalog.xid) OR pg_catalog.age('900'::pg_catalog.xid) OPERATOR(pg_catalog.<) 0))
  TO STDOUT (FORMAT csv, ENCODING 'UTF8')

-- export_chunk: a part
COPY (SELECT "id", "total", "email", (CASE WHEN xmin OPERATOR(pg_catalog.=) '2'::pg_catalog.xid THEN 2 ELSE 1009::bigint OPERATOR(pg_catalog.+) pg_catalog.age('1009'::pg_catalog.xid) OPERATOR(pg_catalog.-) (pg_catalog.age(xmin)::bigint OPERATOR(pg_catalog.&) 4294967295) END)
  FROM ONLY "shop"."orders"
  WHERE ctid OPERATOR(pg_catalog.>=) '(0,0)'::pg_catalog.tid AND ctid OPERATOR(pg_catalog.<) '(1024,0)'::pg_catalog.tid AND ( total > 0 ) AND ( id < 9 ))
  TO STDOUT (FORMAT csv, ENCODING 'UTF8')

-- export_chunk: keys alone beside a part
COPY (SELECT "id"
  FROM ONLY "shop"."orders"
  WHERE ctid OPERATOR(pg_catalog.>=) '(0,0)'::pg_catalog.tid AND ctid OPERATOR(pg_catalog.<) '(1024,0)'::pg_catalog.tid AND ( total > 0 ))
  TO STDOUT (FORMAT csv, ENCODING 'UTF8')

-- export_chunk: keys alone
COPY (SELECT "id"
  FROM ONLY "shop"."orders"
  WHERE ctid OPERATOR(pg_catalog.>=) '(0,0)'::pg_catalog.tid AND ctid OPERATOR(pg_catalog.<) '(1024,0)'::pg_catalog.tid)
  TO STDOUT (FORMAT csv, ENCODING 'UTF8')

-- export_chunk: keys alone, filtered
COPY (SELECT "id"
  FROM ONLY "shop"."orders"
  WHERE ctid OPERATOR(pg_catalog.>=) '(0,0)'::pg_catalog.tid AND ctid OPERATOR(pg_catalog.<) '(1024,0)'::pg_catalog.tid AND ( total > 0 ))
  TO STDOUT (FORMAT csv, ENCODING 'UTF8')

-- export_chunk: keys with their pages
COPY (SELECT "id", 10, (ctid::pg_catalog.text::pg_catalog.point)[0]::bigint
  FROM ONLY "shop"."orders"
  WHERE ctid OPERATOR(pg_catalog.>=) '(0,0)'::pg_catalog.tid AND ctid OPERATOR(pg_catalog.<) '(1024,0)'::pg_catalog.tid)
  TO STDOUT (FORMAT csv, ENCODING 'UTF8')

-- export_chunk: keys that note the pages of changed rows
COPY (SELECT "id", CASE WHEN (pg_catalog.age(xmin) OPERATOR(pg_catalog.<=) pg_catalog.age('900'::pg_catalog.xid) AND pg_catalog.age(xmin) OPERATOR(pg_catalog.>=) pg_catalog.age('1009'::pg_catalog.xid) OR pg_catalog.age('900'::pg_catalog.xid) OPERATOR(pg_catalog.<) 0) THEN (ctid::pg_catalog.text::pg_catalog.point)[0]::bigint END
  FROM ONLY "shop"."orders"
  WHERE ctid OPERATOR(pg_catalog.>=) '(0,0)'::pg_catalog.tid AND ctid OPERATOR(pg_catalog.<) '(1024,0)'::pg_catalog.tid)
  TO STDOUT (FORMAT csv, ENCODING 'UTF8')

-- export_chunk: keys of some buckets
COPY (SELECT "id"
  FROM ONLY "shop"."orders"
  WHERE ctid OPERATOR(pg_catalog.>=) '(0,0)'::pg_catalog.tid AND ctid OPERATOR(pg_catalog.<) '(1024,0)'::pg_catalog.tid AND pg_catalog.left(pg_catalog.md5(pg_catalog.convert_to(pg_catalog.format('%L,', "id"), CASE WHEN pg_catalog.getdatabaseencoding() OPERATOR(pg_catalog.=) 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), 2) OPERATOR(pg_catalog.=) ANY (ARRAY['0f','a1']))
  TO STDOUT (FORMAT csv, ENCODING 'UTF8')

-- export_chunk: binary
COPY (SELECT "id", "total", "email", (CASE WHEN xmin OPERATOR(pg_catalog.=) '2'::pg_catalog.xid THEN 2 ELSE 1009::bigint OPERATOR(pg_catalog.+) pg_catalog.age('1009'::pg_catalog.xid) OPERATOR(pg_catalog.-) (pg_catalog.age(xmin)::bigint OPERATOR(pg_catalog.&) 4294967295) END)
  FROM ONLY "shop"."orders"
  WHERE ctid OPERATOR(pg_catalog.>=) '(0,0)'::pg_catalog.tid AND ctid OPERATOR(pg_catalog.<) '(1024,0)'::pg_catalog.tid)
  TO STDOUT (FORMAT binary)

-- export_chunk: a foreign table
COPY (SELECT "id", "total", "email", NULL
  FROM "shop"."orders")
  TO STDOUT (FORMAT csv, ENCODING 'UTF8')

-- export_chunk: partitions through their parent
COPY (SELECT "id", "total", "email", (CASE WHEN xmin OPERATOR(pg_catalog.=) '2'::pg_catalog.xid THEN 2 ELSE 1009::bigint OPERATOR(pg_catalog.+) pg_catalog.age('1009'::pg_catalog.xid) OPERATOR(pg_catalog.-) (pg_catalog.age(xmin)::bigint OPERATOR(pg_catalog.&) 4294967295) END)
  FROM "shop"."orders"
  WHERE ((pg_catalog.age(xmin) OPERATOR(pg_catalog.<=) pg_catalog.age('900'::pg_catalog.xid) AND pg_catalog.age(xmin) OPERATOR(pg_catalog.>=) pg_catalog.age('1009'::pg_catalog.xid) OR pg_catalog.age('900'::pg_catalog.xid) OPERATOR(pg_catalog.<) 0)))
  TO STDOUT (FORMAT csv, ENCODING 'UTF8')

-- export_chunk: partitions through their parent, one of them whole
COPY (SELECT "id", "total", "email", (CASE WHEN xmin OPERATOR(pg_catalog.=) '2'::pg_catalog.xid THEN 2 ELSE 1009::bigint OPERATOR(pg_catalog.+) pg_catalog.age('1009'::pg_catalog.xid) OPERATOR(pg_catalog.-) (pg_catalog.age(xmin)::bigint OPERATOR(pg_catalog.&) 4294967295) END)
  FROM "shop"."orders"
  WHERE (tableoid OPERATOR(pg_catalog.=) ANY (ARRAY[10]::pg_catalog.oid[]) OR (pg_catalog.age(xmin) OPERATOR(pg_catalog.<=) pg_catalog.age('900'::pg_catalog.xid) AND pg_catalog.age(xmin) OPERATOR(pg_catalog.>=) pg_catalog.age('1009'::pg_catalog.xid) OR pg_catalog.age('900'::pg_catalog.xid) OPERATOR(pg_catalog.<) 0)))
  TO STDOUT (FORMAT csv, ENCODING 'UTF8')

-- copy_format
csv, ENCODING 'UTF8'

-- max_xmin
SELECT max((CASE WHEN xmin OPERATOR(pg_catalog.=) '2'::pg_catalog.xid THEN 2 ELSE 1009::bigint OPERATOR(pg_catalog.+) pg_catalog.age('1009'::pg_catalog.xid) OPERATOR(pg_catalog.-) (pg_catalog.age(xmin)::bigint OPERATOR(pg_catalog.&) 4294967295) END))
  FROM "shop"."orders"

-- staging_columns
"id" bigint, "total" numeric, "email" text, "source_xmin" bigint

-- staging_columns: of a table to be made
"id" bigint CONSTRAINT "orders_id_not_null" NOT NULL, "total" numeric, "email" text, "source_xmin" bigint

-- create_table
CREATE TABLE "pg_temp"."staged" ("id" bigint CONSTRAINT "orders_id_not_null" NOT NULL, "total" numeric, "email" text, "source_xmin" bigint) WITH (fillfactor = 95)

-- create_table: with room for one more row
CREATE TABLE "pg_temp"."staged" ("id" bigint CONSTRAINT "orders_id_not_null" NOT NULL, "total" numeric, "email" text, "source_xmin" bigint) WITH (fillfactor = 89)

-- create_table: where rows are marked
CREATE TABLE "pg_temp"."staged" ("id" bigint CONSTRAINT "orders_id_not_null" NOT NULL, "total" numeric, "email" text, "source_xmin" bigint, "deleted_at" timestamptz) WITH (fillfactor = 95)

-- add_key
ALTER TABLE "pg_temp"."staged" ADD CONSTRAINT "orders_pkey" PRIMARY KEY ("id")

-- add_key: unique, of two columns
ALTER TABLE "pg_temp"."staged" ADD CONSTRAINT "orders_key" UNIQUE ("id", "total")

-- analyze_briefly
SET LOCAL default_statistics_target = 10;
ANALYZE "pg_temp"."staged" ("id");
SET LOCAL default_statistics_target TO DEFAULT

-- analyze_briefly: rows without a key
SET LOCAL default_statistics_target = 10;
ANALYZE "pg_temp"."staged";
SET LOCAL default_statistics_target TO DEFAULT

-- create_temporary
CREATE TEMP TABLE "pg_temp"."staged" ("id" bigint, "total" numeric, "email" text, "source_xmin" bigint, "sync_assets.in_scope" boolean)

-- no_rows
(SELECT *
  FROM pg_catalog.json_to_recordset('[]') AS s ("id" bigint, "total" numeric, "email" text, "source_xmin" bigint, "sync_assets.in_scope" boolean)
  WHERE false)

-- few_rows
(SELECT *
  FROM pg_catalog.json_to_recordset('[{"id": "1"}, {"id": "2"}]') AS s ("id" bigint))

-- key_columns
"id" bigint

-- key_columns: with their pages
"id" bigint, "sync_assets.leaf" bigint, "sync_assets.page" bigint

-- load_batch: rows
COPY "pg_temp"."staged" ("id", "total", "email", "source_xmin") FROM STDIN (FORMAT csv, ENCODING 'UTF8')

-- load_batch: keys
COPY "pg_temp"."staged" ("id") FROM STDIN (FORMAT csv, ENCODING 'UTF8')

-- load_batch: keys with their pages
COPY "pg_temp"."staged" ("id", "sync_assets.leaf", "sync_assets.page") FROM STDIN (FORMAT csv, ENCODING 'UTF8')

-- joined
t."id" OPERATOR(pg_catalog.=) "s"."id"

-- joined: by two columns
t."id" OPERATOR(pg_catalog.=) "s"."id" AND t."total" OPERATOR(pg_catalog.=) "s"."total"

-- differs
pg_catalog.record_image_ne(ROW("t"."id", "t"."total", "t"."email"), ROW("s"."id", "s"."total", "s"."email"))

-- differs: where rows are marked
(pg_catalog.record_image_ne(ROW("t"."id", "t"."total", "t"."email"), ROW("s"."id", "s"."total", "s"."email")) OR t."deleted_at" IS NOT NULL)

-- staged
"pg_temp"."staged"

-- staged: with what left the scope
(SELECT *
  FROM "pg_temp"."staged" AS s
  WHERE "sync_assets.in_scope")

-- merge
MERGE INTO "shop"."orders" AS t
  USING "pg_temp"."staged" AS s
  ON t."id" OPERATOR(pg_catalog.=) "s"."id"
  WHEN MATCHED AND pg_catalog.record_image_ne(ROW("t"."id", "t"."total", "t"."email"), ROW("s"."id", "s"."total", "s"."email")) THEN UPDATE
  SET "id" = s."id", "total" = s."total", "email" = s."email", "source_xmin" = s."source_xmin"
  WHEN NOT MATCHED THEN INSERT ("id", "total", "email", "source_xmin") OVERRIDING SYSTEM VALUE
  VALUES ("s"."id", "s"."total", "s"."email", "s"."source_xmin")

-- merge: where rows are marked
MERGE INTO "shop"."orders" AS t
  USING "pg_temp"."staged" AS s
  ON t."id" OPERATOR(pg_catalog.=) "s"."id"
  WHEN MATCHED AND (pg_catalog.record_image_ne(ROW("t"."id", "t"."total", "t"."email"), ROW("s"."id", "s"."total", "s"."email")) OR t."deleted_at" IS NOT NULL) THEN UPDATE
  SET "id" = s."id", "total" = s."total", "email" = s."email", "source_xmin" = s."source_xmin", "deleted_at" = NULL
  WHEN NOT MATCHED THEN INSERT ("id", "total", "email", "source_xmin") OVERRIDING SYSTEM VALUE
  VALUES ("s"."id", "s"."total", "s"."email", "s"."source_xmin")

-- merge: a column that is set once
MERGE INTO "shop"."orders" AS t
  USING "pg_temp"."staged" AS s
  ON t."id" OPERATOR(pg_catalog.=) "s"."id"
  WHEN MATCHED AND pg_catalog.record_image_ne(ROW("t"."id", "t"."total", "t"."email"), ROW("s"."id", "s"."total", "s"."email")) THEN UPDATE
  SET "id" = s."id", "total" = s."total", "source_xmin" = s."source_xmin"
  WHEN NOT MATCHED THEN INSERT ("id", "total", "email", "source_xmin") OVERRIDING SYSTEM VALUE
  VALUES ("s"."id", "s"."total", "s"."email", "s"."source_xmin")

-- counted_merge
WITH merged AS (MERGE INTO "shop"."orders" AS t
  USING "pg_temp"."staged" AS s
  ON t."id" OPERATOR(pg_catalog.=) "s"."id"
  WHEN MATCHED AND pg_catalog.record_image_ne(ROW("t"."id", "t"."total", "t"."email"), ROW("s"."id", "s"."total", "s"."email")) THEN UPDATE
  SET "id" = s."id", "total" = s."total", "email" = s."email", "source_xmin" = s."source_xmin"
  WHEN NOT MATCHED THEN INSERT ("id", "total", "email", "source_xmin") OVERRIDING SYSTEM VALUE
  VALUES ("s"."id", "s"."total", "s"."email", "s"."source_xmin")
  RETURNING merge_action() AS action) SELECT count(*) FILTER (WHERE action = 'INSERT'), count(*) FILTER (WHERE action = 'UPDATE')
  FROM merged

-- count_changes
SELECT (SELECT count(*)
  FROM "pg_temp"."staged" AS s
  WHERE NOT EXISTS (SELECT
  FROM "shop"."orders" AS t
  WHERE t."id" OPERATOR(pg_catalog.=) "s"."id")), (SELECT count(*)
  FROM "pg_temp"."staged" AS s JOIN "shop"."orders" AS t
  ON t."id" OPERATOR(pg_catalog.=) "s"."id"
  WHERE pg_catalog.record_image_ne(ROW("t"."id", "t"."total", "t"."email"), ROW("s"."id", "s"."total", "s"."email")))

-- count_lacking
SELECT count(*)
  FROM "pg_temp"."staged" AS s
  WHERE NOT EXISTS (SELECT
  FROM "shop"."orders" AS t
  WHERE t."id" OPERATOR(pg_catalog.=) "s"."id")

-- live
true

-- live: where rows are marked
t."deleted_at" IS NULL

-- within_buckets
pg_catalog.left(pg_catalog.md5(pg_catalog.convert_to(pg_catalog.format('%L,', t."id"), CASE WHEN pg_catalog.getdatabaseencoding() OPERATOR(pg_catalog.=) 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), 2) OPERATOR(pg_catalog.=) ANY (ARRAY['0f','a1'])

-- remove_others
DELETE
  FROM "shop"."orders" AS t
  WHERE NOT EXISTS (SELECT
  FROM "pg_temp"."keys" AS s
  WHERE t."id" OPERATOR(pg_catalog.=) "s"."id")

-- remove_others: in some buckets
DELETE
  FROM "shop"."orders" AS t
  WHERE pg_catalog.left(pg_catalog.md5(pg_catalog.convert_to(pg_catalog.format('%L,', t."id"), CASE WHEN pg_catalog.getdatabaseencoding() OPERATOR(pg_catalog.=) 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), 2) OPERATOR(pg_catalog.=) ANY (ARRAY['0f','a1']) AND NOT EXISTS (SELECT
  FROM "pg_temp"."keys" AS s
  WHERE t."id" OPERATOR(pg_catalog.=) "s"."id")

-- remove_others: of a part
DELETE
  FROM "shop"."orders" AS t
  WHERE ("id" < 9) AND NOT EXISTS (SELECT
  FROM "pg_temp"."keys" AS s
  WHERE t."id" OPERATOR(pg_catalog.=) "s"."id")

-- remove_others: of a part, in some buckets
DELETE
  FROM "shop"."orders" AS t
  WHERE ("id" < 9) AND pg_catalog.left(pg_catalog.md5(pg_catalog.convert_to(pg_catalog.format('%L,', t."id"), CASE WHEN pg_catalog.getdatabaseencoding() OPERATOR(pg_catalog.=) 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), 2) OPERATOR(pg_catalog.=) ANY (ARRAY['0f','a1']) AND NOT EXISTS (SELECT
  FROM "pg_temp"."keys" AS s
  WHERE t."id" OPERATOR(pg_catalog.=) "s"."id")

-- remove_others: where rows are marked
UPDATE "shop"."orders" AS t
  SET "deleted_at" = '2026-01-01T00:00:00+00:00'::timestamptz
  WHERE t."deleted_at" IS NULL AND NOT EXISTS (SELECT
  FROM "pg_temp"."keys" AS s
  WHERE t."id" OPERATOR(pg_catalog.=) "s"."id")

-- remove_others: where rows are marked, in some buckets
UPDATE "shop"."orders" AS t
  SET "deleted_at" = '2026-01-01T00:00:00+00:00'::timestamptz
  WHERE t."deleted_at" IS NULL AND pg_catalog.left(pg_catalog.md5(pg_catalog.convert_to(pg_catalog.format('%L,', t."id"), CASE WHEN pg_catalog.getdatabaseencoding() OPERATOR(pg_catalog.=) 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), 2) OPERATOR(pg_catalog.=) ANY (ARRAY['0f','a1']) AND NOT EXISTS (SELECT
  FROM "pg_temp"."keys" AS s
  WHERE t."id" OPERATOR(pg_catalog.=) "s"."id")

-- remove_gone
DELETE
  FROM "shop"."orders" AS t
  USING "pg_temp"."keys" AS s
  WHERE t."id" OPERATOR(pg_catalog.=) "s"."id"

-- remove_gone: where rows are marked
UPDATE "shop"."orders" AS t
  SET "deleted_at" = '2026-01-01T00:00:00+00:00'::timestamptz
  FROM "pg_temp"."keys" AS s
  WHERE t."deleted_at" IS NULL AND t."id" OPERATOR(pg_catalog.=) "s"."id"

-- any_live
SELECT EXISTS (SELECT
  FROM "shop"."orders" AS t
  WHERE t."deleted_at" IS NULL)

-- count_missing
SELECT count(*)
  FROM "shop"."orders" AS t
  WHERE true AND NOT EXISTS (SELECT
  FROM "pg_temp"."keys" AS s
  WHERE t."id" OPERATOR(pg_catalog.=) "s"."id")

-- count_missing: in some buckets
SELECT count(*)
  FROM "shop"."orders" AS t
  WHERE true AND pg_catalog.left(pg_catalog.md5(pg_catalog.convert_to(pg_catalog.format('%L,', t."id"), CASE WHEN pg_catalog.getdatabaseencoding() OPERATOR(pg_catalog.=) 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), 2) OPERATOR(pg_catalog.=) ANY (ARRAY['0f','a1']) AND NOT EXISTS (SELECT
  FROM "pg_temp"."keys" AS s
  WHERE t."id" OPERATOR(pg_catalog.=) "s"."id")

-- count_there
SELECT count(*)
  FROM "shop"."orders" AS t JOIN "pg_temp"."keys" AS s
  ON t."id" OPERATOR(pg_catalog.=) "s"."id"
  WHERE true

-- count_live
SELECT count(*)
  FROM (SELECT
  FROM "shop"."orders" AS t
  WHERE true LIMIT 10) AS live

-- count_left
SELECT (SELECT count(*)
  FROM "shop"."orders" AS t
  WHERE EXISTS (SELECT
  FROM "pg_temp"."staged" AS s
  WHERE NOT s."sync_assets.in_scope" AND t."id" OPERATOR(pg_catalog.=) "s"."id")), (SELECT count(*)
  FROM "pg_temp"."staged" AS s
  WHERE NOT s."sync_assets.in_scope")

-- delete_surplus
DELETE
  FROM "shop"."orders" AS t
  USING (SELECT place, leaf
  FROM (SELECT sha256(convert_to(ROW("id", "total", "email")::text, 'UTF8')) AS "sync_assets.image", row_number() OVER (PARTITION BY sha256(convert_to(ROW("id", "total", "email")::text, 'UTF8'))) AS "sync_assets.number", ctid AS place, tableoid AS leaf
  FROM "shop"."orders" AS rows) AS here
  LEFT JOIN (SELECT "sync_assets.image", count(*) AS wanted
  FROM (SELECT sha256(convert_to(ROW("id", "total", "email")::text, 'UTF8')) AS "sync_assets.image", row_number() OVER (PARTITION BY sha256(convert_to(ROW("id", "total", "email")::text, 'UTF8'))) AS "sync_assets.number"
  FROM "pg_temp"."staged" AS rows) AS there GROUP BY "sync_assets.image") AS counted
  USING ("sync_assets.image")
  WHERE "sync_assets.number" > coalesce(wanted, 0)) AS surplus
  WHERE t.ctid = surplus.place AND t.tableoid = surplus.leaf

-- insert_lacking
INSERT INTO "shop"."orders" ("id", "total", "email", "source_xmin") OVERRIDING SYSTEM VALUE SELECT "there"."id", "there"."total", "there"."email", "there"."source_xmin"
  FROM (SELECT sha256(convert_to(ROW("id", "total", "email")::text, 'UTF8')) AS "sync_assets.image", row_number() OVER (PARTITION BY sha256(convert_to(ROW("id", "total", "email")::text, 'UTF8'))) AS "sync_assets.number", "id", "total", "email", "source_xmin"
  FROM "pg_temp"."staged" AS rows) AS there
  LEFT JOIN (SELECT "sync_assets.image", count(*) AS present
  FROM (SELECT sha256(convert_to(ROW("id", "total", "email")::text, 'UTF8')) AS "sync_assets.image", row_number() OVER (PARTITION BY sha256(convert_to(ROW("id", "total", "email")::text, 'UTF8'))) AS "sync_assets.number"
  FROM "shop"."orders" AS rows) AS here GROUP BY "sync_assets.image") AS counted
  USING ("sync_assets.image")
  WHERE there."sync_assets.number" > coalesce(counted.present, 0)

-- count_unlike
SELECT count(*)
  FROM (SELECT "sync_assets.image", count(*) AS found
  FROM (SELECT sha256(convert_to(ROW("id", "total", "email")::text, 'UTF8')) AS "sync_assets.image", row_number() OVER (PARTITION BY sha256(convert_to(ROW("id", "total", "email")::text, 'UTF8'))) AS "sync_assets.number"
  FROM "shop"."orders" AS rows) AS rows GROUP BY "sync_assets.image") AS here
  FULL JOIN (SELECT "sync_assets.image", count(*) AS found
  FROM (SELECT sha256(convert_to(ROW("id", "total", "email")::text, 'UTF8')) AS "sync_assets.image", row_number() OVER (PARTITION BY sha256(convert_to(ROW("id", "total", "email")::text, 'UTF8'))) AS "sync_assets.number"
  FROM "pg_temp"."staged" AS rows) AS rows GROUP BY "sync_assets.image") AS there
  USING ("sync_assets.image")
  WHERE here.found IS DISTINCT FROM there.found
