/*
 * report.c - report_html(): one page about syncs, runs and destinations, for people.
 *
 * The queries read the views with the caller's own rights, so the page shows what the caller may see. Every text of anybody's passes
 * ond_html_text(). The page is
 * ASCII, parses as XML too, has no script and names nothing outside; a Content-Security-Policy says the same.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "catalog/utf8.h"
#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "api/api.h"
#include "api/report_charts.h"
#include "core/html.h"

#define SYNCS_MAX      200
#define PAGE_BYTES_MAX (256 * 1024 * 1024)
#define NAME_CHARS     80
#define WORDS_CHARS    400

static const char style[] =
    ":root{--bg:#f6f7f9;--card:#fff;--ink:#1a1f26;--dim:#5c6672;--line:#dde1e7;--ok:#1f8a5b;--ok2:#57b894;--del:#3f6fb5;--warn:#c77700;--"
    "bad:#c62f3b;--held:#7a4fc0;--idle:#a9b2bd;--code:#eef0f4}"
    "@media(prefers-color-scheme:dark){:root{--bg:#12161b;--card:#1b2128;--ink:#e8ebef;--dim:#9aa5b1;--line:#2d353e;--ok:#3fb984;--ok2:#"
    "2a7d5b;--del:#6c9be0;--warn:#eea53a;--bad:#ff6b74;"
    "--held:#b493f2;--idle:#5b6671;--code:#252c34}}"
    "*{box-sizing:border-box}body{margin:0;padding:16px;background:var(--bg);color:var(--ink);font:15px/1.45 "
    "system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}"
    "main{max-width:1180px;margin:0 auto}h1{font-size:22px;margin:0}h2{font-size:17px;margin:28px 0 "
    "10px}h3{font-size:16px;margin:0;overflow-wrap:anywhere}p{margin:6px 0;overflow-wrap:anywhere}"
    ".dim{color:var(--dim)}.small{font-size:13px}.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(104px,1fr));gap:10px;"
    "margin:14px 0}"
    ".tile{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:10px 12px}.tile "
    "b{display:block;font-size:26px;line-height:1.15}.tile.alarm{border-color:var(--bad)}"
    ".tile.alarm b{color:var(--bad)}.tile.care{border-color:var(--warn)}.tile.care b{color:var(--warn)}.tile.fine b{color:var(--ok)}"
    ".grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,350px),1fr));gap:12px;align-items:start}"
    ".card{background:var(--card);border:1px solid var(--line);border-left:5px solid var(--idle);border-radius:10px;padding:12px "
    "14px;min-width:0}"
    ".card.bad{border-left-color:var(--bad)}.card.held{border-left-color:var(--held)}.card.warn{border-left-color:var(--warn)}.card.ok{"
    "border-left-color:var(--ok)}"
    ".head{display:flex;gap:8px;justify-content:space-between;align-items:flex-start}.badge{white-space:nowrap;font-size:12.5px;font-"
    "weight:600;border-radius:20px;padding:1px 9px;color:var(--card);background:var(--idle)}"
    ".badge.bad{background:var(--bad)}.badge.held{background:var(--held)}.badge.warn{background:var(--warn)}.badge.ok{background:var(--ok)}"
    "code{display:block;background:var(--code);border-radius:6px;padding:6px 8px;margin:6px 0;font:13px/1.4 "
    "ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;overflow-wrap:anywhere;white-space:pre-wrap}"
    "svg{display:block;width:100%}svg "
    "text{fill:var(--dim);font-size:11px;font-family:inherit}.axis{stroke:var(--line)}.s-ok{fill:var(--ok)}.s-ok2{fill:var(--ok2)}.s-del{"
    "fill:var(--del)}.s-bad{fill:var(--bad)}"
    ".s-warn{fill:var(--warn)}.s-held{fill:var(--held)}.s-idle{fill:var(--idle)}.s-line{fill:var(--line)}"
    ".label{margin:10px 0 3px;font-size:12.5px;color:var(--dim)}.legend{display:flex;flex-wrap:wrap;gap:2px 12px;margin:4px 0 "
    "0;font-size:12.5px}.legend i{display:inline-block;width:10px;height:10px;border-radius:3px;margin-right:5px}"
    ".legend .s-ok{background:var(--ok)}.legend .s-ok2{background:var(--ok2)}.legend .s-del{background:var(--del)}.legend "
    ".s-bad{background:var(--bad)}.legend .s-warn{background:var(--warn)}"
    ".legend .s-held{background:var(--held)}.legend .s-idle{background:var(--idle)}.legend .s-line{background:var(--line)}"
    ".chart{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:12px 14px}footer{margin:28px 0 "
    "8px}.narrow{display:none}@media(max-width:640px){.wide{display:none}svg.narrow{display:block}.legend.narrow{display:flex}}";

/* What needs somebody comes first. */
static const char syncs_sql[] =
    "SELECT s.sync_id, s.name, s.state, s.state_reason, s.destination, s.mode, s.schedule, s.severity, s.status, s.run_id, extract(epoch "
    "FROM s.finished_at), to_char(s.finished_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'),"
    " extract(epoch FROM now() - s.finished_at), extract(epoch FROM s.duration), s.error_message, s.error_detail, extract(epoch FROM "
    "s.next_run_at - now()), s.failing, s.waiting, s.held_run, s.held_message,"
    " s.would_send, s.running, s.rows_unchanged, s.rows_created, s.rows_updated, s.rows_deleted, s.rows_failed + s.deletes_failed, "
    "s.rows_invalid, s.rows_held_back, s.rows_skipped,"
    " s.rows_pending + s.deletes_pending, s.object FROM ("
    "SELECT s.*, r.status, r.run_id, r.finished_at, r.duration, r.error_message, r.error_detail, r.rows_unchanged, r.rows_created, "
    "r.rows_updated, r.rows_deleted, r.rows_failed, r.deletes_failed,"
    " r.rows_invalid, r.rows_held_back, r.rows_skipped, r.rows_pending, r.deletes_pending, f.failing, f.waiting, h.run_id AS held_run, "
    "h.message AS held_message, h.would_send, p.phase AS running,"
    " CASE WHEN s.state = 'error' THEN 0 WHEN s.state IN ('paused', 'archived') THEN 7 WHEN h.run_id IS NOT NULL THEN 1 WHEN r.status IN "
    "('failed', 'interrupted') THEN 2"
    " WHEN s.next_run_at < now() - interval '5 minutes' AND p.phase IS NULL THEN 3 WHEN f.failing > 0 OR r.status = 'partial' THEN 4 WHEN "
    "s.state = 'created' THEN 6 ELSE 5 END AS severity"
    " FROM ondatra.syncs s LEFT JOIN ondatra.sync_runs r ON r.run_id = s.last_run_id"
    " LEFT JOIN (SELECT f.sync_id, count(*) AS failing, count(*) FILTER (WHERE f.next_attempt_at IS NULL) AS waiting FROM "
    "ondatra.failed_rows f GROUP BY f.sync_id) f ON f.sync_id = s.sync_id"
    " LEFT JOIN ondatra.held_runs h ON h.sync_name = s.name AND h.approved_by IS NULL"
    " LEFT JOIN (SELECT p.sync_name, min(p.phase) AS phase FROM ondatra.run_progress p GROUP BY p.sync_name) p ON p.sync_name = s.name) s "
    "ORDER BY s.severity, s.name";

