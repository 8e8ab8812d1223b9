-- export.copy_piece.copy_piece

SELECT pg_catalog.current_setting('sync_assets.scan_began'), pg_catalog.current_setting('sync_assets.scan_came_to')

SET LOCAL enable_indexscan = off;
SET LOCAL enable_bitmapscan = off;
SET LOCAL enable_seqscan = on;
SET LOCAL synchronize_seqscans = on;
SET LOCAL max_parallel_workers_per_gather = 0;
SELECT pg_catalog.set_config('sync_assets.scan_began', '', true), pg_catalog.set_config('sync_assets.scan_came_to', '', true)


-- export.export._lead

COMMIT


-- export.export._move_on

ROLLBACK TO chunk;
RELEASE chunk;
SAVEPOINT chunk;
SELECT pg_catalog.set_config('tcp_user_timeout', LEAST(900000, CASE WHEN 1000 OPERATOR(pg_catalog.*) pg_catalog.date_part('epoch', pg_catalog.current_setting('tcp_user_timeout')::pg_catalog.interval) OPERATOR(pg_catalog.>) 0 THEN 1000 OPERATOR(pg_catalog.*) pg_catalog.date_part('epoch', pg_catalog.current_setting('tcp_user_timeout')::pg_catalog.interval) END)::pg_catalog.int8::pg_catalog.text, true);
LOCK TABLE ONLY "shop"."high" IN ACCESS SHARE MODE NOWAIT

ROLLBACK TO chunk;
RELEASE chunk;
SAVEPOINT chunk;
SELECT pg_catalog.set_config('tcp_user_timeout', LEAST(900000, CASE WHEN 1000 OPERATOR(pg_catalog.*) pg_catalog.date_part('epoch', pg_catalog.current_setting('tcp_user_timeout')::pg_catalog.interval) OPERATOR(pg_catalog.>) 0 THEN 1000 OPERATOR(pg_catalog.*) pg_catalog.date_part('epoch', pg_catalog.current_setting('tcp_user_timeout')::pg_catalog.interval) END)::pg_catalog.int8::pg_catalog.text, true);
LOCK TABLE ONLY "shop"."middle" IN ACCESS SHARE MODE NOWAIT

ROLLBACK TO chunk;
RELEASE chunk;
SAVEPOINT chunk;
SELECT pg_catalog.set_config('tcp_user_timeout', LEAST(900000, CASE WHEN 1000 OPERATOR(pg_catalog.*) pg_catalog.date_part('epoch', pg_catalog.current_setting('tcp_user_timeout')::pg_catalog.interval) OPERATOR(pg_catalog.>) 0 THEN 1000 OPERATOR(pg_catalog.*) pg_catalog.date_part('epoch', pg_catalog.current_setting('tcp_user_timeout')::pg_catalog.interval) END)::pg_catalog.int8::pg_catalog.text, true);
LOCK TABLE ONLY "shop"."orders" IN ACCESS SHARE MODE NOWAIT

SAVEPOINT chunk;
SELECT pg_catalog.set_config('tcp_user_timeout', LEAST(900000, CASE WHEN 1000 OPERATOR(pg_catalog.*) pg_catalog.date_part('epoch', pg_catalog.current_setting('tcp_user_timeout')::pg_catalog.interval) OPERATOR(pg_catalog.>) 0 THEN 1000 OPERATOR(pg_catalog.*) pg_catalog.date_part('epoch', pg_catalog.current_setting('tcp_user_timeout')::pg_catalog.interval) END)::pg_catalog.int8::pg_catalog.text, true);
LOCK TABLE ONLY "shop"."all" IN ACCESS SHARE MODE NOWAIT

SAVEPOINT chunk;
SELECT pg_catalog.set_config('tcp_user_timeout', LEAST(900000, CASE WHEN 1000 OPERATOR(pg_catalog.*) pg_catalog.date_part('epoch', pg_catalog.current_setting('tcp_user_timeout')::pg_catalog.interval) OPERATOR(pg_catalog.>) 0 THEN 1000 OPERATOR(pg_catalog.*) pg_catalog.date_part('epoch', pg_catalog.current_setting('tcp_user_timeout')::pg_catalog.interval) END)::pg_catalog.int8::pg_catalog.text, true);
LOCK TABLE ONLY "shop"."high" IN ACCESS SHARE MODE NOWAIT

SAVEPOINT chunk;
SELECT pg_catalog.set_config('tcp_user_timeout', LEAST(900000, CASE WHEN 1000 OPERATOR(pg_catalog.*) pg_catalog.date_part('epoch', pg_catalog.current_setting('tcp_user_timeout')::pg_catalog.interval) OPERATOR(pg_catalog.>) 0 THEN 1000 OPERATOR(pg_catalog.*) pg_catalog.date_part('epoch', pg_catalog.current_setting('tcp_user_timeout')::pg_catalog.interval) END)::pg_catalog.int8::pg_catalog.text, true);
LOCK TABLE ONLY "shop"."lines" IN ACCESS SHARE MODE NOWAIT

SAVEPOINT chunk;
SELECT pg_catalog.set_config('tcp_user_timeout', LEAST(900000, CASE WHEN 1000 OPERATOR(pg_catalog.*) pg_catalog.date_part('epoch', pg_catalog.current_setting('tcp_user_timeout')::pg_catalog.interval) OPERATOR(pg_catalog.>) 0 THEN 1000 OPERATOR(pg_catalog.*) pg_catalog.date_part('epoch', pg_catalog.current_setting('tcp_user_timeout')::pg_catalog.interval) END)::pg_catalog.int8::pg_catalog.text, true);
LOCK TABLE ONLY "shop"."low" IN ACCESS SHARE MODE NOWAIT

SAVEPOINT chunk;
SELECT pg_catalog.set_config('tcp_user_timeout', LEAST(900000, CASE WHEN 1000 OPERATOR(pg_catalog.*) pg_catalog.date_part('epoch', pg_catalog.current_setting('tcp_user_timeout')::pg_catalog.interval) OPERATOR(pg_catalog.>) 0 THEN 1000 OPERATOR(pg_catalog.*) pg_catalog.date_part('epoch', pg_catalog.current_setting('tcp_user_timeout')::pg_catalog.interval) END)::pg_catalog.int8::pg_catalog.text, true);
LOCK TABLE ONLY "shop"."middle" IN ACCESS SHARE MODE NOWAIT

SAVEPOINT chunk;
SELECT pg_catalog.set_config('tcp_user_timeout', LEAST(900000, CASE WHEN 1000 OPERATOR(pg_catalog.*) pg_catalog.date_part('epoch', pg_catalog.current_setting('tcp_user_timeout')::pg_catalog.interval) OPERATOR(pg_catalog.>) 0 THEN 1000 OPERATOR(pg_catalog.*) pg_catalog.date_part('epoch', pg_catalog.current_setting('tcp_user_timeout')::pg_catalog.interval) END)::pg_catalog.int8::pg_catalog.text, true);
LOCK TABLE ONLY "shop"."orders" IN ACCESS SHARE MODE NOWAIT

SAVEPOINT chunk;
SELECT pg_catalog.set_config('tcp_user_timeout', LEAST(900000, CASE WHEN 1000 OPERATOR(pg_catalog.*) pg_catalog.date_part('epoch', pg_catalog.current_setting('tcp_user_timeout')::pg_catalog.interval) OPERATOR(pg_catalog.>) 0 THEN 1000 OPERATOR(pg_catalog.*) pg_catalog.date_part('epoch', pg_catalog.current_setting('tcp_user_timeout')::pg_catalog.interval) END)::pg_catalog.int8::pg_catalog.text, true);
SET LOCAL enable_indexscan = off;
SET LOCAL enable_bitmapscan = off;
LOCK TABLE ONLY "shop"."orders" IN ACCESS SHARE MODE NOWAIT

SAVEPOINT chunk;
SELECT pg_catalog.set_config('tcp_user_timeout', LEAST(900000, CASE WHEN 1000 OPERATOR(pg_catalog.*) pg_catalog.date_part('epoch', pg_catalog.current_setting('tcp_user_timeout')::pg_catalog.interval) OPERATOR(pg_catalog.>) 0 THEN 1000 OPERATOR(pg_catalog.*) pg_catalog.date_part('epoch', pg_catalog.current_setting('tcp_user_timeout')::pg_catalog.interval) END)::pg_catalog.int8::pg_catalog.text, true);
SET LOCAL search_path TO DEFAULT

