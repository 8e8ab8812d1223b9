-- W1: narrow, a varchar key, one value in a hundred NULL, no column that says when a row changed.
-- Everything comes from the row's number and md5, so that it is the same everywhere.
CREATE TABLE sym_ticker_exchange (
  fsym_id         varchar(20) PRIMARY KEY,
  ticker_exchange varchar(50)
);

-- An odd factor modulo 2^30 gives each number a key of its own, scattered over all keys.
CREATE FUNCTION work_rows(first bigint, last bigint) RETURNS SETOF sym_ticker_exchange
LANGUAGE sql STABLE AS $$
  SELECT concat(
           substr(digits, 1 + ((k >> 25) & 31)::int, 1), substr(digits, 1 + ((k >> 20) & 31)::int, 1),
           substr(digits, 1 + ((k >> 15) & 31)::int, 1), substr(digits, 1 + ((k >> 10) & 31)::int, 1),
           substr(digits, 1 + ((k >> 5) & 31)::int, 1), substr(digits, 1 + (k & 31)::int, 1), '-S'),
         CASE WHEN get_byte(h, 0) >= 3 THEN concat(
           translate(substr(encode(h, 'hex'), 5, 2 + get_byte(h, 1) % 4),
                     '0123456789abcdef', 'ABCDEFGHIJKLMNOP'),
           CASE WHEN get_byte(h, 2) < 6 THEN '.B' END,
           '-', exchanges[1 + get_byte(h, 3) % 10]) END
  FROM (VALUES ('0123456789BCDFGHJKLMNPQRSTVWXYZE',
                ARRAY['NAS','NYS','LON','TKS','KRX','HKG','PAR','FRA','TOR','ASX'])) a (digits, exchanges),
       generate_series(first, last) i,
       LATERAL (SELECT decode(md5('42:t:' || i), 'hex'), (i * 715225741 + 12345) & 1073741823) r (h, k)
$$;

CREATE FUNCTION work_change(every int, first bigint, last bigint) RETURNS void
LANGUAGE sql AS $$
  UPDATE sym_ticker_exchange SET ticker_exchange = coalesce(ticker_exchange, 'NEW') || '2'
  WHERE ('x' || substr(md5('42' || fsym_id), 1, 7))::bit(28)::int % every = 0;
  INSERT INTO sym_ticker_exchange SELECT * FROM work_rows(first, last);
$$;