enum {
  S_ID = 1,
  S_NAME,
  S_STATE,
  S_REASON,
  S_DESTINATION,
  S_MODE,
  S_SCHEDULE,
  S_SEVERITY,
  S_STATUS,
  S_RUN,
  S_EPOCH,
  S_FINISHED,
  S_AGO,
  S_TOOK,
  S_ERROR,
  S_DETAIL,
  S_NEXT,
  S_FAILING,
  S_WAITING,
  S_HELD,
  S_HELD_MESSAGE,
  S_WOULD_SEND,
  S_RUNNING,
  S_UNCHANGED,
  S_OBJECT = 33
};

static const char runs_sql[] = "SELECT r.status, extract(epoch FROM r.duration), to_char(coalesce(r.started_at, r.queued_at) AT TIME ZONE "
                               "'UTC', 'YYYY-MM-DD HH24:MI:SS'), r.rows_created + r.rows_updated + r.rows_deleted,"
                               " r.rows_failed + r.rows_invalid + r.deletes_failed, r.run_id FROM ondatra.sync_runs r WHERE r.sync_id = $1 "
                               "ORDER BY r.run_id DESC LIMIT " CppAsString2(OND_REPORT_RUNS);

static const char reasons_sql[] = "SELECT f.error_class, count(*), min(f.error_message), max(f.http_status) FROM ondatra.failed_rows f "
                                  "WHERE f.sync_id = $1 GROUP BY f.error_class ORDER BY 2 DESC, 1";