SAVEPOINT chunk;
SELECT pg_catalog.set_config('tcp_user_timeout', LEAST(900000, CASE WHEN 1000 OPERATOR(pg_catalog.*) pg_catalog.date_part('epoch', pg_catalog.current_setting('tcp_user_timeout')::pg_catalog.interval) OPERATOR(pg_catalog.>) 0 THEN 1000 OPERATOR(pg_catalog.*) pg_catalog.date_part('epoch', pg_catalog.current_setting('tcp_user_timeout')::pg_catalog.interval) END)::pg_catalog.int8::pg_catalog.text, true);
SET LOCAL search_path TO DEFAULT;
LOCK TABLE ONLY "shop"."orders" IN ACCESS SHARE MODE NOWAIT


-- export.export._read

ROLLBACK TO chunk;
RELEASE chunk


-- export.leaf_access.beat

SELECT


-- history.commit_times._asked

<BEGIN>

COMMIT

SELECT xid, CASE WHEN current_setting('track_commit_timestamp')::boolean THEN pg_xact_commit_timestamp(xid::text::xid8::xid) END
  FROM unnest(%s::bigint[]) AS xid


-- history.commit_times._made

CREATE TEMP TABLE "pg_temp"."sync_assets_staging_<digest>_times" (xid bigint PRIMARY KEY, committed timestamptz)
  ON COMMIT DROP


-- history.commit_times.commit_times

ANALYZE "pg_temp"."sync_assets_staging_<digest>_times"

CLOSE written

DECLARE written NO SCROLL CURSOR FOR SELECT DISTINCT w."source_xmin"
  FROM "pg_temp"."sync_assets_staging_<digest>" AS w
  WHERE w."source_xmin" >= <xid>

DECLARE written NO SCROLL CURSOR FOR SELECT DISTINCT w."source_xmin"
  FROM "shop"."orders" AS w
  WHERE w."source_xmin" >= <xid>

FETCH 50000
  FROM written

INSERT INTO "pg_temp"."sync_assets_staging_<digest>_times" SELECT *
  FROM unnest(%s::bigint[], %s::timestamptz[])


-- history.follow._done

INSERT INTO "shop"."orders_history" ("id", "total", "email", "source_xmin", valid_from, time_from) SELECT "t"."id", "t"."total", "t"."email", "t"."source_xmin", <time>::timestamptz, 'snapshot'
  FROM "shop"."orders" AS t
  WHERE true

INSERT INTO "shop"."orders_history" ("id", "total", "email", "source_xmin", valid_from, time_from) SELECT "t"."id", "t"."total", "t"."email", "t"."source_xmin", greatest(coalesce(c.committed, <time>::timestamptz), (SELECT max(p.valid_to)
  FROM "shop"."orders_history" AS p
  WHERE "p"."id" OPERATOR(pg_catalog.=) "t"."id")), CASE WHEN c.committed IS NULL THEN 'snapshot' ELSE 'commit' END
  FROM "pg_temp"."sync_assets_staging_<digest>" AS s JOIN "shop"."orders" AS t
  ON t."id" OPERATOR(pg_catalog.=) "s"."id"
  LEFT JOIN "pg_temp"."sync_assets_staging_<digest>_times" AS c (xid, committed)
  ON c.xid = t."source_xmin"
  WHERE true AND NOT EXISTS (SELECT
  FROM "shop"."orders_history" AS h
  WHERE h.valid_to IS NULL AND "h"."id" OPERATOR(pg_catalog.=) "t"."id")

INSERT INTO "shop"."orders_history" ("id", "total", "mail", "source_xmin", "note", valid_from, time_from) SELECT "t"."id", "t"."total", "t"."mail", "t"."source_xmin", "t"."note", greatest(coalesce(c.committed, <time>::timestamptz), (SELECT max(p.valid_to)
  FROM "shop"."orders_history" AS p
  WHERE "p"."id" OPERATOR(pg_catalog.=) "t"."id" AND "p"."total" OPERATOR(pg_catalog.=) "t"."total")), CASE WHEN c.committed IS NULL THEN 'snapshot' ELSE 'commit' END
  FROM "shop"."orders" AS t
  LEFT JOIN (SELECT NULL::bigint, NULL::timestamptz
  WHERE false) AS c (xid, committed)
  ON c.xid = t."source_xmin"
  WHERE t."deleted_at" IS NULL AND NOT EXISTS (SELECT
  FROM "shop"."orders_history" AS h
  WHERE h.valid_to IS NULL AND "h"."id" OPERATOR(pg_catalog.=) "t"."id" AND "h"."total" OPERATOR(pg_catalog.=) "t"."total")

INSERT INTO "shop"."orders_history" ("id", "total", "mail", "source_xmin", "note", valid_from, time_from) SELECT "t"."id", "t"."total", "t"."mail", "t"."source_xmin", "t"."note", greatest(coalesce(c.committed, <time>::timestamptz), (SELECT max(p.valid_to)
  FROM "shop"."orders_history" AS p
  WHERE "p"."id" OPERATOR(pg_catalog.=) "t"."id")), CASE WHEN c.committed IS NULL THEN 'snapshot' ELSE 'commit' END
  FROM "shop"."orders" AS t
  LEFT JOIN (SELECT NULL::bigint, NULL::timestamptz
  WHERE false) AS c (xid, committed)
  ON c.xid = t."source_xmin"
  WHERE true AND NOT EXISTS (SELECT
  FROM "shop"."orders_history" AS h
  WHERE h.valid_to IS NULL AND "h"."id" OPERATOR(pg_catalog.=) "t"."id")

UPDATE "shop"."orders_history" AS h
  SET valid_to = greatest(<time>::timestamptz, h.valid_from + interval '1 microsecond'), ended_by = 'delete'
  WHERE h.valid_to IS NULL AND EXISTS (SELECT
  FROM "pg_temp"."sync_assets_staging_<digest>_gone" AS s
  WHERE "h"."id" OPERATOR(pg_catalog.=) "s"."id") AND NOT EXISTS (SELECT
  FROM "shop"."orders" AS t
  WHERE "h"."id" OPERATOR(pg_catalog.=) "t"."id" AND true)

UPDATE "shop"."orders_history" AS h
  SET valid_to = greatest(<time>::timestamptz, h.valid_from + interval '1 microsecond'), ended_by = 'delete'
  WHERE h.valid_to IS NULL AND NOT EXISTS (SELECT
  FROM "shop"."orders" AS t
  WHERE "h"."id" OPERATOR(pg_catalog.=) "t"."id" AND "h"."total" OPERATOR(pg_catalog.=) "t"."total" AND t."deleted_at" IS NULL)

UPDATE "shop"."orders_history" AS h
  SET valid_to = greatest(<time>::timestamptz, h.valid_from + interval '1 microsecond'), ended_by = 'delete'
  WHERE h.valid_to IS NULL AND NOT EXISTS (SELECT
  FROM "shop"."orders" AS t
  WHERE "h"."id" OPERATOR(pg_catalog.=) "t"."id" AND true)

UPDATE "shop"."orders_history" AS h
  SET valid_to = greatest(coalesce(c.committed, <time>::timestamptz), h.valid_from + interval '1 microsecond'), ended_by = 'update'
  FROM "pg_temp"."sync_assets_staging_<digest>" AS s JOIN "shop"."orders" AS t
  ON t."id" OPERATOR(pg_catalog.=) "s"."id"
  LEFT JOIN "pg_temp"."sync_assets_staging_<digest>_times" AS c (xid, committed)
  ON c.xid = t."source_xmin"
  WHERE h.valid_to IS NULL AND "h"."id" OPERATOR(pg_catalog.=) "t"."id" AND true AND pg_catalog.record_image_ne(ROW("h"."id", "h"."total", "h"."email"), ROW("t"."id", "t"."total", "t"."email"))

UPDATE "shop"."orders_history" AS h
  SET valid_to = greatest(coalesce(c.committed, <time>::timestamptz), h.valid_from + interval '1 microsecond'), ended_by = 'update'
  FROM "shop"."orders" AS t
  LEFT JOIN (SELECT NULL::bigint, NULL::timestamptz
  WHERE false) AS c (xid, committed)
  ON c.xid = t."source_xmin"
  WHERE h.valid_to IS NULL AND "h"."id" OPERATOR(pg_catalog.=) "t"."id" AND "h"."total" OPERATOR(pg_catalog.=) "t"."total" AND t."deleted_at" IS NULL AND pg_catalog.record_image_ne(ROW("h"."id", "h"."total", "h"."mail", "h"."note"), ROW("t"."id", "t"."total", "t"."mail", "t"."note"))

UPDATE "shop"."orders_history" AS h
  SET valid_to = greatest(coalesce(c.committed, <time>::timestamptz), h.valid_from + interval '1 microsecond'), ended_by = 'update'
  FROM "shop"."orders" AS t
  LEFT JOIN (SELECT NULL::bigint, NULL::timestamptz
  WHERE false) AS c (xid, committed)
  ON c.xid = t."source_xmin"
  WHERE h.valid_to IS NULL AND "h"."id" OPERATOR(pg_catalog.=) "t"."id" AND true AND pg_catalog.record_image_ne(ROW("h"."id", "h"."total", "h"."mail", "h"."note"), ROW("t"."id", "t"."total", "t"."mail", "t"."note"))


