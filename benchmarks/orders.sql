-- W2: wide. Text that a careless CSV breaks, numbers that a float rounds, microseconds, jsonb, arrays,
-- bytea, inet, intervals; `updated_at` says when a row changed and has an index.
-- Everything comes from the row's number and md5, so that it is the same everywhere.
CREATE TABLE orders (
  id            bigint PRIMARY KEY,
  order_uuid    uuid NOT NULL,
  customer_code varchar(32) NOT NULL,
  status        varchar(16) NOT NULL,
  notes         text,
  description   text,
  amount        numeric(18,4) NOT NULL,
  unit_price    numeric,
  tax_rate      double precision,
  weight        real,
  quantity      integer NOT NULL,
  priority      smallint,
  is_paid       boolean,
  order_date    date NOT NULL,
  placed_at     timestamptz NOT NULL,
  shipped_at    timestamp,
  attrs         jsonb,
  tag_ids       integer[],
  thumb         bytea,
  client_ip     inet,
  lead_time     interval,
  updated_at    timestamptz NOT NULL
);
CREATE INDEX ON orders (updated_at);

-- For tools that stop at some types: those as text.
CREATE VIEW orders_as_text AS
SELECT id, order_uuid, customer_code, status, notes, description, amount,
       unit_price::text AS unit_price, tax_rate, weight, quantity, priority, is_paid, order_date,
       placed_at, shipped_at, attrs::text AS attrs, tag_ids::text AS tag_ids, thumb::text AS thumb,
       CASE WHEN client_ip IS NOT NULL THEN format('%s', client_ip) END AS client_ip,
       lead_time::text AS lead_time, updated_at
FROM orders;

CREATE FUNCTION number_at(h bytea, i int) RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (get_byte(h, i) << 16) | (get_byte(h, i + 1) << 8) | get_byte(h, i + 2);

CREATE FUNCTION work_rows(first bigint, last bigint) RETURNS SETOF orders
LANGUAGE sql STABLE AS $$
  SELECT
    i,
    hex::uuid,
    'CUST-' || lpad((number_at(h, 0) % 50000)::text, 6, '0'),
    (ARRAY['new', 'paid', 'shipped', 'returned', 'cancelled'])[1 + get_byte(h, 3) % 5],
    CASE get_byte(h, 4) % 16
      WHEN 0 THEN NULL
      WHEN 1 THEN ''
      WHEN 2 THEN 'comma, "double quote", ''single'' and ; semicolon'
      WHEN 3 THEN E'line one\nline two\r\nline three\ttabbed'
      WHEN 4 THEN '주문 메모 ' || i || ' — naïve café ☕ 🚚'
      WHEN 5 THEN E'back\\slash \\N \\. and a trailing backslash\\'
      WHEN 6 THEN 'NULL'
      WHEN 7 THEN '  leading and trailing spaces  '
      WHEN 8 THEN '{"not": "json", ' || i || '}'
      ELSE 'customer asked for delivery window ' || get_byte(h, 5) || ', ref ' || substr(hex, 1, 12)
    END,
    CASE WHEN get_byte(h, 6) >= 20
      THEN repeat('item ' || substr(hex, 9, 8) || ', ', 1 + get_byte(h, 6) % 6) END,
    (number_at(h, 5)::numeric * (1 + get_byte(h, 7)) + get_byte(h, 8)) / 10000
      * CASE WHEN get_byte(h, 9) < 16 THEN -1 ELSE 1 END,
    CASE WHEN get_byte(h, 10) >= 25
      THEN ('12345678901234567890.' || lpad(number_at(h, 10)::text, 8, '0') || '123456789')::numeric
           / (1 + get_byte(h, 11)) END,
    CASE WHEN get_byte(h, 11) >= 10
      THEN number_at(h, 11)::float8 / 16777216 * (1 + get_byte(h, 12)::float8 / 3) END,
    (number_at(h, 12)::float8 / 1000)::real,
    1 + get_byte(h, 13),
    CASE WHEN get_byte(h, 14) >= 30 THEN (get_byte(h, 14) % 7)::smallint END,
    CASE WHEN get_byte(h, 15) % 10 <> 0 THEN get_byte(h, 15) % 2 = 0 END,
    date '2024-01-01' + number_at(h, 1) % 700,
    timestamptz '2024-01-01 00:00:00+00' + number_at(h, 1) % 700 * interval '1 day'
      + number_at(h, 2)::bigint * 5123 * interval '1 microsecond',
    CASE WHEN get_byte(h, 2) >= 60
      THEN timestamp '2024-01-01' + number_at(h, 3) % 720 * interval '1 day'
           + number_at(h, 4)::bigint * 5101 * interval '1 microsecond' END,
    CASE WHEN get_byte(h, 3) >= 12
      THEN jsonb_build_object(
        'channel', (ARRAY['web', 'app', 'store'])[1 + get_byte(h, 5) % 3],
        'z', get_byte(h, 6), 'a', NULL, 'text', 'quote " back \ 한글',
        'big', 12345678901234567890.12345678901234567890,
        'items', jsonb_build_array(get_byte(h, 7), get_byte(h, 8)::numeric / 10, true)) END,
    CASE
      WHEN get_byte(h, 8) < 12 THEN NULL
      WHEN get_byte(h, 8) < 24 THEN '{}'::int[]
      WHEN get_byte(h, 8) < 30 THEN ARRAY[get_byte(h, 9), NULL, get_byte(h, 10)]
      ELSE ARRAY[get_byte(h, 9), -get_byte(h, 10), number_at(h, 10)]
    END,
    CASE WHEN get_byte(h, 12) >= 40 THEN substr(h, 1, get_byte(h, 12) % 17) END,
    CASE
      WHEN get_byte(h, 13) < 20 THEN NULL
      WHEN get_byte(h, 13) < 60 THEN ('2001:db8::' || to_hex(number_at(h, 9) & 65535) || '/64')::inet
      ELSE ('10.' || get_byte(h, 9) || '.' || get_byte(h, 10) || '.' || get_byte(h, 11))::inet
    END,
    CASE WHEN get_byte(h, 14) >= 20
      THEN make_interval(months => get_byte(h, 14) % 3, days => get_byte(h, 15) % 30,
                         secs => number_at(h, 11)::float8 / 1000) END,
    timestamptz '2025-06-01 00:00:00+00' + number_at(h, 6)::bigint * 999983 * interval '1 microsecond'
  FROM generate_series(first, last) i,
       LATERAL (SELECT md5('42:o:' || i)) m (hex),
       LATERAL (SELECT decode(hex, 'hex')) r (h)
$$;

CREATE FUNCTION work_change(every int, first bigint, last bigint) RETURNS void
LANGUAGE sql AS $$
  UPDATE orders SET status = 'changed', amount = amount + 1.2345,
         notes = coalesce(notes, '') || ' (edited)', is_paid = NOT is_paid,
         updated_at = timestamptz '2026-02-01 00:00:00+00' + id % 86400000 * interval '1 millisecond'
  WHERE ('x' || substr(md5('42' || id), 1, 7))::bit(28)::int % every = 0;
  WITH new AS (SELECT * FROM work_rows(first, last))
  INSERT INTO orders
  SELECT id, order_uuid, customer_code, status, notes, description, amount, unit_price, tax_rate,
         weight, quantity, priority, is_paid, order_date, placed_at, shipped_at, attrs, tag_ids,
         thumb, client_ip, lead_time,
         timestamptz '2026-02-01 00:00:00+00' + id % 86400000 * interval '1 millisecond'
  FROM new;
$$;
