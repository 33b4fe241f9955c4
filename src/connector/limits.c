/*
 * limits.c - how much and how fast: rates, requests in flight, time-outs, retries, compression, and the headers that tell what is left.
 *
 * Read from the connector's document and then from the destination's options: each member that is there replaces what was, rate groups one by
 * one, so that a destination can raise "default" and keep the others.
 */
#include <string.h>
#include "connector/compile.h"
#include "connector/request.h"

#define GZIP_BYTES_MIN      1024
#define CONCURRENCY_DEFAULT 4
#define TIMEOUT_MS          30000
#define CONNECT_TIMEOUT_MS  10000

void ond_limits_default(OndConnector *c) {
  memcpy(c->limits.rate.groups[0].name, "default", sizeof("default"));
  c->limits.rate.n_groups = 1;
  c->limits.concurrency = CONCURRENCY_DEFAULT;
  c->limits.timeout_ms = TIMEOUT_MS;
  c->limits.connect_timeout_ms = CONNECT_TIMEOUT_MS;
  ond_retry_policy_default(&c->limits.retry);
}

static bool parse_windows(const OndNode *at, OndRateGroup *group, OndError *err) {
  size_t n = 1;
  const char *text;

  if (json_object_is_type(at->value, json_type_array)) {
    ond_node_array(at, &n, err);
    if (n > OND_RATE_WINDOWS_MAX) {
      return ond_node_fail(at, err, "a rate limit has at most %d windows", OND_RATE_WINDOWS_MAX);
    }
  }
  for (size_t i = 0; i < n; i++) {
    OndNode one = json_object_is_type(at->value, json_type_array) ? ond_node_element(at, i) : *at;

    if (!ond_node_string(&one, &text, err)) {
      ond_error_hint(err, "%s", OND_RATE_LIMIT_HINT);
      return false;
    }
    if (!ond_rate_limit_parse(text, &group->limits[i], err)) {
      return ond_node_place(&one, err);
    }
  }
  group->n = (int)n;
  return true;
}

static OndRateGroup *find_group(OndRateSpec *rate, const char *name) {
  for (int i = 0; i < rate->n_groups; i++) {
    if (strcmp(rate->groups[i].name, name) == 0) {
      return &rate->groups[i];
    }
  }
  return NULL;
}

static bool parse_rate_group(OndConnector *c, const OndNode *at, OndError *err) {
  OndRateSpec *rate = &c->limits.rate;
  OndRateGroup *group = find_group(rate, at->member);
  size_t n = strlen(at->member);

  if (n == 0 || n >= OND_RATE_GROUP_NAME_MAX) {
    return ond_node_fail(at, err, "the name of a rate group must have 1 to %d bytes", OND_RATE_GROUP_NAME_MAX - 1);
  }
  if (!group) {
    if (rate->n_groups == OND_RATE_GROUPS_MAX) {
      return ond_node_fail(at, err, "a destination has at most %d rate groups, \"default\" among them", OND_RATE_GROUPS_MAX);
    }
    group = &rate->groups[rate->n_groups++];
    memcpy(group->name, at->member, n + 1);
  }
  return parse_windows(at, group, err);
}

static bool parse_rate_limit(OndConnector *c, const OndNode *object, OndError *err) {
  struct json_object_iterator it;
  struct json_object_iterator end;
  OndNode at;

  if (!ond_node_get(object, "rate_limit", &at)) {
    return true;
  }
  if (!json_object_is_type(at.value, json_type_object)) {
    return parse_windows(&at, &c->limits.rate.groups[0], err);
  }
  it = json_object_iter_begin(at.value);
  end = json_object_iter_end(at.value);
  for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
    OndNode group = {.parent = &at, .member = json_object_iter_peek_name(&it), .value = json_object_iter_peek_value(&it)};

    if (!parse_rate_group(c, &group, err)) {
      return false;
    }
  }
  return true;
}

static bool parse_retry(OndConnector *c, const OndNode *object, OndError *err) {
  static const char *const VALID[] = {"attempts", "base_ms", "max_ms", NULL};
  OndRetryPolicy *retry = &c->limits.retry;
  int64_t attempts = retry->attempts;
  int64_t base_ms = retry->base_us / 1000;
  int64_t max_ms = retry->max_us / 1000;
  OndNode at;

  if (!ond_node_get(object, "retry", &at)) {
    return true;
  }
  if (!ond_node_object(&at, VALID, err) || !ond_member_int(&at, "attempts", 1, 100, &attempts, err) ||
      !ond_member_int(&at, "base_ms", 1, 600000, &base_ms, err) || !ond_member_int(&at, "max_ms", 1, 86400000, &max_ms, err)) {
    return false;
  }
  if (max_ms < base_ms) {
    return ond_node_fail(&at, err, "\"max_ms\" (%lld) is less than \"base_ms\" (%lld)", (long long)max_ms, (long long)base_ms);
  }
  retry->attempts = (int)attempts;
  retry->base_us = base_ms * 1000;
  retry->max_us = max_ms * 1000;
  return true;
}