-- history.shape.brought_up

<PINNED>

<UNPINNED>

COMMENT
  ON TABLE "shop"."orders_history" IS 'versions of the rows of shop.orders'

CREATE TABLE "shop"."orders_history" ("id" bigint, "total" integer, "email" text, "source_xmin" bigint, valid_from timestamptz NOT NULL, valid_to timestamptz, ended_by text, time_from text NOT NULL, CHECK (valid_from < valid_to))


-- history.shape.index

CREATE INDEX
  ON "shop"."orders_history" ("id")

CREATE INDEX
  ON "shop"."orders_history" ("id", "total")

CREATE UNIQUE INDEX
  ON "shop"."orders_history" ("id")
  WHERE valid_to IS NULL

CREATE UNIQUE INDEX
  ON "shop"."orders_history" ("id", "total")
  WHERE valid_to IS NULL

DROP INDEX "shop"."orders_history_id_idx"

SELECT n.nspname, ic.relname, i.indisunique, pg_get_expr(i.indpred, i.indrelid), (SELECT array_agg(a.attname::text ORDER BY k.ord)
  FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, ord) JOIN pg_attribute a
  ON a.attrelid = i.indrelid AND a.attnum = k.attnum)
  FROM pg_index i JOIN pg_class ic
  ON ic.oid = i.indexrelid JOIN pg_namespace n
  ON n.oid = ic.relnamespace
  WHERE i.indrelid = %s::regclass AND i.indisvalid


-- load.immutable._create_probe

CREATE SCHEMA "kinds"

CREATE TEMP TABLE sync_assets_probe ("id" bigint, "mood" kinds.mood, "email" text COLLATE pg_catalog."C")

CREATE TEMP TABLE sync_assets_probe ("id" bigint, "total" integer, "email" text)

CREATE TYPE "kinds"."mood" AS ENUM ('a', 'b')


-- load.immutable._prove

ALTER TABLE "pg_temp"."sync_assets_probe" ADD CHECK (( total < 20 )) NOT VALID

ALTER TABLE "pg_temp"."sync_assets_probe" ADD CHECK ((( id > 0 ) IS NOT NULL)) NOT VALID

ALTER TABLE "pg_temp"."sync_assets_probe" ADD CHECK ((( mood > 'a' ) IS NOT NULL)) NOT VALID

CREATE INDEX
  ON "pg_temp"."sync_assets_probe" ((1))
  WHERE ((id > 0) IS NOT NULL)

CREATE INDEX
  ON "pg_temp"."sync_assets_probe" ((1))
  WHERE ((mood > 'a'::kinds.mood) IS NOT NULL)

CREATE INDEX
  ON "pg_temp"."sync_assets_probe" ((1))
  WHERE (total < 20)

SELECT p.oid::regprocedure::text, quote_ident(r.rolname), quote_ident(current_user)
  FROM pg_constraint c JOIN pg_depend d
  ON d.classid = 'pg_constraint'::regclass AND d.objid = c.oid
  LEFT JOIN pg_operator o
  ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid JOIN pg_proc p
  ON p.oid = CASE WHEN d.refclassid = 'pg_proc'::regclass THEN d.refobjid ELSE o.oprcode END JOIN pg_language l
  ON l.oid = p.prolang JOIN pg_roles r
  ON r.oid = p.proowner
  WHERE c.conrelid = 'pg_temp.sync_assets_probe'::regclass AND l.lanpltrusted AND NOT r.rolsuper AND r.rolname <> current_user LIMIT 1

SELECT pg_get_expr(conbin, conrelid)
  FROM pg_constraint
  WHERE conrelid = 'pg_temp.sync_assets_probe'::regclass AND contype = 'c'

SET LOCAL search_path = pg_catalog


-- load.immutable._read

ROLLBACK TO probe;
RELEASE probe

SAVEPOINT probe


-- load.immutable._refusal

RELEASE attempt

SAVEPOINT attempt


-- load.newest.newest

WITH floor AS MATERIALIZED ( SELECT coalesce((SELECT "source_xmin"
  FROM "pg_temp"."sync_assets_staging_<digest>" TABLESAMPLE SYSTEM (1)
  WHERE "source_xmin" IS NOT NULL ORDER BY 1 DESC OFFSET 100 - 1 LIMIT 1), 0) AS xid ), above AS MATERIALIZED ( SELECT "source_xmin" AS xid, ARRAY[]::text[] AS key
  FROM "pg_temp"."sync_assets_staging_<digest>"
  WHERE "source_xmin" > (SELECT xid
  FROM floor) ORDER BY 1 DESC LIMIT 100 ) SELECT xid, key
  FROM above
  UNION ALL (SELECT "source_xmin", ARRAY[]::text[]
  FROM "pg_temp"."sync_assets_staging_<digest>"
  WHERE "source_xmin" = (SELECT xid
  FROM floor) AND (SELECT count(*)
  FROM above) < 100 LIMIT 100) ORDER BY 1 DESC LIMIT 100

WITH floor AS MATERIALIZED ( SELECT coalesce((SELECT "source_xmin"
  FROM "pg_temp"."sync_assets_staging_<digest>" TABLESAMPLE SYSTEM (1)
  WHERE "source_xmin" IS NOT NULL ORDER BY 1 DESC OFFSET 100 - 1 LIMIT 1), 0) AS xid ), above AS MATERIALIZED ( SELECT "source_xmin" AS xid, ARRAY[pg_catalog.format('%s', "id"), pg_catalog.format('%s', "total")]::text[] AS key
  FROM "pg_temp"."sync_assets_staging_<digest>"
  WHERE "source_xmin" > (SELECT xid
  FROM floor) ORDER BY 1 DESC LIMIT 100 ) SELECT xid, key
  FROM above
  UNION ALL (SELECT "source_xmin", ARRAY[pg_catalog.format('%s', "id"), pg_catalog.format('%s', "total")]::text[]
  FROM "pg_temp"."sync_assets_staging_<digest>"
  WHERE "source_xmin" = (SELECT xid
  FROM floor) AND (SELECT count(*)
  FROM above) < 100 LIMIT 100) ORDER BY 1 DESC LIMIT 100

WITH floor AS MATERIALIZED ( SELECT coalesce((SELECT "source_xmin"
  FROM "pg_temp"."sync_assets_staging_<digest>" TABLESAMPLE SYSTEM (1)
  WHERE "source_xmin" IS NOT NULL ORDER BY 1 DESC OFFSET 100 - 1 LIMIT 1), 0) AS xid ), above AS MATERIALIZED ( SELECT "source_xmin" AS xid, ARRAY[pg_catalog.format('%s', "id")]::text[] AS key
  FROM "pg_temp"."sync_assets_staging_<digest>"
  WHERE "source_xmin" > (SELECT xid
  FROM floor) ORDER BY 1 DESC LIMIT 100 ) SELECT xid, key
  FROM above
  UNION ALL (SELECT "source_xmin", ARRAY[pg_catalog.format('%s', "id")]::text[]
  FROM "pg_temp"."sync_assets_staging_<digest>"
  WHERE "source_xmin" = (SELECT xid
  FROM floor) AND (SELECT count(*)
  FROM above) < 100 LIMIT 100) ORDER BY 1 DESC LIMIT 100

WITH floor AS MATERIALIZED ( SELECT coalesce((SELECT "source_xmin"
  FROM "shop"."sync_assets_staging_<digest>" TABLESAMPLE SYSTEM (1)
  WHERE "source_xmin" IS NOT NULL ORDER BY 1 DESC OFFSET 100 - 1 LIMIT 1), 0) AS xid ), above AS MATERIALIZED ( SELECT "source_xmin" AS xid, ARRAY[]::text[] AS key
  FROM "shop"."sync_assets_staging_<digest>"
  WHERE "source_xmin" > (SELECT xid
  FROM floor) ORDER BY 1 DESC LIMIT 100 ) SELECT xid, key
  FROM above
  UNION ALL (SELECT "source_xmin", ARRAY[]::text[]
  FROM "shop"."sync_assets_staging_<digest>"
  WHERE "source_xmin" = (SELECT xid
  FROM floor) AND (SELECT count(*)
  FROM above) < 100 LIMIT 100) ORDER BY 1 DESC LIMIT 100

