-- Eleven tables of every common shape, with their first rows.

CREATE SCHEMA sym_v1;
CREATE TABLE sym_v1.sym_ticker_exchange (
  fsym_id varchar(20) PRIMARY KEY,
  ticker_exchange varchar(50)
);
INSERT INTO sym_v1.sym_ticker_exchange
SELECT 'F' || lpad(i::text, 6, '0') || '-R', CASE WHEN i % 10 > 0 THEN 'T' || i || '-NYS' END
FROM generate_series(1, 2000) i;

CREATE SCHEMA shop;
CREATE TYPE shop.tier AS ENUM ('basic', 'gold, "plus"', '특별');
CREATE DOMAIN shop.email AS text CHECK (VALUE LIKE '%@%');
CREATE TABLE shop.customers (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL,
  email shop.email,
  tier shop.tier NOT NULL DEFAULT 'basic',
  tags text[],
  profile jsonb,
  created_at timestamptz NOT NULL DEFAULT '2026-01-01 00:00:00+00'
);
INSERT INTO shop.customers (name, email, tier, tags, profile)
SELECT E'O''Brien, "' || i || E'"\n\\.', CASE WHEN i % 3 = 0 THEN i || '@example.org' END,
       (ARRAY['basic', 'gold, "plus"', '특별'])[1 + i % 3]::shop.tier,
       CASE WHEN i % 4 > 0 THEN ARRAY['a,b', NULL, ''] END, jsonb_build_object('n', i, 'ü', NULL)
FROM generate_series(1, 500) i;

CREATE TABLE shop.orders (
  id bigint,
  placed_on date,
  customer_id bigint REFERENCES shop.customers,
  amount numeric(12,2),
  PRIMARY KEY (id, placed_on)
) PARTITION BY RANGE (placed_on);
CREATE TABLE shop.orders_2026_01 PARTITION OF shop.orders
  FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE shop.orders_2026_02 PARTITION OF shop.orders
  FOR VALUES FROM ('2026-02-01') TO ('2026-03-01') PARTITION BY HASH (id);
CREATE TABLE shop.orders_2026_02_a PARTITION OF shop.orders_2026_02
  FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE shop.orders_2026_02_b PARTITION OF shop.orders_2026_02
  FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE shop.orders_other PARTITION OF shop.orders DEFAULT;
INSERT INTO shop.orders
SELECT i, date '2026-01-01' + i % 90, 1 + i % 500, i * 1.10 FROM generate_series(1, 3000) i;

CREATE TABLE shop.order_lines (
  order_id bigint,
  line smallint,
  sku varchar(20) NOT NULL,
  quantity integer,
  price numeric,
  PRIMARY KEY (order_id, line)
);
INSERT INTO shop.order_lines
SELECT i, l, 'SKU-' || i % 97, NULLIF(i % 5, 0), i / 3.0
FROM generate_series(1, 1000) i, generate_series(1, 3) l;

CREATE SCHEMA "한국 상점";
CREATE TABLE "한국 상점"."주문 내역" (
  "주문번호" integer PRIMARY KEY,
  "고객 ""이름""" text,
  "금액" numeric(12,0)
);
INSERT INTO "한국 상점"."주문 내역" SELECT i, '고객 ' || i, i * 1000 FROM generate_series(1, 300) i;

CREATE TABLE shop.nothing_yet (id integer PRIMARY KEY, v text);

CREATE TABLE shop.audit_log (at timestamptz, what text);
INSERT INTO shop.audit_log SELECT '2026-01-01', 'event ' || i FROM generate_series(1, 50) i;

CREATE TABLE shop.events (
  id uuid PRIMARY KEY,
  at timestamptz(3) NOT NULL,
  took interval,
  payload bytea,
  source inet,
  during tstzrange
);
INSERT INTO shop.events
SELECT md5(i::text)::uuid, '2026-01-01 00:00:00+00'::timestamptz + i * interval '1 s 1 ms',
       i * interval '-1 day 1 hour', decode(md5(i::text), 'hex'), '10.0.0.0'::inet + i,
       tstzrange('2026-01-01', NULL)
FROM generate_series(1, 800) i;

CREATE TABLE shop."order" ("select" text PRIMARY KEY, "from" text, "where" boolean);
INSERT INTO shop."order" SELECT 'k' || i, NULLIF('', i::text), i % 2 = 0 FROM generate_series(1, 40) i;

CREATE TABLE shop."Products" (
  "Code" varchar(12) NOT NULL,
  "Region" char(2) NOT NULL,
  price double precision,
  sizes integer[][],
  CONSTRAINT products_key UNIQUE ("Region", "Code")
);
INSERT INTO shop."Products"
SELECT 'C' || i % 50, chr(65 + i / 50) || 'x', CASE i % 7 WHEN 0 THEN 'NaN' ELSE i / 7.0 END,
       ARRAY[[i, 1], [NULL, 2]]
FROM generate_series(0, 199) i;

CREATE UNLOGGED TABLE shop.stock (sku varchar(20) PRIMARY KEY, level integer, doubled integer
  GENERATED ALWAYS AS (level * 2) STORED);
INSERT INTO shop.stock (sku, level) SELECT 'SKU-' || i, i FROM generate_series(0, 96) i;
