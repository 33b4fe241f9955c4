-- Which database may send.

CREATE FUNCTION ondatra.arm(policy text) RETURNS bigint
  AS 'MODULE_PATHNAME', 'ond_sql_arm' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION ondatra.arm(text) IS
  'Lets a database send that was copied, restored or promoted: trust what was delivered, resend all rows, hold or reconcile each sync first. For the extension''s owner. Returns how many syncs are paused by it.';

CREATE FUNCTION ondatra.check_arming(OUT armed boolean, OUT reason text)
  AS 'MODULE_PATHNAME', 'ond_sql_check_arming' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION ondatra.check_arming() IS 'Whether this database may send: behind the view ondatra.arming.';

CREATE VIEW ondatra.arming WITH (security_barrier) AS
  SELECT c.armed, c.reason, a.policy, a.armed_by, a.armed_at
  FROM ondatra.check_arming() c LEFT JOIN ondatra.armed_to a ON true;
COMMENT ON VIEW ondatra.arming IS 'Whether this database may send. A copy, a restored dump or a promoted standby may not until arm() was called.';
COMMENT ON COLUMN ondatra.arming.reason IS 'Why not.';
COMMENT ON COLUMN ondatra.arming.policy IS 'What arm() was called with; first: armed with its first destination; promotion: by ondatra.resume_after_promotion. NULL: not armed yet.';