static const char hours_sql[] =
    "SELECT to_char(h AT TIME ZONE 'UTC', 'HH24:00'), coalesce(sum(r.rows_created), 0), coalesce(sum(r.rows_updated), 0), "
    "coalesce(sum(r.rows_deleted), 0),"
    " coalesce(sum(r.rows_failed + r.rows_invalid + r.deletes_failed), 0) FROM generate_series(date_trunc('hour', now()) - interval '23 "
    "hours', date_trunc('hour', now()), interval '1 hour') h"
    " LEFT JOIN (SELECT date_trunc('hour', coalesce(u.finished_at, now())) AS hour, u.* FROM ondatra.sync_runs u WHERE u.finished_at >= "
    "date_trunc('hour', now()) - interval '23 hours'"
    " OR u.finished_at IS NULL) r ON r.hour = h GROUP BY h ORDER BY h";

static const char destinations_sql[] = "SELECT d.name, d.in_flight, extract(epoch FROM d.paused_until - clock_timestamp()), d.last_error, "
                                       "extract(epoch FROM now() - d.last_error_at), d.tokens_left FROM ondatra.destination_status d"
                                       " WHERE EXISTS (SELECT FROM ondatra.syncs s WHERE s.destination = d.name) OR d.tokens_left IS NOT "
                                       "NULL OR d.last_error IS NOT NULL ORDER BY d.last_error_at DESC NULLS LAST, d.name LIMIT 100";

/* --- values and texts ----------------------------------------------------------------------------------------- */

/* A column as text; "" for NULL. */
static const char *get(const SPITupleTable *t, uint64 row, int column) {
  char *text = SPI_getvalue(t->vals[row], t->tupdesc, column);

  return text == NULL ? "" : text;
}

static double number(const SPITupleTable *t, uint64 row, int column) {
  return strtod(get(t, row, column), NULL);
}

static bool is(const SPITupleTable *t, uint64 row, int column, const char *word) {
  return strcmp(get(t, row, column), word) == 0;
}

static void put_text(OndBuf *out, const char *s, size_t chars_max) {
  ond_html_text(out, ond_to_utf8(s), chars_max);
}

/* "12 min"; seconds, not negative. */
static const char *span(double s) {
  if (s < 0.0005)
    return "0 s";
  if (s < 1)
    return psprintf("%.0f ms", s * 1000);
  if (s < 120)
    return psprintf("%.0f s", s);
  if (s < 7200)
    return psprintf("%.0f min", s / 60);
  return s < 172800 ? psprintf("%.0f h", s / 3600) : psprintf("%.0f days", s / 86400);
}

static void command(OndBuf *out, const char *sql) {
  ond_buf_append_str(out, "<code>");
  put_text(out, sql, WORDS_CHARS);
  ond_buf_append_str(out, "</code>\n");
}

static void paragraph(OndBuf *out, const char *words) {
  if (words[0] == '\0')
    return;
  ond_buf_append_str(out, "<p><bdi>");
  put_text(out, words, WORDS_CHARS);
  ond_buf_append_str(out, "</bdi></p>\n");
}

/* --- a sync --------------------------------------------------------------------------------------------------- */

typedef enum Severity { STOPPED, HELD, FAILED, LATE, FAILING, FINE, NEW, RESTS, SEVERITIES } Severity;