WITH floor AS MATERIALIZED ( SELECT coalesce((SELECT "source_xmin"
  FROM "shop"."sync_assets_staging_<digest>" TABLESAMPLE SYSTEM (1)
  WHERE "source_xmin" IS NOT NULL ORDER BY 1 DESC OFFSET 100 - 1 LIMIT 1), 0) AS xid ), above AS MATERIALIZED ( SELECT "source_xmin" AS xid, ARRAY[pg_catalog.format('%s', "id")]::text[] AS key
  FROM "shop"."sync_assets_staging_<digest>"
  WHERE "source_xmin" > (SELECT xid
  FROM floor) ORDER BY 1 DESC LIMIT 100 ) SELECT xid, key
  FROM above
  UNION ALL (SELECT "source_xmin", ARRAY[pg_catalog.format('%s', "id")]::text[]
  FROM "shop"."sync_assets_staging_<digest>"
  WHERE "source_xmin" = (SELECT xid
  FROM floor) AND (SELECT count(*)
  FROM above) < 100 LIMIT 100) ORDER BY 1 DESC LIMIT 100


-- load.preconditions.parts_told

<BEGIN>;
SET LOCAL synchronous_commit = off

COMMIT


-- load.preconditions.require_collations

SELECT name
  FROM unnest(%s::text[]) AS name
  WHERE to_regcollation(name) IS NULL


-- load.staging._analyzes_itself

SELECT current_setting('autovacuum')::boolean AND current_setting('track_counts')::boolean


-- load.staging._finish

ANALYZE "pg_temp"."sync_assets_staging_<digest>_keys"

ANALYZE "shop"."sync_assets_staging_<digest>"


-- load.staging._make_room

ALTER TYPE "kinds"."mood" ADD VALUE 'aa' BEFORE 'c'

ALTER TYPE "kinds"."mood" ADD VALUE 'bb' AFTER 'c'

ALTER TYPE "kinds"."mood" RENAME VALUE 'a' TO 'c'

ALTER TYPE "kinds"."name"
  SET SCHEMA "moved"

ALTER TYPE "kinds"."place" ADD ATTRIBUTE "z" text

ALTER TYPE "kinds"."place" RENAME ATTRIBUTE "x" TO "y"

ALTER TYPE "kinds"."span" RENAME TO "width"

CREATE DOMAIN "kinds"."name" AS text

CREATE EXTENSION IF NOT EXISTS "citext" SCHEMA "public" CASCADE

CREATE SCHEMA "kinds"

CREATE SCHEMA "moved"

CREATE SCHEMA "shop"

CREATE TYPE "kinds"."mood" AS ENUM ('a', 'b')

CREATE TYPE "kinds"."place" AS ("x" integer)

CREATE TYPE "kinds"."span" AS RANGE (subtype = numeric, subtype_opclass = pg_catalog.numeric_ops, multirange_type_name = kinds.span_multirange)


-- load.staging.drop_staging

<BEGIN>

COMMIT

DROP TABLE IF EXISTS "pg_temp"."sync_assets_staging_<digest>"

DROP TABLE IF EXISTS "pg_temp"."sync_assets_staging_<digest>_keys"


-- load.staging.finish

<BEGIN>;
SET LOCAL synchronous_commit = off;
<PINNED>

COMMIT


-- load.staging.load_batch

<BEGIN>;
SET LOCAL synchronous_commit = off

<BEGIN>;
SET LOCAL synchronous_commit = off;
<PINNED>

<BEGIN>;
SET LOCAL synchronous_commit = off;
CREATE TEMP TABLE "pg_temp"."sync_assets_staging_<digest>" ("id" bigint, "part" bigint, "source_xmin" bigint);
<PINNED>

<BEGIN>;
SET LOCAL synchronous_commit = off;
CREATE TEMP TABLE "pg_temp"."sync_assets_staging_<digest>" ("id" bigint, "total" bigint, "mail" text, "note" text, "source_xmin" bigint);
<PINNED>

<BEGIN>;
SET LOCAL synchronous_commit = off;
CREATE TEMP TABLE "pg_temp"."sync_assets_staging_<digest>" ("id" bigint, "total" integer, "email" integer, "source_xmin" bigint);
<PINNED>

<BEGIN>;
SET LOCAL synchronous_commit = off;
CREATE TEMP TABLE "pg_temp"."sync_assets_staging_<digest>" ("id" bigint, "total" integer, "email" text, "source_xmin" bigint);
<PINNED>

<BEGIN>;
SET LOCAL synchronous_commit = off;
CREATE TEMP TABLE "pg_temp"."sync_assets_staging_<digest>" ("id" bigint, "total" integer, "email" text, "source_xmin" bigint, "sync_assets.in_scope" boolean);
<PINNED>

<BEGIN>;
SET LOCAL synchronous_commit = off;
CREATE TEMP TABLE "pg_temp"."sync_assets_staging_<digest>_keys" ("id" bigint);
<PINNED>

<BEGIN>;
SET LOCAL synchronous_commit = off;
CREATE TEMP TABLE "pg_temp"."sync_assets_staging_<digest>_keys" ("id" bigint, "sync_assets.leaf" bigint, "sync_assets.page" bigint);
<PINNED>

<BEGIN>;
SET LOCAL synchronous_commit = off;
CREATE TEMP TABLE "pg_temp"."sync_assets_staging_<digest>_keys" ("id" bigint, "sync_assets.page" bigint);
<PINNED>

COMMIT


-- load.staging.prepare_staging

<BEGIN>;
SET LOCAL synchronous_commit = off

COMMIT


-- load.types._require_installable

WITH RECURSIVE wanted (name) AS ( SELECT %(name)s::name UNION SELECT unnest(v.requires)
  FROM wanted w JOIN pg_available_extensions a
  ON a.name = w.name JOIN pg_available_extension_versions v
  ON v.name = a.name AND v.version = a.default_version ) SELECT (SELECT n.nspname::text
  FROM pg_extension e JOIN pg_namespace n
  ON n.oid = e.extnamespace
  WHERE e.extname = %(name)s), EXISTS (SELECT
  FROM pg_available_extensions
  WHERE name = %(name)s), bool_and(coalesce(v.trusted OR a.installed_version IS NOT NULL, false))
  FROM wanted w
  LEFT JOIN pg_available_extensions a
  ON a.name = w.name
  LEFT JOIN pg_available_extension_versions v
  ON v.name = a.name AND v.version = a.default_version


-- merge.alter._lost

RELEASE narrowing

ROLLBACK TO narrowing;
RELEASE narrowing

SAVEPOINT narrowing

WITH only_here AS MATERIALIZED (SELECT t."email" AS value
  FROM "shop"."orders" AS t
  WHERE t."email" IS NOT NULL AND NOT EXISTS (SELECT
  FROM "pg_temp"."sync_assets_staging_<digest>" AS s
  WHERE t."id"::bigint OPERATOR(pg_catalog.=) s."id")) SELECT count(*)
  FROM only_here
  WHERE value IS DISTINCT FROM (value::integer::text)

WITH only_here AS MATERIALIZED (SELECT t."email" AS value
  FROM "shop"."orders" AS t
  WHERE t."email" IS NOT NULL AND NOT EXISTS (SELECT
  FROM "pg_temp"."sync_assets_staging_<digest>" AS s
  WHERE t."id"::bigint OPERATOR(pg_catalog.=) s."id")) SELECT count(*)
  FROM only_here
  WHERE value IS DISTINCT FROM (value::text::json)

WITH only_here AS MATERIALIZED (SELECT t."email" AS value
  FROM "shop"."orders" AS t
  WHERE t."email" IS NOT NULL AND NOT EXISTS (SELECT
  FROM "pg_temp"."sync_assets_staging_<digest>" AS s
  WHERE t."id"::bigint OPERATOR(pg_catalog.=) s."id")) SELECT count(*)
  FROM only_here
  WHERE value::pg_catalog.text IS DISTINCT FROM (value::text::json)::pg_catalog.text


-- merge.alter._tried

ALTER TABLE "shop"."all_orders" ATTACH PARTITION "shop"."orders" FOR
  VALUES IN ('eu')

ALTER TABLE "shop"."orders" ADD COLUMN "deleted_at" timestamp with time zone

ALTER TABLE "shop"."orders" ADD COLUMN "note" text

ALTER TABLE "shop"."orders" ALTER COLUMN "email" TYPE integer

ALTER TABLE "shop"."orders" ALTER COLUMN "email" TYPE integer
  USING "email"::pg_catalog.text::integer

ALTER TABLE "shop"."orders" ALTER COLUMN "email" TYPE text

ALTER TABLE "shop"."orders" ALTER COLUMN "name" TYPE moved.name

ALTER TABLE "shop"."orders" ALTER COLUMN "span" TYPE kinds.width

ALTER TABLE "shop"."orders" ALTER COLUMN "total"
  SET NOT NULL, ADD PRIMARY KEY ("id", "total")

