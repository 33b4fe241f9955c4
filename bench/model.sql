-- The benchmark's model: psql -v rows=N. Ten columns as a customers' mart has them; and what a hand-written diff would keep: md5 of each row's text.
CREATE SCHEMA IF NOT EXISTS bench;
CREATE TABLE bench.customers (id bigint PRIMARY KEY, email text, name text, plan text, country char(2), mrr numeric(10, 2), seats int,
  active boolean, signup date, updated_at timestamptz);
INSERT INTO bench.customers
  SELECT i, 'user' || i || '@example.com', 'Customer number ' || i, (ARRAY['free', 'pro', 'team', 'enterprise'])[1 + i % 4],
    (ARRAY['DE', 'FR', 'US', 'GB'])[1 + i % 4], (i % 10000) * 0.5, i % 500, i % 7 <> 0, date '2020-01-01' + (i % 2000)::int,
    timestamptz '2024-01-01' + i * interval '13.7 seconds'
  FROM generate_series(1, :rows) i;
CREATE TABLE bench.md5_state AS SELECT id, md5(c::text) AS hash FROM bench.customers c;
ALTER TABLE bench.md5_state ADD PRIMARY KEY (id);
CREATE TABLE bench.single AS SELECT * FROM bench.customers WHERE id <= :requests;
ALTER TABLE bench.single ADD PRIMARY KEY (id);

SELECT ondatra.create_destination('single', base_url => :'url', options => format('{"concurrency": %s, "object": {"upsert": {"method": "PUT", "path": "/one/{{key}}"}}}', :concurrency)::jsonb);
SELECT ondatra.create_destination('batches', base_url => :'url',
  options => '{"concurrency": 4, "object": {"upsert": {"method": "POST", "path": "/batch", "batch": {"rows": 1000}, "body": ["$each", "$fields"]}}}');
SELECT ondatra.create_sync('diff', 'bench.customers', 'batches', key => '{id}', paused => true);
SELECT ondatra.rebase_sync('diff');
VACUUM ANALYZE;