static const char *const classes[SEVERITIES] = {"bad", "held", "bad", "warn", "warn", "ok", "idle", "idle"};
static const char *const badges[SEVERITIES] = {"stopped", "held", "failed", "late", "rows failing", "ok", "never ran", "rests"};

static SPITupleTable *query(const char *sql, int64 sync_id, uint64 *n) {
  Oid types[] = {INT8OID};
  Datum values[] = {Int64GetDatum(sync_id)};
  int rc = sync_id == 0 ? SPI_execute(sql, true, 0) : SPI_execute_with_args(sql, 1, types, values, NULL, true, 0);

  if (rc != SPI_OK_SELECT)
    elog(ERROR, "unexpected SPI result %s", SPI_result_code_string(rc));
  *n = SPI_processed;
  return SPI_tuptable;
}

/* What is wrong, and the way out. */
static void put_trouble(OndBuf *out, const SPITupleTable *t, uint64 row, Severity severity) {
  const char *name = quote_literal_cstr(get(t, row, S_NAME));

  switch (severity) {
  case STOPPED:
    paragraph(out, get(t, row, S_REASON));
    paragraph(out, get(t, row, S_DETAIL));
    ond_buf_append_str(out, "<p class=\"dim small\">It runs again when its cause is mended and somebody calls:</p>\n");
    command(out, psprintf("SELECT ondatra.resume_sync(%s);", name));
    break;
  case HELD:
    paragraph(out, get(t, row, S_HELD_MESSAGE));
    paragraph(out, get(t, row, S_WOULD_SEND));
    ond_buf_append_str(out, "<p class=\"dim small\">Nothing is sent until somebody decides:</p>\n");
    command(out, psprintf("SELECT ondatra.approve_run(%s);\nSELECT ondatra.reject_run(%s);", get(t, row, S_HELD), get(t, row, S_HELD)));
    break;
  case FAILED:
    paragraph(out, get(t, row, S_ERROR));
    paragraph(out, get(t, row, S_DETAIL));
    break;
  case LATE:
    ond_buf_appendf(out,
                    "<p>It was due %s ago, and has not started. Is ondatra.enabled on, and is there room among ondatra.max_workers?</p>\n",
                    span(-number(t, row, S_NEXT)));
    break;
  case FAILING: paragraph(out, get(t, row, S_ERROR)); break;
  case RESTS: paragraph(out, get(t, row, S_REASON)); break;
  default: break;
  }
}

static void put_reasons(OndBuf *out, const SPITupleTable *sync, uint64 row) {
  uint64 n;
  SPITupleTable *t;
  double most = 1;

  if (number(sync, row, S_FAILING) == 0)
    return;
  t = query(reasons_sql, strtoll(get(sync, row, S_ID), NULL, 10), &n);
  for (uint64 i = 0; i < n; i++)
    most = Max(most, number(t, i, 2));
  ond_buf_appendf(out, "<div class=\"label\">Failed rows by reason: %s, of them %s wait for a person or another version</div>\n",
                  get(sync, row, S_FAILING), get(sync, row, S_WAITING));
  for (uint64 i = 0; i < n; i++) {
    ond_buf_appendf(out, "<p class=\"small\"><b>%s</b> %s", get(t, i, 1), get(t, i, 2));
    if (get(t, i, 4)[0] != '\0')
      ond_buf_appendf(out, " &#xb7; HTTP %s", get(t, i, 4));
    ond_buf_append_str(out, " <span class=\"dim\">such as: <bdi>");
    put_text(out, get(t, i, 3), 120);
    ond_buf_append_str(out, "</bdi></span></p>\n");
    ond_chart_level(out, number(t, i, 2) / most, "s-bad");
  }
  command(out, psprintf("SELECT * FROM ondatra.failed_rows WHERE sync_name = %s;", quote_literal_cstr(get(sync, row, S_NAME))));
  SPI_freetuptable(t);
}

