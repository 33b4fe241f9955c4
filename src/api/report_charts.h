/*
 * report_charts.h - the charts of report_html(), as inline SVG. Labels and titles are ASCII words of our own: no text of anybody's comes
 * here.
 */
#ifndef OND_API_REPORT_CHARTS_H
#define OND_API_REPORT_CHARTS_H

#include "postgres.h"
#include "core/buf.h"

#define OND_REPORT_RUNS 40 /* bars of a history */
#define OND_CHART_KINDS 4  /* created, updated, deleted, failed */

typedef struct OndChartRun {
  const char *status; /* of sync_runs */
  double seconds;
  const char *title;
} OndChartRun;
/* A bar for each run, the last one at the right edge; height by duration, colour by status. */
extern void ond_chart_runs(OndBuf *out, const OndChartRun *runs, int n);

typedef struct OndChartPart {
  const char *name, *colour; /* colour: a class of the page */
  double n;
} OndChartPart;
/* One bar made of parts, and a legend of those that there are. Small parts are wide enough to be seen. */
extern void ond_chart_parts(OndBuf *out, const OndChartPart *parts, int n);

typedef struct OndChartHour {
  const char *label; /* "14:00" */
  double rows[OND_CHART_KINDS];
} OndChartHour;
/* Stacked bars, with a scale and a legend, in a picture of this width (its height is fixed) and class. */
extern void ond_chart_hours(OndBuf *out, const OndChartHour *hours, int n, int width, const char *class);

/* A level from 0 to 1. */
extern void ond_chart_level(OndBuf *out, double share, const char *colour);

#endif