ALTER TABLE "shop"."orders" ALTER COLUMN "total" TYPE bigint

ALTER TABLE "shop"."orders" DROP CONSTRAINT "orders_pkey"

ALTER TABLE "shop"."orders" RENAME COLUMN "email" TO "mail"

ALTER TABLE "shop"."orders_history" ADD COLUMN "note" text

ALTER TABLE "shop"."orders_history" ALTER COLUMN "total" TYPE bigint

ALTER TABLE "shop"."orders_history" RENAME COLUMN "email" TO "mail"

CREATE TABLE "shop"."all_orders" ("region" text NOT NULL, "id" bigint, "total" integer, "email" text, "source_xmin" bigint) PARTITION BY LIST ("region")

RELEASE alteration

ROLLBACK TO alteration;
RELEASE alteration

SAVEPOINT alteration


-- merge.alter._type_there

SELECT pg_catalog.format_type(atttypid, atttypmod)
  FROM pg_catalog.pg_attribute
  WHERE attrelid = %s::pg_catalog.regclass AND attname = %s


-- merge.collisions._make_way

WITH removed AS (DELETE
  FROM "shop"."orders" AS t
  USING (SELECT ctid AS place, tableoid AS leaf, (total) AS "e0"
  FROM "shop"."orders") AS held, (SELECT (total) AS "e0"
  FROM (SELECT s.*
  FROM "pg_temp"."sync_assets_staging_<digest>" AS s
  WHERE NOT EXISTS (SELECT
  FROM "shop"."orders" AS t
  WHERE t."id" OPERATOR(pg_catalog.=) "s"."id" AND NOT (pg_catalog.record_image_ne(ROW("t"."id", "t"."total", "t"."email"), ROW("s"."id", "s"."total", "s"."email")) OR t."deleted_at" IS NOT NULL))) AS s) AS wanted
  WHERE t.ctid = held.place AND t.tableoid = held.leaf AND held.e0 OPERATOR(pg_catalog.=) wanted.e0 AND NOT EXISTS (SELECT
  FROM "pg_temp"."sync_assets_staging_<digest>" AS s
  WHERE t."id" OPERATOR(pg_catalog.=) "s"."id")
  RETURNING t."deleted_at" IS NULL AS live, ARRAY[pg_catalog.format('%s', t."id")] AS keys) SELECT live, keys
  FROM removed

WITH removed AS (DELETE
  FROM "shop"."orders" AS t
  USING (SELECT ctid AS place, tableoid AS leaf, (total) AS "e0"
  FROM "shop"."orders") AS held, (SELECT (total) AS "e0"
  FROM (SELECT s.*
  FROM "pg_temp"."sync_assets_staging_<digest>" AS s
  WHERE NOT EXISTS (SELECT
  FROM "shop"."orders" AS t
  WHERE t."id" OPERATOR(pg_catalog.=) "s"."id" AND NOT pg_catalog.record_image_ne(ROW("t"."id", "t"."total", "t"."email"), ROW("s"."id", "s"."total", "s"."email")))) AS s) AS wanted
  WHERE t.ctid = held.place AND t.tableoid = held.leaf AND held.e0 OPERATOR(pg_catalog.=) wanted.e0 AND NOT EXISTS (SELECT
  FROM "pg_temp"."sync_assets_staging_<digest>" AS s
  WHERE t."id" OPERATOR(pg_catalog.=) "s"."id")
  RETURNING true AS live, ARRAY[pg_catalog.format('%s', t."id")] AS keys) SELECT live, keys
  FROM removed


-- merge.collisions._park

UPDATE "shop"."orders" AS t
  SET "total" = NULL
  FROM "pg_temp"."sync_assets_staging_<digest>" AS s
  WHERE t."id" OPERATOR(pg_catalog.=) "s"."id" AND (pg_catalog.record_image_ne(ROW("t"."id", "t"."total", "t"."email"), ROW("s"."id", "s"."total", "s"."email")) OR t."deleted_at" IS NOT NULL)


-- merge.collisions._retried

ROLLBACK TO collision

WITH gone ("id", "total", "email", "source_xmin") AS (DELETE
  FROM "shop"."orders" AS t
  USING "pg_temp"."sync_assets_staging_<digest>" AS s
  WHERE t."id" OPERATOR(pg_catalog.=) "s"."id" AND pg_catalog.record_image_ne(ROW("t"."id", "t"."total", "t"."email"), ROW("s"."id", "s"."total", "s"."email"))
  RETURNING "s"."id", "s"."total", "s"."email", "s"."source_xmin") INSERT INTO "shop"."orders" ("id", "total", "email", "source_xmin") OVERRIDING SYSTEM VALUE SELECT "id", "total", "email", "source_xmin"
  FROM gone
  WHERE (SELECT pg_catalog.count(*)
  FROM gone) > 0

WITH gone ("id", "total", "email", "source_xmin", "deleted_at") AS (DELETE
  FROM "shop"."orders" AS t
  USING "pg_temp"."sync_assets_staging_<digest>" AS s
  WHERE t."id" OPERATOR(pg_catalog.=) "s"."id" AND (pg_catalog.record_image_ne(ROW("t"."id", "t"."total", "t"."email"), ROW("s"."id", "s"."total", "s"."email")) OR t."deleted_at" IS NOT NULL)
  RETURNING "s"."id", "s"."total", "s"."email", "s"."source_xmin", NULL::pg_catalog.timestamptz) INSERT INTO "shop"."orders" ("id", "total", "email", "source_xmin", "deleted_at") OVERRIDING SYSTEM VALUE SELECT "id", "total", "email", "source_xmin", "deleted_at"
  FROM gone
  WHERE (SELECT pg_catalog.count(*)
  FROM gone) > 0


-- merge.collisions.read_acting

WITH tree AS (SELECT %(oid)s::oid AS oid UNION SELECT relid
  FROM pg_partition_tree(%(oid)s::oid)) SELECT (SELECT min(what)
  FROM ( SELECT format('the foreign key %%I on %%s acts when a row is deleted', conname, conrelid::regclass)
  FROM pg_constraint
  WHERE contype = 'f' AND confrelid IN (SELECT oid
  FROM tree) AND confdeltype <> 'a' AND current_setting('session_replication_role') <> 'replica'
  UNION ALL SELECT format('the trigger %%I acts when a row is deleted', tgname)
  FROM pg_trigger
  WHERE tgrelid IN (SELECT oid
  FROM tree) AND NOT tgisinternal AND tgtype & 8 <> 0 AND tgenabled IN ( 'A', CASE current_setting('session_replication_role') WHEN 'replica' THEN 'R' ELSE 'O' END)
  UNION ALL SELECT format('the table %%s inherits from it', inhrelid::regclass)
  FROM pg_inherits JOIN pg_class parent
  ON parent.oid = inhparent
  WHERE inhparent = %(oid)s AND parent.relkind = 'r') AS acting (what)), ARRAY(SELECT attname::text
  FROM pg_constraint k JOIN pg_attribute a
  ON a.attrelid = k.confrelid AND a.attnum = ANY (k.confkey)
  WHERE k.contype = 'f' AND k.confrelid = %(oid)s)


-- merge.deletes._remove_lacking

<PINNED>

<UNPINNED>


-- merge.deletes._remove_surplus

<PINNED>

<UNPINNED>


-- merge.foreign_keys._alter

ALTER TABLE "shop"."lines" ALTER CONSTRAINT "lines_part_fkey" DEFERRABLE INITIALLY DEFERRED

ALTER TABLE "shop"."lines" ALTER CONSTRAINT "lines_part_fkey" NOT DEFERRABLE

RELEASE foreign_keys

ROLLBACK TO foreign_keys;
RELEASE foreign_keys

SAVEPOINT foreign_keys


-- merge.foreign_keys.deferred

SET CONSTRAINTS ALL DEFERRED

SET CONSTRAINTS ALL IMMEDIATE


-- merge.foreign_keys.read_foreign_keys

WITH named AS ( SELECT c.oid, n.nspname, c.relname
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n
  ON n.oid = c.relnamespace
  WHERE (n.nspname, c.relname) IN %s ) SELECT k.conname, child.nspname, child.relname, parent.nspname, parent.relname, k.condeferrable, k.confdeltype <> 'a'
  FROM pg_catalog.pg_constraint k JOIN named child
  ON child.oid = k.conrelid JOIN named parent
  ON parent.oid = k.confrelid
  WHERE k.contype = 'f' AND k.conparentid = 0 ORDER BY child.nspname, child.relname, k.conname


-- merge.interference.check_each_statement

SET CONSTRAINTS "shop"."one_total" IMMEDIATE


-- merge.interference.read_surroundings

