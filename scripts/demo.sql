-- What `make demo` shows. Run by scripts/demo.sh with psql -v url=BASE_URL, and DESTINATION in the environment.
\set QUIET 1
\set ON_ERROR_STOP 1
\pset footer off
\pset linestyle unicode
\pset null ''

\echo '== 30,000 customers in a table, a view that says what an API should know of them'
CREATE SCHEMA mart;
CREATE TABLE mart.people (id int PRIMARY KEY, email text, plan text, mrr numeric(10, 2) NOT NULL);
INSERT INTO mart.people
  SELECT i, 'user' || i || '@example.com', (ARRAY['free', 'pro', 'team'])[1 + i % 3], i % 3 * 24.50 FROM generate_series(1, 30000) i;
-- The destination of this demo refuses what has a field "poison", and gives its text as the reason.
\! curl -sS -o /dev/null -X POST -d '{"records": {"message": "{}"}}' "$DESTINATION/_control/script"
CREATE VIEW mart.customers AS
  SELECT id, email, plan, mrr, CASE WHEN email LIKE '%@@%' THEN 'email is not valid: ' || email END AS poison FROM mart.people;

\echo
\echo '== A destination: an API that takes 500 records in a request and says for each what became of it'
\set ECHO queries
SELECT ondatra.set_secret('crm_token', 'demo-token');
SELECT ondatra.create_destination('crm', base_url => :'url',
  auth    => '{"type": "bearer", "token": {"secret": "crm_token"}}',
  options => '{"rate_limit": "40/1s", "concurrency": 4,
    "object": {
      "upsert": {"method": "POST", "path": "/batch", "query": {"collection": "contacts", "result": "order"}, "batch": {"rows": 500},
        "body": ["$each", "$fields"],
        "result": {"rows": "/results", "match": "order", "ok": {"path": "/ok", "equals": true}, "error": "/message"}},
      "delete": {"method": "DELETE", "path": "/contacts/{{key}}"}}}');
SELECT * FROM ondatra.test_destination('crm');

\set ECHO none
\echo
\echo '== A sync. What would it do? What would it send?'
\set ECHO queries
SELECT ondatra.create_sync('customers', 'mart.customers', 'crm', key => '{id}', mode => 'mirror', paused => true);
SELECT * FROM ondatra.plan_sync('customers');
SELECT operation, method, url, left(body, 60) || ' …' AS body FROM ondatra.preview_sync('customers', 1);

\set ECHO none
\echo
\echo '== A canary of 10 rows, then everything'
\set ECHO queries
SELECT run_id, status, rows_scanned, rows_created, rows_pending, requests FROM ondatra.run_sync('customers', max_rows => 10);
SELECT run_id, status, rows_scanned, rows_unchanged, rows_created, requests, throttled_ms, duration FROM ondatra.run_sync('customers');
SELECT run_id, status, rows_scanned, rows_unchanged, requests, duration FROM ondatra.run_sync('customers');

\set ECHO none
\echo
\echo '== Only what changed is sent: 300 updates, 15 deletes, 20 new customers'
\set ECHO queries
UPDATE mart.people SET plan = 'team', mrr = 99 WHERE id % 100 = 0;
DELETE FROM mart.people WHERE id BETWEEN 101 AND 115;
INSERT INTO mart.people SELECT i, 'user' || i || '@example.com', 'free', 0 FROM generate_series(30001, 30020) i;
SELECT run_id, status, rows_unchanged, rows_created, rows_updated, rows_deleted, requests FROM ondatra.run_sync('customers');

\set ECHO none
\echo
\echo '== Three rows that the API refuses: the others go, these wait with their reason'
\set ECHO queries
UPDATE mart.people SET email = 'user' || id || '@@example' WHERE id IN (7, 77, 777);
UPDATE mart.people SET plan = 'pro' WHERE id BETWEEN 1000 AND 1009;
SELECT run_id, status, rows_updated, rows_failed, requests FROM ondatra.run_sync('customers');
SELECT key, operation, error_class, error_message, attempts, next_attempt_at FROM ondatra.failed_rows;
SELECT jsonb_pretty(ondatra.explain_row('customers', '{"id": 77}')) AS explain_row;

\set ECHO none
\echo
\echo '== Two of them are mended; the refused one is not sent again by itself'
\set ECHO queries
UPDATE mart.people SET email = 'user' || id || '@example.org' WHERE id IN (7, 77);
SELECT run_id, status, rows_updated, rows_held_back, requests FROM ondatra.run_sync('customers');

\set ECHO none
\echo
\echo '== The API is down for a while: nothing is lost, the run says what it met'
\! curl -sS -o /dev/null -X POST -d '{"rules": [{"path": "^/batch", "answer": {"status": 503, "json": {"message": "down for maintenance"}}}]}' "$DESTINATION/_control/script"
\set ECHO queries
UPDATE mart.people SET mrr = mrr + 1 WHERE id % 2 = 0;
SELECT ondatra.update_destination('crm', options => '{"retry": {"attempts": 2, "base_ms": 50, "max_ms": 200}}');
SELECT run_id, status, rows_updated, rows_failed, rows_pending, requests, retries, left(error_message, 60) AS error_message FROM ondatra.run_sync('customers');
\set ECHO none
\! curl -sS -o /dev/null -X POST -d '{"rules": []}' "$DESTINATION/_control/script"
\echo
\echo '== It is back'
\set ECHO queries
SELECT ondatra.retry_failed('customers');
SELECT run_id, status, rows_unchanged, rows_updated, rows_failed, rows_pending, requests FROM ondatra.run_sync('customers');

\set ECHO none
\echo
\echo '== On a schedule from now on'
\set ECHO queries
SELECT ondatra.update_sync('customers', schedule => '1 minute');
SELECT ondatra.resume_sync('customers');
SELECT name, state, last_status, last_run_at, next_run_at, backlog, failing, held_back FROM ondatra.sync_status;
SELECT run_id, status, trigger, rows_scanned, rows_created, rows_updated, rows_deleted, rows_failed, rows_pending, requests FROM ondatra.sync_runs ORDER BY run_id;