static void put_history(OndBuf *out, int64 sync_id) {
  uint64 n;
  SPITupleTable *t = query(runs_sql, sync_id, &n);
  OndChartRun *runs = palloc0(sizeof(OndChartRun) * Max(n, 1));

  for (uint64 i = 0; i < n; i++) {
    OndChartRun *r = &runs[n - 1 - i]; /* the oldest at the left */

    r->status = get(t, i, 1);
    r->seconds = number(t, i, 2);
    r->title = psprintf("run %s, %s UTC: %s, %s, %s rows delivered, %s failed", get(t, i, 6), get(t, i, 3), get(t, i, 1), span(r->seconds),
                        get(t, i, 4), get(t, i, 5));
  }
  if (n > 0) {
    ond_buf_appendf(out,
                    n == 1 ? "<div class=\"label\">The only run; height: duration</div>\n"
                           : "<div class=\"label\">Last %d runs, the newest at the right; height: duration</div>\n",
                    (int)n);
    ond_chart_runs(out, runs, (int)n);
  }
  SPI_freetuptable(t);
}

static void put_outcomes(OndBuf *out, const SPITupleTable *t, uint64 row) {
  static const char *const names[] = {"unchanged", "created", "updated", "deleted", "failed", "invalid", "held back", "skipped", "pending"};
  static const char *const colours[] = {"s-line", "s-ok", "s-ok2", "s-del", "s-bad", "s-bad", "s-warn", "s-idle", "s-held"};
  OndChartPart parts[lengthof(names)];

  for (int i = 0; i < (int)lengthof(names); i++)
    parts[i] = (OndChartPart){names[i], colours[i], number(t, row, S_UNCHANGED + i)};
  ond_buf_append_str(out, "<div class=\"label\">Rows of the last run</div>\n");
  ond_chart_parts(out, parts, lengthof(names));
}

static void put_facts(OndBuf *out, const SPITupleTable *t, uint64 row) {
  ond_buf_append_str(out, "<p class=\"dim small\">");
  if (get(t, row, S_RUNNING)[0] != '\0')
    ond_buf_appendf(out, "<b>running now: %s</b> &#xb7; ", get(t, row, S_RUNNING));
  if (get(t, row, S_RUN)[0] == '\0')
    ond_buf_append_str(out, "no run yet");
  else
    ond_buf_appendf(out, "run %s %s <span title=\"%s UTC\">%s ago</span>, took %s", get(t, row, S_RUN), get(t, row, S_STATUS),
                    get(t, row, S_FINISHED), span(ceil(number(t, row, S_AGO))), span(number(t, row, S_TOOK)));
  if (get(t, row, S_NEXT)[0] != '\0')
    ond_buf_appendf(out, number(t, row, S_NEXT) > 0 ? " &#xb7; next in %s" : " &#xb7; due since %s",
                    span(number(t, row, S_NEXT) > 0 ? number(t, row, S_NEXT) : -number(t, row, S_NEXT)));
  ond_buf_append_str(out, "<br/>");
  put_text(out, get(t, row, S_MODE), 20);
  ond_buf_append_str(out, " to <bdi>");
  put_text(out, get(t, row, S_DESTINATION), NAME_CHARS);
  if (get(t, row, S_OBJECT)[0] != '\0') {
    ond_buf_append_str(out, "</bdi>, <bdi>");
    put_text(out, get(t, row, S_OBJECT), NAME_CHARS);
  }
  ond_buf_append_str(out, "</bdi>, ");
  put_text(out, get(t, row, S_SCHEDULE)[0] == '\0' ? "when asked" : psprintf("every %s", get(t, row, S_SCHEDULE)), NAME_CHARS);
  ond_buf_append_str(out, "</p>\n");
}

static void put_sync(OndBuf *out, const SPITupleTable *t, uint64 row) {
  Severity severity = (Severity)number(t, row, S_SEVERITY);
  const char *badge = severity == RESTS ? get(t, row, S_STATE) : badges[severity];

  CHECK_FOR_INTERRUPTS();
  ond_buf_appendf(out, "<article class=\"card %s\">\n<div class=\"head\"><h3><bdi>", classes[severity]);
  put_text(out, get(t, row, S_NAME), NAME_CHARS);
  ond_buf_appendf(out, "</bdi></h3><span class=\"badge %s\">%s</span></div>\n", classes[severity], badge);
  put_facts(out, t, row);
  put_trouble(out, t, row, severity);
  put_reasons(out, t, row);
  put_history(out, strtoll(get(t, row, S_ID), NULL, 10));
  if (get(t, row, S_RUN)[0] != '\0')
    put_outcomes(out, t, row);
  ond_buf_append_str(out, "</article>\n");
}