WITH RECURSIVE tree AS ( SELECT c.oid
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n
  ON n.oid = c.relnamespace
  WHERE (n.nspname, c.relname) IN %s UNION SELECT i.inhrelid
  FROM tree JOIN pg_catalog.pg_inherits i
  ON i.inhparent = tree.oid ) SELECT kind, actor.name, n.nspname, c.relname
  FROM tree CROSS JOIN LATERAL ( SELECT 'trigger', tgname, tgenabled
  FROM pg_catalog.pg_trigger
  WHERE tgrelid = tree.oid AND NOT tgisinternal AND tgtype & 28 <> 0
  UNION ALL SELECT 'rule', rulename, ev_enabled
  FROM pg_catalog.pg_rewrite
  WHERE ev_class = tree.oid AND rulename <> '_RETURN'
  UNION ALL SELECT 'constraint', conname, 'A'
  FROM pg_catalog.pg_constraint
  WHERE conrelid = tree.oid AND contype IN ('u', 'x') AND condeferrable ) AS actor (kind, name, enabled) JOIN pg_catalog.pg_class c
  ON c.oid = tree.oid JOIN pg_catalog.pg_namespace n
  ON n.oid = c.relnamespace
  WHERE enabled IN ('A', CASE pg_catalog.current_setting('session_replication_role') WHEN 'replica' THEN 'R' ELSE 'O' END) ORDER BY c.relispartition, n.nspname, c.relname, actor.name


-- merge.interference.require_written

<UNPINNED>

SET CONSTRAINTS ALL IMMEDIATE;
<PINNED>


-- merge.keys_by_page._list_pages

ANALYZE "pg_temp"."sync_assets_staging_<digest>_pages"

CREATE TEMP TABLE "pg_temp"."sync_assets_staging_<digest>_pages"
  ON COMMIT DROP AS SELECT leaf, page
  FROM unnest(ARRAY[<oid>]::bigint[], ARRAY[0]::bigint[], ARRAY[0]::bigint[]) AS run (leaf, first, last) CROSS JOIN LATERAL generate_series(first, last) AS page


-- merge.keys_by_page._may_create

SELECT pg_catalog.has_schema_privilege('sync_assets', 'CREATE')


-- merge.keys_by_page.find_gone

ANALYZE "pg_temp"."sync_assets_staging_<digest>_gone"

CREATE TEMP TABLE "pg_temp"."sync_assets_staging_<digest>_gone"
  ON COMMIT DROP AS SELECT t.*
  FROM (SELECT k.*
  FROM (SELECT m.*
  FROM "sync_assets"."keys_by_page_<digest>" AS m JOIN "pg_temp"."sync_assets_staging_<digest>_pages" AS p
  ON m.leaf = p.leaf AND m.page = p.page
  UNION ALL SELECT m.*
  FROM "sync_assets"."keys_by_page_<digest>" AS m
  WHERE leaf = <oid> AND page >= 0) AS m CROSS JOIN LATERAL unnest("m"."keys_1") AS k ("id")) AS t
  WHERE NOT EXISTS (SELECT
  FROM "pg_temp"."sync_assets_staging_<digest>_keys" AS s
  WHERE t."id" OPERATOR(pg_catalog.=) "s"."id")

CREATE TEMP TABLE "pg_temp"."sync_assets_staging_<digest>_gone"
  ON COMMIT DROP AS SELECT t.*
  FROM (SELECT k.*
  FROM (SELECT m.*
  FROM "sync_assets"."keys_by_page_<digest>" AS m JOIN "pg_temp"."sync_assets_staging_<digest>_pages" AS p
  ON m.leaf = p.leaf AND m.page = p.page) AS m CROSS JOIN LATERAL unnest("m"."keys_1") AS k ("id")) AS t
  WHERE NOT EXISTS (SELECT
  FROM "pg_temp"."sync_assets_staging_<digest>_keys" AS s
  WHERE t."id" OPERATOR(pg_catalog.=) "s"."id")

CREATE TEMP TABLE "pg_temp"."sync_assets_staging_<digest>_gone"
  ON COMMIT DROP AS SELECT t.*
  FROM (SELECT k.*
  FROM (SELECT m.*
  FROM "sync_assets"."keys_by_page_<digest>" AS m JOIN "pg_temp"."sync_assets_staging_<digest>_pages" AS p
  ON m.leaf = p.leaf AND m.page = p.page) AS m CROSS JOIN LATERAL unnest("m"."keys_1") AS k ("id")) AS t
  WHERE NOT EXISTS (SELECT
  FROM (SELECT *
  FROM pg_catalog.json_to_recordset('[]') AS s ("id" bigint, "sync_assets.leaf" bigint, "sync_assets.page" bigint)
  WHERE false) AS s
  WHERE t."id" OPERATOR(pg_catalog.=) "s"."id")


-- merge.keys_by_page.renew

ALTER TABLE "sync_assets"."keys_by_page_<digest>" ADD PRIMARY KEY (leaf, page)

ANALYZE "sync_assets"."keys_by_page_<digest>"

CREATE TABLE "sync_assets"."keys_by_page_<digest>" AS SELECT "sync_assets.leaf" AS leaf, "sync_assets.page" AS page, array_agg("id") AS "keys_1"
  FROM "pg_temp"."sync_assets_staging_<digest>_keys" AS s GROUP BY "sync_assets.leaf", "sync_assets.page"

DELETE
  FROM "sync_assets"."keys_by_page_<digest>"
  WHERE leaf = <oid> AND page >= 0

DELETE
  FROM "sync_assets"."keys_by_page_<digest>" AS m
  USING "pg_temp"."sync_assets_staging_<digest>_pages" AS p
  WHERE m.leaf = p.leaf AND m.page = p.page

INSERT INTO "sync_assets"."keys_by_page_<digest>" SELECT "sync_assets.leaf" AS leaf, "sync_assets.page" AS page, array_agg("id") AS "keys_1"
  FROM "pg_temp"."sync_assets_staging_<digest>_keys" AS s GROUP BY "sync_assets.leaf", "sync_assets.page"

INSERT INTO "sync_assets"."keys_by_page_<digest>" SELECT "sync_assets.leaf" AS leaf, "sync_assets.page" AS page, array_agg("id") AS "keys_1"
  FROM (SELECT *
  FROM pg_catalog.json_to_recordset('[]') AS s ("id" bigint, "sync_assets.leaf" bigint, "sync_assets.page" bigint)
  WHERE false) AS s GROUP BY "sync_assets.leaf", "sync_assets.page"


-- merge.merge._lock_whole

LOCK TABLE ONLY "shop"."all_orders" IN ACCESS SHARE MODE


-- merge.merge._merge, only on 15

SAVEPOINT collision;
SELECT (SELECT count(*)
  FROM "pg_temp"."sync_assets_staging_<digest>" AS s
  WHERE NOT EXISTS (SELECT
  FROM "shop"."lines" AS t
  WHERE t."id" OPERATOR(pg_catalog.=) "s"."id")), (SELECT count(*)
  FROM "pg_temp"."sync_assets_staging_<digest>" AS s JOIN "shop"."lines" AS t
  ON t."id" OPERATOR(pg_catalog.=) "s"."id"
  WHERE pg_catalog.record_image_ne(ROW("t"."id", "t"."part"), ROW("s"."id", "s"."part")))

SAVEPOINT collision;
SELECT (SELECT count(*)
  FROM "pg_temp"."sync_assets_staging_<digest>" AS s
  WHERE NOT EXISTS (SELECT
  FROM "shop"."orders" AS t
  WHERE t."id" OPERATOR(pg_catalog.=) "s"."id" AND t."total" OPERATOR(pg_catalog.=) "s"."total")), (SELECT count(*)
  FROM "pg_temp"."sync_assets_staging_<digest>" AS s JOIN "shop"."orders" AS t
  ON t."id" OPERATOR(pg_catalog.=) "s"."id" AND t."total" OPERATOR(pg_catalog.=) "s"."total"
  WHERE (pg_catalog.record_image_ne(ROW("t"."id", "t"."total", "t"."mail", "t"."note"), ROW("s"."id", "s"."total", "s"."mail", "s"."note")) OR t."deleted_at" IS NOT NULL))

SAVEPOINT collision;
SELECT (SELECT count(*)
  FROM "pg_temp"."sync_assets_staging_<digest>" AS s
  WHERE NOT EXISTS (SELECT
  FROM "shop"."orders" AS t
  WHERE t."id" OPERATOR(pg_catalog.=) "s"."id")), (SELECT count(*)
  FROM "pg_temp"."sync_assets_staging_<digest>" AS s JOIN "shop"."orders" AS t
  ON t."id" OPERATOR(pg_catalog.=) "s"."id"
  WHERE (pg_catalog.record_image_ne(ROW("t"."id", "t"."total", "t"."email"), ROW("s"."id", "s"."total", "s"."email")) OR t."deleted_at" IS NOT NULL))

