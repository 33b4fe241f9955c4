/*
 * report_charts.c - see report_charts.h.
 */
#include "postgres.h"

#include <math.h>

#include "api/report_charts.h"

#define RUN_WIDTH    8
#define RUN_HEIGHT   36
#define RUN_LEAST    4
#define PARTS_WIDTH  1000
#define PART_LEAST   14
#define HOURS_HEIGHT 170
#define HOURS_LEFT   58
#define HOURS_FOOT   24

static const char *colour_of(const char *status) {
  static const struct {
    const char *status, *colour;
  } all[] = {{"succeeded", "s-ok"}, {"partial", "s-warn"}, {"failed", "s-bad"}, {"interrupted", "s-bad"}, {"held", "s-held"}};

  for (int i = 0; i < (int)lengthof(all); i++) {
    if (strcmp(all[i].status, status) == 0)
      return all[i].colour;
  }
  return "s-idle";
}

static void legend(OndBuf *out, const char *colour, const char *words) {
  ond_buf_appendf(out, "<span><i class=\"%s\"></i>%s</span>", colour, words);
}

void ond_chart_runs(OndBuf *out, const OndChartRun *runs, int n) {
  double longest = 0.001;

  for (int i = 0; i < n; i++)
    longest = Max(longest, runs[i].seconds);
  ond_buf_appendf(out, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"run history\">", OND_REPORT_RUNS * RUN_WIDTH, RUN_HEIGHT + 1);
  ond_buf_appendf(out, "<rect class=\"s-line\" x=\"0\" y=\"%d\" width=\"%d\" height=\"1\"/>", RUN_HEIGHT, OND_REPORT_RUNS * RUN_WIDTH);
  for (int i = 0; i < n; i++) {
    double height = RUN_LEAST + sqrt(runs[i].seconds / longest) * (RUN_HEIGHT - RUN_LEAST);

    ond_buf_appendf(out, "<rect class=\"%s\" x=\"%d\" y=\"%.1f\" width=\"%d\" height=\"%.1f\" rx=\"1\"><title>%s</title></rect>",
                    colour_of(runs[i].status), (OND_REPORT_RUNS - n + i) * RUN_WIDTH, RUN_HEIGHT - height, RUN_WIDTH - 2, height,
                    runs[i].title);
  }
  ond_buf_append_str(out, "</svg>\n");
}

/* 1234567 as 1,234,567. */
static const char *grouped(double n) {
  char digits[32];
  char *text = palloc(64);
  char *p = text;
  int length = snprintf(digits, sizeof(digits), "%.0f", n);

  for (int i = 0; i < length; i++) {
    if (i > 0 && (length - i) % 3 == 0)
      *p++ = ',';
    *p++ = digits[i];
  }
  *p = '\0';
  return text;
}

void ond_chart_parts(OndBuf *out, const OndChartPart *parts, int n) {
  double total = 0, width = PARTS_WIDTH, x = 0;

  for (int i = 0; i < n; i++) {
    total += parts[i].n;
    width -= parts[i].n > 0 ? PART_LEAST : 0;
  }
  ond_buf_appendf(out, "<svg viewBox=\"0 0 %d 12\" height=\"12\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"rows by outcome\">",
                  PARTS_WIDTH);
  if (total == 0)
    ond_buf_appendf(out, "<rect class=\"s-line\" x=\"0\" y=\"0\" width=\"%d\" height=\"12\"/>", PARTS_WIDTH);
  for (int i = 0; i < n; i++) {
    double part = PART_LEAST + width * parts[i].n / Max(total, 1);

    if (parts[i].n == 0)
      continue;
    ond_buf_appendf(out, "<rect class=\"%s\" x=\"%.1f\" y=\"0\" width=\"%.1f\" height=\"12\"><title>%s: %s</title></rect>", parts[i].colour,
                    x, part - 2, parts[i].name, grouped(parts[i].n));
    x += part;
  }
  ond_buf_append_str(out, "</svg>\n<div class=\"legend\">");
  for (int i = 0; i < n; i++) {
    if (parts[i].n > 0)
      legend(out, parts[i].colour, psprintf("%s %s", grouped(parts[i].n), parts[i].name));
  }
  ond_buf_append_str(out, total == 0 ? "<span>no rows</span></div>\n" : "</div>\n");
}

/* A round number that is not less: 1, 2, 5, 10, 20, 50 ... */
static double round_up(double n) {
  double power = pow(10, floor(log10(Max(n, 1))));

  return n <= power ? power : n <= 2 * power ? 2 * power : n <= 5 * power ? 5 * power : 10 * power;
}

void ond_chart_hours(OndBuf *out, const OndChartHour *hours, int n, int width, const char *class) {
  static const char *const colours[OND_CHART_KINDS] = {"s-ok", "s-ok2", "s-del", "s-bad"};
  static const char *const kinds[OND_CHART_KINDS] = {"created", "updated", "deleted", "failed or invalid"};
  double top = 1, sums[OND_CHART_KINDS] = {0};
  double step = (double)(width - HOURS_LEFT) / Max(n, 1), height = HOURS_HEIGHT - HOURS_FOOT - 12;

  for (int i = 0; i < n; i++) {
    double sum = 0;

    for (int k = 0; k < OND_CHART_KINDS; k++) {
      sum += hours[i].rows[k];
      sums[k] += hours[i].rows[k];
    }
    top = Max(top, sum);
  }
  top = round_up(top);
  ond_buf_appendf(out, "<svg class=\"%s\" viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"rows an hour\">", class, width, HOURS_HEIGHT);
  for (int i = 0; i <= 2; i++) {
    double y = 12 + height * (2 - i) / 2;

    ond_buf_appendf(out, "<line class=\"axis\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>", HOURS_LEFT, width, y, y);
    if (top >= 2 || i != 1)
      ond_buf_appendf(out, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>", HOURS_LEFT - 6, y + 4, grouped(top * i / 2));
  }
  for (int i = 0; i < n; i++) {
    double x = HOURS_LEFT + i * step, y = 12 + height;

    for (int k = 0; k < OND_CHART_KINDS; k++) {
      double part = hours[i].rows[k] == 0 ? 0 : Max(1.5, height * hours[i].rows[k] / top);

      y -= part;
      if (part > 0)
        ond_buf_appendf(out, "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"><title>%s: %s %s</title></rect>",
                        colours[k], x + 2, y, step - 4, part, hours[i].label, grouped(hours[i].rows[k]), kinds[k]);
    }
    if ((n - 1 - i) % (width < 600 ? 6 : 4) == 0)
      ond_buf_appendf(out, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>", Min(x + step / 2, width - 18), HOURS_HEIGHT - 6,
                      hours[i].label);
  }
  ond_buf_appendf(out, "</svg>\n<div class=\"legend %s\">", class);
  for (int k = 0; k < OND_CHART_KINDS; k++)
    legend(out, colours[k], psprintf("%s %s", grouped(sums[k]), kinds[k]));
  ond_buf_append_str(out, "</div>\n");
}

void ond_chart_level(OndBuf *out, double share, const char *colour) {
  ond_buf_appendf(out,
                  "<svg viewBox=\"0 0 1000 8\" height=\"8\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"%.0f %%\"><rect "
                  "class=\"s-line\" x=\"0\" y=\"0\" width=\"1000\" height=\"8\"/>"
                  "<rect class=\"%s\" x=\"0\" y=\"0\" width=\"%.0f\" height=\"8\"/></svg>\n",
                  share * 100, colour, Max(share, 0.005) * 1000);
}
