/*
 * test_core_template.c - the grammar of {{name|filter}}, its errors, and every filter.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "core/template.h"
#include "unit.h"

/* Shows a template as "literal" and <name|filter numbers> pieces: a-<name|0 2>-b; quoted names as <'name'>. */
static void show(const OndTemplate *t, OndBuf *out) {
  for (int i = 0; i < t->n; i++) {
    const OndTemplatePart *part = &t->parts[i];

    CHECK_INT(part->slot, -1);
    CHECK_INT(part->index, -1);
    if (!part->name.p) {
      ond_buf_append_bytes(out, part->literal);
      continue;
    }
    ond_buf_appendf(out, part->quoted ? "<'%.*s'" : "<%.*s", (int)part->name.n, part->name.p);
    for (int k = 0; k < part->n_filters; k++) {
      ond_buf_appendf(out, "|%d", (int)part->filters[k]);
    }
    ond_buf_append_char(out, '>');
  }
}

static void check_parts_n(const char *text, size_t n, int parts, const char *shown) {
  OndArena *arena = ond_arena_create();
  OndTemplate t;
  OndError err = {0};
  OndBuf out;

  ond_buf_init(&out, 1000);
  ond_buf_append_str(&out, "");
  if (CHECK(ond_template_parse(arena, text, n, &t, &err))) {
    show(&t, &out);
    CHECK_INT(t.n, parts);
    CHECK_STR(out.data, shown);
    CHECK(ond_template_is_literal(&t) == !strchr(shown, '<'));
  } else {
    unit_note("\"%s\": %s", text, err.message);
  }
  ond_buf_free(&out);
  ond_arena_destroy(arena);
}

static void check_parts(const char *text, int parts, const char *shown) {
  check_parts_n(text, strlen(text), parts, shown);
}

static void check_refused(const char *text, const char *message_has) {
  OndArena *arena = ond_arena_create();
  OndTemplate t;
  OndError err = {0};

  if (!CHECK(!ond_template_parse(arena, text, strlen(text), &t, &err)) || !CHECK(strstr(err.message, message_has) != NULL)) {
    unit_note("\"%s\": %s", text, err.message);
  }
  CHECK_INT(t.n, 0);
  ond_arena_destroy(arena);
}

TEST(template_cuts_into_parts) {
  check_parts("", 0, "");
  check_parts("plain", 1, "plain");
  check_parts("{{a}}", 1, "<a>");
  check_parts("x{{a}}y{{b}}z", 5, "x<a>y<b>z");
  check_parts("{{a}}{{b}}", 2, "<a><b>");
  check_parts("/v1/{{ key.id }}/{{\tremote_id\n}}", 4, "/v1/<key.id>/<remote_id>");
  check_parts("{{a b}}", 1, "<a b>");
  check_parts("{{caf\xC3\xA9}}", 1, "<caf\xC3\xA9>");
  check_parts("{{a\"b}}", 1, "<a\"b>");
}

TEST(template_single_braces_are_text) {
  check_parts("{a}", 1, "{a}");
  check_parts("{", 1, "{");
  check_parts("a}}b", 1, "a}}b");
  check_parts("{\"a\":{\"b\":\"{{x}}\"}}", 3, "{\"a\":{\"b\":\"<x>\"}}");
  check_parts("{{x}}}}", 2, "<x>}}");
  check_parts("{ {x}}", 1, "{ {x}}");
  check_parts("{{x}}{", 2, "<x>{");
}

TEST(template_reads_filters) {
  check_parts("{{a|lower}}", 1, "<a|0>");
  check_parts("{{ a | trim | lower |sha256}}", 1, "<a|2|0|4>");
  check_parts("{{a|lower|upper|trim|md5|base64|json}}", 1, "<a|0|1|2|3|5|6>");
  check_parts("{{a|epoch|iso}}", 1, "<a|7|8>");
  check_refused("{{a|lower|upper|trim|md5|base64|json|trim}}", "more than 6");
}