SAVEPOINT collision;
SELECT (SELECT count(*)
  FROM "pg_temp"."sync_assets_staging_<digest>" AS s
  WHERE NOT EXISTS (SELECT
  FROM "shop"."orders" AS t
  WHERE t."id" OPERATOR(pg_catalog.=) "s"."id")), (SELECT count(*)
  FROM "pg_temp"."sync_assets_staging_<digest>" AS s JOIN "shop"."orders" AS t
  ON t."id" OPERATOR(pg_catalog.=) "s"."id"
  WHERE pg_catalog.record_image_ne(ROW("t"."id", "t"."total", "t"."email"), ROW("s"."id", "s"."total", "s"."email")))

SAVEPOINT collision;
SELECT (SELECT count(*)
  FROM "pg_temp"."sync_assets_staging_<digest>" AS s
  WHERE NOT EXISTS (SELECT
  FROM "shop"."orders" AS t
  WHERE t."id" OPERATOR(pg_catalog.=) "s"."id")), (SELECT count(*)
  FROM "pg_temp"."sync_assets_staging_<digest>" AS s JOIN "shop"."orders" AS t
  ON t."id" OPERATOR(pg_catalog.=) "s"."id"
  WHERE pg_catalog.record_image_ne(ROW("t"."id", "t"."total", "t"."mail", "t"."note"), ROW("s"."id", "s"."total", "s"."mail", "s"."note")))

SAVEPOINT collision;
SELECT (SELECT count(*)
  FROM (SELECT *
  FROM "pg_temp"."sync_assets_staging_<digest>" AS s
  WHERE "sync_assets.in_scope") AS s
  WHERE NOT EXISTS (SELECT
  FROM "shop"."orders" AS t
  WHERE t."id" OPERATOR(pg_catalog.=) "s"."id")), (SELECT count(*)
  FROM (SELECT *
  FROM "pg_temp"."sync_assets_staging_<digest>" AS s
  WHERE "sync_assets.in_scope") AS s JOIN "shop"."orders" AS t
  ON t."id" OPERATOR(pg_catalog.=) "s"."id"
  WHERE pg_catalog.record_image_ne(ROW("t"."id", "t"."total", "t"."email"), ROW("s"."id", "s"."total", "s"."email")))

SELECT (SELECT count(*)
  FROM "pg_temp"."sync_assets_staging_<digest>" AS s
  WHERE NOT EXISTS (SELECT
  FROM "shop"."orders" AS t
  WHERE t."id" OPERATOR(pg_catalog.=) "s"."id")), (SELECT count(*)
  FROM "pg_temp"."sync_assets_staging_<digest>" AS s JOIN "shop"."orders" AS t
  ON t."id" OPERATOR(pg_catalog.=) "s"."id"
  WHERE (pg_catalog.record_image_ne(ROW("t"."id", "t"."total", "t"."email"), ROW("s"."id", "s"."total", "s"."email")) OR t."deleted_at" IS NOT NULL))

SELECT (SELECT count(*)
  FROM "pg_temp"."sync_assets_staging_<digest>" AS s
  WHERE NOT EXISTS (SELECT
  FROM "shop"."orders" AS t
  WHERE t."id" OPERATOR(pg_catalog.=) "s"."id")), (SELECT count(*)
  FROM "pg_temp"."sync_assets_staging_<digest>" AS s JOIN "shop"."orders" AS t
  ON t."id" OPERATOR(pg_catalog.=) "s"."id"
  WHERE pg_catalog.record_image_ne(ROW("t"."id", "t"."total", "t"."email"), ROW("s"."id", "s"."total", "s"."email")))


-- merge.merge._merge, only on 18

SAVEPOINT collision;
WITH merged AS (MERGE INTO "shop"."lines" AS t
  USING "pg_temp"."sync_assets_staging_<digest>" AS s
  ON t."id" OPERATOR(pg_catalog.=) "s"."id"
  WHEN MATCHED AND pg_catalog.record_image_ne(ROW("t"."id", "t"."part"), ROW("s"."id", "s"."part")) THEN UPDATE
  SET "id" = s."id", "part" = s."part", "source_xmin" = s."source_xmin"
  WHEN NOT MATCHED THEN INSERT ("id", "part", "source_xmin") OVERRIDING SYSTEM VALUE
  VALUES ("s"."id", "s"."part", "s"."source_xmin")
  RETURNING merge_action() AS action) SELECT count(*) FILTER (WHERE action = 'INSERT'), count(*) FILTER (WHERE action = 'UPDATE')
  FROM merged

SAVEPOINT collision;
WITH merged AS (MERGE INTO "shop"."orders" AS t
  USING "pg_temp"."sync_assets_staging_<digest>" AS s
  ON t."id" OPERATOR(pg_catalog.=) "s"."id"
  WHEN MATCHED AND (pg_catalog.record_image_ne(ROW("t"."id", "t"."total", "t"."email"), ROW("s"."id", "s"."total", "s"."email")) OR t."deleted_at" IS NOT NULL) THEN UPDATE
  SET "id" = s."id", "total" = s."total", "email" = s."email", "source_xmin" = s."source_xmin", "deleted_at" = NULL
  WHEN NOT MATCHED THEN INSERT ("id", "total", "email", "source_xmin") OVERRIDING SYSTEM VALUE
  VALUES ("s"."id", "s"."total", "s"."email", "s"."source_xmin")
  RETURNING merge_action() AS action) SELECT count(*) FILTER (WHERE action = 'INSERT'), count(*) FILTER (WHERE action = 'UPDATE')
  FROM merged

SAVEPOINT collision;
WITH merged AS (MERGE INTO "shop"."orders" AS t
  USING "pg_temp"."sync_assets_staging_<digest>" AS s
  ON t."id" OPERATOR(pg_catalog.=) "s"."id"
  WHEN MATCHED AND pg_catalog.record_image_ne(ROW("t"."id", "t"."total", "t"."email"), ROW("s"."id", "s"."total", "s"."email")) THEN UPDATE
  SET "id" = s."id", "total" = s."total", "email" = s."email", "source_xmin" = s."source_xmin"
  WHEN NOT MATCHED THEN INSERT ("id", "total", "email", "source_xmin") OVERRIDING SYSTEM VALUE
  VALUES ("s"."id", "s"."total", "s"."email", "s"."source_xmin")
  RETURNING merge_action() AS action) SELECT count(*) FILTER (WHERE action = 'INSERT'), count(*) FILTER (WHERE action = 'UPDATE')
  FROM merged

SAVEPOINT collision;
WITH merged AS (MERGE INTO "shop"."orders" AS t
  USING "pg_temp"."sync_assets_staging_<digest>" AS s
  ON t."id" OPERATOR(pg_catalog.=) "s"."id"
  WHEN MATCHED AND pg_catalog.record_image_ne(ROW("t"."id", "t"."total", "t"."mail", "t"."note"), ROW("s"."id", "s"."total", "s"."mail", "s"."note")) THEN UPDATE
  SET "id" = s."id", "total" = s."total", "mail" = s."mail", "note" = s."note", "source_xmin" = s."source_xmin"
  WHEN NOT MATCHED THEN INSERT ("id", "total", "mail", "note", "source_xmin") OVERRIDING SYSTEM VALUE
  VALUES ("s"."id", "s"."total", "s"."mail", "s"."note", "s"."source_xmin")
  RETURNING merge_action() AS action) SELECT count(*) FILTER (WHERE action = 'INSERT'), count(*) FILTER (WHERE action = 'UPDATE')
  FROM merged

SAVEPOINT collision;
WITH merged AS (MERGE INTO "shop"."orders" AS t
  USING "pg_temp"."sync_assets_staging_<digest>" AS s
  ON t."id" OPERATOR(pg_catalog.=) "s"."id" AND t."total" OPERATOR(pg_catalog.=) "s"."total"
  WHEN MATCHED AND (pg_catalog.record_image_ne(ROW("t"."id", "t"."total", "t"."mail", "t"."note"), ROW("s"."id", "s"."total", "s"."mail", "s"."note")) OR t."deleted_at" IS NOT NULL) THEN UPDATE
  SET "id" = s."id", "total" = s."total", "mail" = s."mail", "note" = s."note", "source_xmin" = s."source_xmin", "deleted_at" = NULL
  WHEN NOT MATCHED THEN INSERT ("id", "total", "mail", "note", "source_xmin") OVERRIDING SYSTEM VALUE
  VALUES ("s"."id", "s"."total", "s"."mail", "s"."note", "s"."source_xmin")
  RETURNING merge_action() AS action) SELECT count(*) FILTER (WHERE action = 'INSERT'), count(*) FILTER (WHERE action = 'UPDATE')
  FROM merged