static bool parse_gzip(OndConnector *c, const OndNode *object, OndError *err) {
  static const char *const VALID[] = {"min_bytes", NULL};
  int64_t min = GZIP_BYTES_MIN;
  OndNode at;

  if (!ond_node_get(object, "gzip", &at)) {
    return true;
  }
  if (json_object_is_type(at.value, json_type_object)) {
    if (!ond_node_object(&at, VALID, err) || !ond_member_int(&at, "min_bytes", 0, (int64_t)OND_BODY_BYTES_MAX, &min, err)) {
      return false;
    }
    c->gzip = true;
  } else if (!ond_node_bool(&at, &c->gzip, err)) {
    return false;
  }
  c->gzip_bytes_min = (size_t)min;
  return true;
}

bool ond_limits_parse(OndConnector *c, const OndNode *at, OndError *err) {
  int64_t concurrency = c->limits.concurrency;
  int64_t timeout_ms = c->limits.timeout_ms;
  int64_t connect_timeout_ms = c->limits.connect_timeout_ms;

  if (!parse_rate_limit(c, at, err) || !parse_retry(c, at, err) || !parse_gzip(c, at, err) ||
      !ond_member_int(at, "concurrency", 1, 1000, &concurrency, err) || !ond_member_int(at, "timeout_ms", 1, 3600000, &timeout_ms, err) ||
      !ond_member_int(at, "connect_timeout_ms", 1, 600000, &connect_timeout_ms, err)) {
    return false;
  }
  c->limits.concurrency = (int)concurrency;
  c->limits.timeout_ms = (int)timeout_ms;
  c->limits.connect_timeout_ms = (int)connect_timeout_ms;
  return true;
}

/* ---- headers that tell what is left ---- */

static bool parse_header_name(OndConnector *c, const OndNode *object, const char *member, const char **out, OndError *err) {
  OndNode at;

  if (!ond_node_get(object, member, &at)) {
    return ond_node_missing(object, member, "{\"remaining\": \"X-RateLimit-Remaining\", \"reset\": \"X-RateLimit-Reset\"}", err);
  }
  if (!ond_node_string(&at, out, err) || !ond_request_header_name(&at, *out, err)) {
    return false;
  }
  *out = ond_arena_strdup(c->arena, *out);
  return true;
}

bool ond_rate_headers_parse(OndConnector *c, const OndNode *at, OndError *err) {
  static const char *const VALID[] = {"remaining", "reset", "unit", NULL};
  static const char *const UNITS[] = {"seconds", "ms", NULL};
  OndRateHeaders *out = &c->rate_headers;
  int unit = 0;
  OndNode member;

  if (!ond_node_object(at, VALID, err) || !parse_header_name(c, at, "remaining", &out->remaining, err) ||
      !parse_header_name(c, at, "reset", &out->reset, err)) {
    return false;
  }
  if (ond_node_get(at, "unit", &member) && !ond_node_word(&member, UNITS, &unit, err)) {
    return false;
  }
  out->ms = unit == 1;
  return true;
}

static int64_t pause_of(const OndHttpResponse *response, const OndRateHeaders *names, int64_t now_unix_s) {
  OndBytes remaining = ond_http_response_header(response, names->remaining);
  OndBytes reset = ond_http_response_header(response, names->reset);
  int64_t us;

  if (remaining.n != 1 || remaining.p[0] != '0' || reset.n == 0) {
    return 0;
  }
  us = ond_rate_reset_us(reset.p, reset.n, now_unix_s);
  return us <= 0 ? 0 : names->ms ? us / 1000 : us;
}

int64_t ond_connector_rate_pause(const OndConnector *c, const OndHttpResponse *response, int64_t now_unix_s) {
  static const OndRateHeaders USUAL[] = {{"RateLimit-Remaining", "RateLimit-Reset", false},
                                         {"X-RateLimit-Remaining", "X-RateLimit-Reset", false}};
  int64_t pause = 0;

  if (c->rate_headers.remaining) {
    return pause_of(response, &c->rate_headers, now_unix_s);
  }
  for (size_t i = 0; i < sizeof(USUAL) / sizeof(USUAL[0]); i++) {
    int64_t one = pause_of(response, &USUAL[i], now_unix_s);

    pause = one > pause ? one : pause;
  }
  return pause;
}

OndAfterAnswer ond_connector_after(const OndConnector *c, const OndHttpResponse *response, OndAnswer answer, int attempt, int64_t now_us,
                                   int64_t now_unix_s, uint64_t random) {
  OndBytes header = ond_http_response_header(response, "Retry-After");
  int64_t retry_after = header.p ? ond_retry_after_us(header.p, header.n, now_unix_s) : -1;
  int64_t pause = ond_connector_rate_pause(c, response, now_unix_s);
  OndAfterAnswer after = {.again_us = now_us + ond_backoff_us(&c->limits.retry, attempt, retry_after, random)};

  if (pause > 0) {
    after.pause_until_us = now_us + pause;
  }
  if (answer == OND_ANSWER_THROTTLED && after.again_us > after.pause_until_us) {
    after.pause_until_us = after.again_us;
  }
  if (after.pause_until_us > now_us + OND_PAUSE_MAX_US) {
    after.pause_until_us = now_us + OND_PAUSE_MAX_US;
  }
  return after;
}