/* --- the page ------------------------------------------------------------------------------------------------- */

static void put_tile(OndBuf *out, const char *class, int64 n, const char *words) {
  ond_buf_appendf(out, "<div class=\"tile %s\"><b>" INT64_FORMAT "</b>%s</div>\n", n > 0 ? class : "", n, words);
}

static void put_head(OndBuf *out, const SPITupleTable *t, uint64 n) {
  int64 counts[SEVERITIES] = {0};
  uint64 m;
  SPITupleTable *now =
      query("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'), current_setting('ondatra.enabled')", 0, &m);

  for (uint64 i = 0; i < n; i++)
    counts[(int)number(t, i, S_SEVERITY)]++;
  ond_buf_append_str(out, "<header><h1>ondatra</h1><p class=\"dim\">database <bdi>");
  put_text(out, get_database_name(MyDatabaseId), NAME_CHARS);
  ond_buf_appendf(out, "</bdi> &#xb7; %s UTC &#xb7; what role <bdi>", get(now, 0, 1));
  put_text(out, GetUserNameFromId(GetUserId(), false), NAME_CHARS);
  ond_buf_append_str(out, "</bdi> may see</p></header>\n");
  if (!is(now, 0, 2, "on"))
    ond_buf_append_str(out, "<article class=\"card bad\"><h3>No sync runs: ondatra.enabled is off</h3></article>\n");
  ond_buf_append_str(out, "<section class=\"tiles\">\n");
  put_tile(out, "alarm", counts[STOPPED], "stopped");
  put_tile(out, "alarm", counts[HELD], "held");
  put_tile(out, "alarm", counts[FAILED], "last run failed");
  put_tile(out, "care", counts[LATE], "late");
  put_tile(out, "care", counts[FAILING], "rows failing");
  put_tile(out, "fine", counts[FINE] + counts[NEW], "fine");
  put_tile(out, "", counts[RESTS], "paused or archived");
  ond_buf_append_str(out, "</section>\n");
  SPI_freetuptable(now);
}

static void put_hours(OndBuf *out) {
  uint64 n;
  SPITupleTable *t = query(hours_sql, 0, &n);
  OndChartHour *hours = palloc0(sizeof(OndChartHour) * Max(n, 1));

  for (uint64 i = 0; i < n; i++) {
    hours[i].label = get(t, i, 1);
    for (int k = 0; k < OND_CHART_KINDS; k++)
      hours[i].rows[k] = number(t, i, 2 + k);
  }
  ond_buf_append_str(out, "<h2>Rows in the last 24 hours</h2>\n<section class=\"chart\">\n");
  ond_chart_hours(out, hours, (int)n, 960, "wide");
  ond_chart_hours(out, hours, (int)n, 400, "narrow");
  ond_buf_append_str(out, "</section>\n");
  SPI_freetuptable(t);
}

/* tokens_left: "73 of 100/10s, bulk 5 of 10/s": the program's own words, but for names of groups. */
static void put_budget(OndBuf *out, const char *left) {
  char *copy = pstrdup(left);
  char *saved = NULL;

  for (char *part = strtok_r(copy, ",", &saved); part != NULL; part = strtok_r(NULL, ",", &saved)) {
    const char *of = strstr(part, " of ");
    const char *digits = of;
    double max = of == NULL ? 0 : strtod(of + 4, NULL);

    while (digits != NULL && digits > part && digits[-1] >= '0' && digits[-1] <= '9')
      digits--;
    ond_buf_append_str(out, "<div class=\"label\">");
    put_text(out, part, NAME_CHARS);
    ond_buf_append_str(out, " left</div>\n");
    if (max > 0)
      ond_chart_level(out, strtod(digits, NULL) / max, strtod(digits, NULL) * 10 < max ? "s-warn" : "s-ok");
  }
}