SAVEPOINT collision;
WITH merged AS (MERGE INTO "shop"."orders" AS t
  USING (SELECT *
  FROM "pg_temp"."sync_assets_staging_<digest>" AS s
  WHERE "sync_assets.in_scope") AS s
  ON t."id" OPERATOR(pg_catalog.=) "s"."id"
  WHEN MATCHED AND pg_catalog.record_image_ne(ROW("t"."id", "t"."total", "t"."email"), ROW("s"."id", "s"."total", "s"."email")) THEN UPDATE
  SET "id" = s."id", "total" = s."total", "email" = s."email", "source_xmin" = s."source_xmin"
  WHEN NOT MATCHED THEN INSERT ("id", "total", "email", "source_xmin") OVERRIDING SYSTEM VALUE
  VALUES ("s"."id", "s"."total", "s"."email", "s"."source_xmin")
  RETURNING merge_action() AS action) SELECT count(*) FILTER (WHERE action = 'INSERT'), count(*) FILTER (WHERE action = 'UPDATE')
  FROM merged

WITH merged AS (MERGE INTO "shop"."orders" AS t
  USING "pg_temp"."sync_assets_staging_<digest>" AS s
  ON t."id" OPERATOR(pg_catalog.=) "s"."id"
  WHEN MATCHED AND (pg_catalog.record_image_ne(ROW("t"."id", "t"."total", "t"."email"), ROW("s"."id", "s"."total", "s"."email")) OR t."deleted_at" IS NOT NULL) THEN UPDATE
  SET "id" = s."id", "total" = s."total", "email" = s."email", "source_xmin" = s."source_xmin", "deleted_at" = NULL
  WHEN NOT MATCHED THEN INSERT ("id", "total", "email", "source_xmin") OVERRIDING SYSTEM VALUE
  VALUES ("s"."id", "s"."total", "s"."email", "s"."source_xmin")
  RETURNING merge_action() AS action) SELECT count(*) FILTER (WHERE action = 'INSERT'), count(*) FILTER (WHERE action = 'UPDATE')
  FROM merged

WITH merged AS (MERGE INTO "shop"."orders" AS t
  USING "pg_temp"."sync_assets_staging_<digest>" AS s
  ON t."id" OPERATOR(pg_catalog.=) "s"."id"
  WHEN MATCHED AND pg_catalog.record_image_ne(ROW("t"."id", "t"."total", "t"."email"), ROW("s"."id", "s"."total", "s"."email")) THEN UPDATE
  SET "id" = s."id", "total" = s."total", "email" = s."email", "source_xmin" = s."source_xmin"
  WHEN NOT MATCHED THEN INSERT ("id", "total", "email", "source_xmin") OVERRIDING SYSTEM VALUE
  VALUES ("s"."id", "s"."total", "s"."email", "s"."source_xmin")
  RETURNING merge_action() AS action) SELECT count(*) FILTER (WHERE action = 'INSERT'), count(*) FILTER (WHERE action = 'UPDATE')
  FROM merged


-- merge.merge.alter_target

<PINNED>

<UNPINNED>


-- merge.merge.become_target

ALTER TABLE "shop"."sync_assets_staging_<digest>" RENAME CONSTRAINT "sync_assets_staging_<digest>_pkey" TO "lines_pkey"

ALTER TABLE "shop"."sync_assets_staging_<digest>" RENAME CONSTRAINT "sync_assets_staging_<digest>_pkey" TO "orders_pkey"

ALTER TABLE "shop"."sync_assets_staging_<digest>" RENAME TO "lines"

ALTER TABLE "shop"."sync_assets_staging_<digest>" RENAME TO "orders"


-- merge.merge.free_name

SELECT candidate
  FROM generate_series(0, 1000) AS n CROSS JOIN LATERAL (SELECT CASE n WHEN 0 THEN %(wanted)s ELSE left(%(wanted)s, 55) || n END) AS c (candidate)
  WHERE to_regclass(format('%%I.%%I', %(schema)s, candidate)) IS NULL LIMIT 1


-- merge.merge.lock_target

LOCK TABLE "shop"."lines" IN SHARE ROW EXCLUSIVE MODE

LOCK TABLE "shop"."orders" IN SHARE ROW EXCLUSIVE MODE

LOCK TABLE "shop"."sync_assets_staging_<digest>" IN SHARE ROW EXCLUSIVE MODE


-- merge.merge.lock_wholes

SELECT pg_advisory_xact_lock(%s)

SELECT to_regclass(%s) IS NOT NULL


-- merge.merge.merge_rows

<PINNED>

<UNPINNED>

ROLLBACK TO collision


-- merge.still_there.still_there

<BEGIN>;
<PINNED>

COMMIT

SELECT pg_catalog.count(*)
  FROM ROWS
  FROM (pg_catalog.unnest('{"7"}'::pg_catalog.text[])) AS wanted ("sync_assets.k0")
  WHERE EXISTS (SELECT
  FROM "shop"."orders"
  WHERE "id" OPERATOR(pg_catalog.=) wanted."sync_assets.k0"::bigint AND ( id > 0 ) IS TRUE)


-- merge.uniques.read_uniques

SELECT n.nspname, c.relname, x.relname, pg_get_constraintdef(k.oid), NOT i.indimmediate, -- A source may be older than the column. coalesce((to_jsonb(i)->>'indnullsnotdistinct')::boolean, false), ARRAY(SELECT pg_get_indexdef(i.indexrelid, part, false)
  FROM generate_series(1, i.indnkeyatts) AS part ORDER BY part), ARRAY(SELECT format('OPERATOR(%%I.%%s)', s.nspname, o.oprname)
  FROM unnest(coalesce(k.conexclop, ARRAY( SELECT a.amopopr
  FROM unnest(i.indclass::oid[]) WITH ORDINALITY AS p (opclass, place) JOIN pg_opclass oc
  ON oc.oid = p.opclass JOIN pg_amop a
  ON a.amopfamily = oc.opcfamily AND a.amopstrategy = 3 AND a.amoplefttype = oc.opcintype AND a.amoprighttype = oc.opcintype ORDER BY p.place))) WITH ORDINALITY AS e (operator, place) JOIN pg_operator o
  ON o.oid = e.operator JOIN pg_namespace s
  ON s.oid = o.oprnamespace ORDER BY e.place), pg_get_expr(i.indpred, i.indrelid), ARRAY(SELECT attname::text
  FROM pg_attribute a
  WHERE a.attrelid = i.indrelid AND a.attnum > 0 AND (a.attnum = ANY (i.indkey) OR EXISTS (SELECT
  FROM pg_depend d
  WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid AND d.refobjid = i.indrelid AND d.refobjsubid = a.attnum)) ORDER BY a.attnum), ARRAY(SELECT attname::text
  FROM pg_attribute a
  WHERE a.attrelid = i.indrelid AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1]) AND a.attnum > 0)
  FROM pg_index i JOIN pg_class x
  ON x.oid = i.indexrelid JOIN pg_class c
  ON c.oid = i.indrelid JOIN pg_namespace n
  ON n.oid = c.relnamespace
  LEFT JOIN pg_constraint k
  ON k.conrelid = i.indrelid -- has an index;
conindid has none AND k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x')
  WHERE i.indrelid = %s AND i.indisvalid AND (i.indisunique OR i.indisexclusion) ORDER BY x.relname


-- merge.violations._of_foreign_key

SELECT child.*, parent.*
  FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class p
  ON p.oid = k.conrelid JOIN pg_catalog.pg_namespace pn
  ON pn.oid = p.relnamespace CROSS JOIN LATERAL ( SELECT n.nspname, c.relname
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n
  ON n.oid = c.relnamespace
  WHERE c.oid = coalesce(pg_catalog.pg_partition_root(k.conrelid), k.conrelid) ) AS child CROSS JOIN LATERAL ( SELECT n.nspname, c.relname
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n
  ON n.oid = c.relnamespace
  WHERE c.oid = coalesce(pg_catalog.pg_partition_root(k.confrelid), k.confrelid) ) AS parent
  WHERE k.contype = 'f' AND (pn.nspname, p.relname, k.conname) = (%s, %s, %s)


-- merge.violations._of_not_null

SELECT named.*
  FROM pg_catalog.pg_class p JOIN pg_catalog.pg_namespace pn
  ON pn.oid = p.relnamespace CROSS JOIN LATERAL ( SELECT n.nspname, c.relname
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n
  ON n.oid = c.relnamespace
  WHERE c.oid = coalesce(pg_catalog.pg_partition_root(p.oid), p.oid) ) AS named
  WHERE (pn.nspname, p.relname) = (%s, %s)


-- merge.violations.explained

<BEGIN>

COMMIT