TEST(template_reads_quoted_names) {
  check_parts("{{\"first name\"}}", 1, "<'first name'>");
  check_parts("{{ \"a|b\" | lower }}", 1, "<'a|b'|0>");
  check_parts("{{\"}}\"}}", 1, "<'}}'>");
  check_parts("{{\"{{a}}\"}}", 1, "<'{{a}}'>");
  check_parts("{{\" a \"}}", 1, "<' a '>");
  check_parts("{{\"say \"\"hi\"\"\"}}", 1, "<'say \"hi\"'>");
  check_parts("{{\"\"\"\"}}", 1, "<'\"'>");
  check_parts("{{\"var.x\"}}", 1, "<'var.x'>");
  check_refused("{{\"\"}}", "without a name");
  check_refused("{{\"a}}", "without \"}}\"");
  check_refused("{{\"a\"\"}}", "without \"}}\"");
  check_refused("{{\"", "without \"}}\"");
  check_refused("{{\"a\"b}}", "unexpected");
  check_refused("{{\"a\" \"b\"}}", "unexpected");
  check_refused("{{\"a\"", "without \"}}\"");
}

TEST(template_refuses_what_is_not_closed) {
  check_refused("{{", "without \"}}\"");
  check_refused("{{a", "without \"}}\"");
  check_refused("x{{a|lower", "without \"}}\"");
  check_refused("{{a|", "without \"}}\"");
  check_refused("{{a}", "unexpected");
  check_refused("{{a} }", "unexpected");
  check_refused("{{a}}{{", "without \"}}\"");
}

TEST(template_refuses_nesting_and_empty_names) {
  check_refused("{{{a}}}", "without a name");
  check_refused("{{}}", "without a name");
  check_refused("{{ }}", "without a name");
  check_refused("{{|lower}}", "without a name");
  check_refused("{{a{b}}", "unexpected");
  check_refused("{{a{{b}}}}", "unexpected");
  check_refused("{{a}b}}", "unexpected");
  check_refused("{{a|lower{{b}}}}", "unexpected");
}

TEST(template_refuses_unknown_filters_and_lists_the_known) {
  OndArena *arena = ond_arena_create();
  OndTemplate t;
  OndError err;

  check_refused("{{a|}}", "unknown filter \"\"");
  check_refused("{{a|Lower}}", "unknown filter \"Lower\"");
  check_refused("{{a|lowe}}", "unknown filter");
  check_refused("{{a|lower upper}}", "unknown filter");
  check_refused("{{a||lower}}", "unknown filter \"\"");
  CHECK(!ond_template_parse(arena, "{{a|rot13}}", 11, &t, &err));
  CHECK_STR(err.hint, "Filters are lower, upper, trim, md5, sha256, base64, json, epoch, iso, text.");
  ond_arena_destroy(arena);
}

TEST(template_hint_names_every_filter) {
  static const char NAMES[] = "lower, upper, trim, md5, sha256, base64, json, epoch, iso";
  char names[sizeof(NAMES)];
  int n = 0;

  memcpy(names, NAMES, sizeof(NAMES));
  for (char *name = strtok(names, ", "); name; name = strtok(NULL, ", ")) {
    char text[40];
    char shown[40];

    snprintf(text, sizeof(text), "{{a|%s}}", name);
    snprintf(shown, sizeof(shown), "<a|%d>", n++);
    check_parts(text, 1, shown);
  }
  CHECK_INT(n, OND_FILTER_ISO + 1);
}

TEST(template_does_not_read_past_its_end) {
  check_parts_n("ab{{c}}", 2, 1, "ab");
  check_parts_n("ab{{c}}", 3, 1, "ab{");
  for (size_t n = 1; n < 24; n++) {
    static const char TEXT[] = "{{\"a\"\"b\" | lower|trim}}";
    char *exact = malloc(n); /* a byte too far is the sanitizer's */
    OndArena *arena = ond_arena_create();
    OndTemplate t;
    OndError err;

    memcpy(exact, TEXT, n);
    CHECK(ond_template_parse(arena, exact, n, &t, &err) == (n == 1 || n == sizeof(TEXT) - 1));
    ond_arena_destroy(arena);
    free(exact);
  }
}