static void put_destinations(OndBuf *out) {
  uint64 n;
  SPITupleTable *t = query(destinations_sql, 0, &n);

  if (n > 0)
    ond_buf_append_str(out, "<h2>Destinations</h2>\n<section class=\"grid\">\n");
  for (uint64 i = 0; i < n; i++) {
    bool paused = number(t, i, 3) > 0;
    bool recent = get(t, i, 4)[0] != '\0' && number(t, i, 5) < 3600;

    ond_buf_appendf(out, "<article class=\"card %s\"><div class=\"head\"><h3><bdi>", paused || recent ? "warn" : "ok");
    put_text(out, get(t, i, 1), NAME_CHARS);
    ond_buf_appendf(out, "</bdi></h3><span class=\"badge %s\">%s</span></div>\n<p class=\"dim small\">%s requests in flight</p>\n",
                    paused || recent ? "warn" : "ok",
                    paused   ? psprintf("pause: %s", span(number(t, i, 3)))
                    : recent ? "errors lately"
                             : "ok",
                    get(t, i, 2));
    put_budget(out, get(t, i, 6));
    if (get(t, i, 4)[0] != '\0') {
      ond_buf_appendf(out, "<div class=\"label\">Last error, %s ago</div>\n", span(ceil(number(t, i, 5))));
      paragraph(out, get(t, i, 4));
    }
    ond_buf_append_str(out, "</article>\n");
  }
  if (n > 0)
    ond_buf_append_str(out, "</section>\n");
  SPI_freetuptable(t);
}

static void put_page(OndBuf *out) {
  uint64 n;
  SPITupleTable *t = query(syncs_sql, 0, &n);

  ond_buf_appendf(out,
                  "<!DOCTYPE html>\n<html xmlns=\"http://www.w3.org/1999/xhtml\" lang=\"en\"><head><meta charset=\"utf-8\"/><meta "
                  "name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>"
                  "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/><meta "
                  "name=\"color-scheme\" content=\"light dark\"/>"
                  "<meta name=\"referrer\" content=\"no-referrer\"/><title>ondatra</title><style>%s</style></head>\n<body><main>\n",
                  style);
  put_head(out, t, n);
  ond_buf_appendf(out, "<h2>%s</h2>\n<section class=\"grid\">\n", n == 0 ? "No syncs" : "Syncs");
  for (uint64 i = 0; i < Min(n, SYNCS_MAX); i++)
    put_sync(out, t, i);
  ond_buf_append_str(out, "</section>\n");
  if (n > SYNCS_MAX)
    ond_buf_appendf(out, "<p class=\"dim\">" INT64_FORMAT " more syncs are not shown; those that need somebody come first.</p>\n",
                    (int64)n - SYNCS_MAX);
  put_hours(out);
  put_destinations(out);
  ond_buf_append_str(out, "<footer class=\"dim small\">Times are UTC. Hover over a bar for its numbers. The same in SQL: "
                          "ondatra.sync_status, sync_runs, failed_rows, destination_status.</footer>\n"
                          "</main></body></html>\n");
}

static void free_page(void *page) {
  ond_buf_free(page);
}

/* report_html(): in the caller's snapshot and with the caller's rights; only names are looked up where nobody else's objects are. */
PG_FUNCTION_INFO_V1(ond_sql_report_html);
Datum ond_sql_report_html(PG_FUNCTION_ARGS) {
  OndBuf *page = palloc0(sizeof(OndBuf));
  int nest_level;

  ond_call_refuse_in_run();
  ond_buf_init(page, PAGE_BYTES_MAX);
  ond_api_adopt(free_page, page);
  nest_level = NewGUCNestLevel();
  (void)set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
  ond_pin_text_settings();
  if (SPI_connect() != SPI_OK_CONNECT)
    elog(ERROR, "SPI_connect failed");
  put_page(page);
  SPI_finish();
  AtEOXact_GUC(false, nest_level);
  if (page->overflow)
    ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("the page would be larger than %d MB", PAGE_BYTES_MAX / 1024 / 1024)));
  PG_RETURN_TEXT_P(cstring_to_text_with_len(page->data, (int)page->len));
}
