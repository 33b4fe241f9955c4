-- Read by latency.py, with the variable port.
CREATE SCHEMA IF NOT EXISTS bench;
CREATE TABLE bench.one (id int PRIMARY KEY, value bigint NOT NULL);
INSERT INTO bench.one VALUES (1, 0);
SELECT ondatra.create_destination('latency', base_url => 'http://127.0.0.1:' || :'port',
  options => '{"object": {"upsert": {"method": "PUT", "path": "/one/{{key}}"}}}');
SELECT ondatra.create_sync('latency', 'bench.one', 'latency');