TEST(template_has_a_maximum_of_parts) {
  OndArena *arena = ond_arena_create();
  OndTemplate t;
  OndError err;
  OndBuf b;

  ond_buf_init(&b, 100000);
  for (int i = 0; i < 1000; i++) {
    ond_buf_append_str(&b, "{{a}}");
  }
  CHECK(ond_template_parse(arena, b.data, b.len, &t, &err));
  CHECK_INT(t.n, 1000);
  ond_buf_append_str(&b, "x");
  CHECK(!ond_template_parse(arena, b.data, b.len, &t, &err));
  CHECK(strstr(err.message, "1000") != NULL);
  ond_buf_reset(&b);
  for (int i = 0; i < 50000; i++) {
    ond_buf_append_str(&b, "{");
  }
  CHECK(!ond_template_parse(arena, b.data, b.len, &t, &err));
  ond_buf_free(&b);
  ond_arena_destroy(arena);
}

TEST(template_survives_random_text) {
  static const char ALPHABET[] = "{{{}}}|\"a .lower";
  unsigned long long random = 99;
  int good = 0;

  for (int i = 0; i < 50000; i++) {
    size_t n = unit_random(&random) % 16;
    char *text = malloc(n ? n : 1);
    OndArena *arena = ond_arena_create();
    OndTemplate t;
    OndError err = {0};

    for (size_t k = 0; k < n; k++) {
      text[k] = ALPHABET[unit_random(&random) % (sizeof(ALPHABET) - 1)];
    }
    if (ond_template_parse(arena, text, n, &t, &err)) {
      good++;
    } else if (!CHECK(err.message[0] != '\0')) {
      i = 50000;
    }
    ond_arena_destroy(arena);
    free(text);
  }
  CHECK(good > 1000 && good < 49000);
}

/* Applies the filters written in `filters` ("lower|md5") to a value of n bytes; NULL: refused. */
static void check_filter_n(const char *filters, const char *value, size_t n, const char *expected) {
  OndArena *arena = ond_arena_create();
  OndTemplate t;
  OndError err = {0};
  OndBuf text;
  OndBuf out;

  ond_buf_init(&text, 1000);
  ond_buf_init(&out, 2000);
  ond_buf_append_str(&out, "before ");
  ond_buf_appendf(&text, "{{a%s%s}}", filters[0] ? "|" : "", filters);
  if (CHECK(ond_template_parse(arena, text.data, text.len, &t, &err)) && CHECK_INT(t.n, 1)) {
    bool ok = ond_template_filter(&t.parts[0], value, n, &out, &err);

    CHECK_STR(ok ? out.data + 7 : NULL, expected);
    if (!ok) {
      CHECK_STR(out.data, "before ");
      CHECK(err.message[0] != '\0');
    }
  }
  ond_buf_free(&out);
  ond_buf_free(&text);
  ond_arena_destroy(arena);
}

static void check_filter(const char *filters, const char *value, const char *expected) {
  check_filter_n(filters, value, strlen(value), expected);
}

TEST(filter_none_leaves_values_alone) {
  check_filter("", "{{b}} {{", "{{b}} {{");
  check_filter("", "", "");
}

TEST(filter_values_are_expanded_once) {
  check_filter("lower", "{{B|upper}}", "{{b|upper}}");
  check_filter("trim", " {{ ", "{{");
}

TEST(filter_case_and_trim) {
  check_filter("lower", "AbZ@[`{\xC3\x84", "abz@[`{\xC3\x84");
  check_filter("upper", "aBz@[`{\xC3\xA4", "ABZ@[`{\xC3\xA4");
  check_filter("trim", " \t\r\n\v\fa b\f\v ", "a b");
  check_filter("trim", "   ", "");
  check_filter("trim", "\xC2\xA0x", "\xC2\xA0x");
  check_filter("lower", "", "");
}

