/*
 * backoff.h - when to try again.
 *
 * In a run: exponential with full jitter (delay = random in [0, min(max, base * 2^(attempt-1))]),
 * never earlier than Retry-After, which itself has a ceiling. Between runs: next_attempt_at grows
 * from a minute to six hours.
 */
#ifndef OND_CORE_BACKOFF_H
#define OND_CORE_BACKOFF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct OndRetryPolicy {
  int attempts;            /* tries of one request in one run, >= 1; default 5 */
  int64_t base_us;         /* default 500 ms */
  int64_t max_us;          /* default 60 s */
  int64_t retry_after_max_us; /* ceiling for Retry-After; default 10 min */
} OndRetryPolicy;

extern void ond_retry_policy_default(OndRetryPolicy *p);

/*
 * Delay before attempt number `attempt` + 1 (attempt counts from 1: the try that just failed), microseconds.
 * `random` is uniform in 64 bits; retry_after_us < 0: the answer named none.
 */
extern int64_t ond_backoff_us(const OndRetryPolicy *p, int attempt, int64_t retry_after_us, uint64_t random);

/* Delay between runs after `attempts` failed runs of a row: 1 min * 2^(attempts-1) up to 6 h, microseconds (no jitter). */
extern int64_t ond_backoff_between_runs_us(int attempts);

/*
 * Retry-After of RFC 9110 10.2.3: delay seconds or an HTTP date (IMF-fixdate; the two obsolete forms too).
 * now_unix_s is the wall clock; a date in the past is 0. Returns microseconds, or -1 when it cannot be read.
 */
extern int64_t ond_retry_after_us(const char *value, size_t n, int64_t now_unix_s);

/*
 * RateLimit-Reset and X-RateLimit-Reset: seconds from now (up to 10^9), or a moment as seconds or milliseconds since 1970; a fraction is
 * rounded up. A moment in the past is 0. Returns microseconds, at most ten years of them, or -1 when it cannot be read.
 */
extern int64_t ond_rate_reset_us(const char *value, size_t n, int64_t now_unix_s);

#endif
