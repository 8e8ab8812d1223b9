-- What happens between the first and the second run. Each table's rows by verb: changes.json.

UPDATE sym_v1.sym_ticker_exchange SET ticker_exchange = 'moved' WHERE fsym_id < 'F000021';
INSERT INTO sym_v1.sym_ticker_exchange SELECT 'N' || i, '' FROM generate_series(1, 30) i;

UPDATE shop.customers SET tags = '{}', email = NULL WHERE id % 100 = 0;
INSERT INTO shop.customers (name) VALUES ('새 고객'), ('');

UPDATE shop.orders SET amount = amount + 0.01 WHERE id BETWEEN 100 AND 149;
INSERT INTO shop.orders SELECT i, date '2027-01-01', NULL::bigint, NULL::numeric FROM generate_series(9001, 9007) i;

UPDATE shop.order_lines SET price = round(price, 2) WHERE order_id = 500;
INSERT INTO shop.order_lines VALUES (1, 4, 'new', NULL, NULL);

UPDATE "한국 상점"."주문 내역" SET "고객 ""이름""" = NULL WHERE "주문번호" <= 12;
INSERT INTO "한국 상점"."주문 내역" VALUES (1001, '끝', -1);

INSERT INTO shop.nothing_yet VALUES (1, NULL), (2, '');

INSERT INTO shop.audit_log VALUES (NULL, NULL);

UPDATE shop.events SET payload = '' WHERE at < '2026-01-01 00:00:10+00';

BEGIN;
UPDATE shop."order" SET "from" = NULL WHERE "select" = 'k7';
SAVEPOINT a;
UPDATE shop."order" SET "where" = NULL WHERE "select" IN ('k8', 'k9');
ROLLBACK TO a;
UPDATE shop."order" SET "from" = 'x' WHERE "select" = 'k10';
COMMIT;

-- Written again with the same values: read, and not written to the target.
UPDATE shop."Products" SET price = price WHERE "Region" = 'Ax';
UPDATE shop."Products" SET price = '-0' WHERE "Region" = 'Bx' AND "Code" = 'C1';

UPDATE shop.stock SET level = level + 1 WHERE level < 5;
INSERT INTO shop.stock VALUES ('SKU-new', NULL);