TEST(filter_hashes) {
  check_filter("md5", "", "d41d8cd98f00b204e9800998ecf8427e");
  check_filter("md5", "abc", "900150983cd24fb0d6963f7d28e17f72");
  check_filter("sha256", "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  check_filter("sha256", "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  check_filter("trim|lower|sha256", " ABC\n", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(filter_base64) {
  char big[1000];
  OndTemplatePart part = {.n_filters = 1, .filters = {OND_FILTER_BASE64}};
  OndError err;
  OndBuf out;

  check_filter("base64", "", "");
  check_filter("base64", "f", "Zg==");
  check_filter("base64", "fo", "Zm8=");
  check_filter("base64", "foo", "Zm9v");
  check_filter("base64", "foob", "Zm9vYg==");
  check_filter_n("base64", "\xFF\xFE\0\xFB", 4, "//4A+w==");
  memset(big, 0, sizeof(big));
  ond_buf_init(&out, 2000);
  CHECK(ond_template_filter(&part, big, sizeof(big), &out, &err));
  CHECK_INT(out.len, 1336); /* one padding at the very end, none between */
  CHECK_INT(strspn(out.data, "A"), 1334);
  CHECK_STR(out.data + 1334, "==");
  ond_buf_free(&out);
}

TEST(filter_json) {
  check_filter("json", "a\"b\n", "\"a\\\"b\\u000a\"");
  check_filter("json", "", "\"\"");
  check_filter("text", "12.50", "12.50");
  check_filter_n("text", "", 0, "");
  check_filter_n("json", "a\0b", 3, "\"a\\u0000b\"");
  check_filter("json", "\xFF", NULL);
  check_filter("json|json", "\"", "\"\\\"\\\\\\\"\\\"\"");
}

TEST(filter_epoch) {
  check_filter("epoch", "1970-01-01T00:00:00Z", "0");
  check_filter("epoch", "2024-02-29T12:34:56Z", "1709210096");
  check_filter("epoch", "2024-02-29 12:34:56+00", "1709210096");
  check_filter("epoch", "2024-02-29T14:34:56+02:00", "1709210096");
  check_filter("epoch", "2024-02-29T07:04:56-0530", "1709210096");
  check_filter("epoch", "2024-02-29T12:34:56", "1709210096");
  check_filter("epoch", "2024-02-29T12:34", "1709210040");
  check_filter("epoch", " 2024-02-29 ", "1709164800");
  check_filter("epoch", "2024-02-29T12:34:56.500000Z", "1709210096.5");
  check_filter("epoch", "2024-02-29T12:34:56,25Z", "1709210096.25");
  check_filter("epoch", "2024-02-29T12:34:56.000000+00:00", "1709210096");
  check_filter("epoch", "2024-02-29T12:34:56.000001Z", "1709210096.000001");
  check_filter("epoch", "2024-02-29T12:34:56.123456789000Z", "1709210096.123456789");
  check_filter("epoch", "1969-12-31T23:59:59Z", "-1");
  check_filter("epoch", "1969-12-31T23:59:59.5Z", "-0.5");
  check_filter("epoch", "1969-12-31T23:59:58.75Z", "-1.25");
  check_filter("epoch", "0001-01-01T00:00:00Z", "-62135596800");
  check_filter("epoch", "9999-12-31T23:59:59Z", "253402300799");
  check_filter("epoch", "2016-12-31T23:59:60Z", "1483228800");
}

TEST(filter_epoch_refuses) {
  static const char *const BAD[] = {"",
                                    "x",
                                    "infinity",
                                    "-infinity",
                                    "1709210096",
                                    "2024-02-30",
                                    "2023-02-29",
                                    "2024-13-01",
                                    "2024-00-01",
                                    "2024-01-00",
                                    "0000-01-01",
                                    "2024-1-1",
                                    "20240101",
                                    "2024-01-01T",
                                    "2024-01-01T24:00:00Z",
                                    "2024-01-01T12:60:00Z",
                                    "2024-01-01T12:00:61Z",
                                    "2024-01-01T12:00:00.Z",
                                    "2024-01-01T12:00:00.1234567891Z",
                                    "2024-01-01T12:00:00ZZ",
                                    "2024-01-01T12:00:00+1",
                                    "2024-01-01T12:00:00+24:00",
                                    "2024-01-01T12:00:00+01:",
                                    "2024-01-01T12:00:00 UTC",
                                    "0044-03-15 00:00:00+00 BC",
                                    "12024-01-01T00:00:00Z"};

  for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
    check_filter("epoch", BAD[i], NULL);
  }
  check_filter_n("epoch", "2024-01-01\0T12:00:00Z", 21, NULL);
}

TEST(filter_iso) {
  check_filter("iso", "0", "1970-01-01T00:00:00Z");
  check_filter("iso", "1709210096", "2024-02-29T12:34:56Z");
  check_filter("iso", " 1709210096.50 ", "2024-02-29T12:34:56.5Z");
  check_filter("iso", "1709210096.000", "2024-02-29T12:34:56Z");
  check_filter("iso", "-1", "1969-12-31T23:59:59Z");
  check_filter("iso", "-0.5", "1969-12-31T23:59:59.5Z");
  check_filter("iso", "-0", "1970-01-01T00:00:00Z");
  check_filter("iso", "-62135596800", "0001-01-01T00:00:00Z");
  check_filter("iso", "253402300799.999999999", "9999-12-31T23:59:59.999999999Z");
  check_filter("iso", "253402300800", NULL);
  check_filter("iso", "-62135596801", NULL);
  check_filter("iso", "-62135596800.1", NULL);
  check_filter("iso", "99999999999999999999999999", NULL);
  check_filter("iso", "1709210096000", NULL);
  check_filter("iso", "", NULL);
  check_filter("iso", "-", NULL);
  check_filter("iso", "+1", NULL);
  check_filter("iso", ".5", NULL);
  check_filter("iso", "1.", NULL);
  check_filter("iso", "1e3", NULL);
  check_filter("iso", "NaN", NULL);
  check_filter("iso", "1 2", NULL);
}

TEST(filter_epoch_and_iso_undo_each_other) {
  unsigned long long random = 5;

  for (int i = 0; i < 3000; i++) {
    long long seconds = (long long)(unit_random(&random) % 315537897600ULL) - 62135596800LL;
    char text[40];

    snprintf(text, sizeof(text), "%lld", seconds);
    check_filter("iso|epoch", text, text);
    if (seconds < 0) {
      snprintf(text, sizeof(text), "%lld.25", seconds + 1 < 0 ? seconds + 1 : -1);
      check_filter("iso|epoch", text, text);
    }
  }
}

TEST(filter_leaves_no_half_value) {
  OndTemplatePart part = {.n_filters = 1, .filters = {OND_FILTER_SHA256}};
  OndError err;
  OndBuf out;

  ond_buf_init(&out, 40);
  ond_buf_append_str(&out, "before");
  CHECK(!ond_template_filter(&part, "a", 1, &out, &err));
  CHECK_STR(out.data, "before");
  CHECK_INT(out.len, 6);
  ond_buf_free(&out);
}

TEST(filter_results_have_caps) {
  OndTemplatePart part = {.n_filters = 1, .filters = {OND_FILTER_SHA256}};
  OndTemplatePart chain = {.n_filters = 6};
  OndTemplatePart none = {.n_filters = 0};
  char quotes[1000];
  OndError err;
  OndBuf out;

  memset(quotes, '"', sizeof(quotes));
  ond_buf_init(&out, 64);
  CHECK(ond_template_filter(&part, quotes, sizeof(quotes), &out, &err)); /* larger than out, but its hash fits */
  CHECK_INT(out.len, 64);
  CHECK(!ond_template_filter(&part, "a", 1, &out, &err));
  CHECK_INT(out.len, 64);
  CHECK(out.overflow);
  CHECK(strstr(err.message, "too large") != NULL);
  CHECK(!ond_template_filter(&none, "a", 1, &out, &err));
  CHECK(strstr(err.message, "too large") != NULL);
  ond_buf_free(&out);
  for (int i = 0; i < 6; i++) {
    chain.filters[i] = OND_FILTER_JSON; /* would be 64 times as large */
  }
  ond_buf_init(&out, 2000);
  CHECK(!ond_template_filter(&chain, quotes, sizeof(quotes), &out, &err));
  CHECK(strstr(err.message, "too large") != NULL);
  CHECK_INT(out.len, 0);
  ond_buf_free(&out);
}
