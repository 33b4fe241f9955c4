/*
 * members.c - the outer structure of JSON bytes, without parsing what is inside.
 *
 * One scanner, skip_value(), finds where a value ends: strings by their closing quote, objects and arrays by counting brackets
 * outside of strings, everything else by the next delimiter. Work is linear in the bytes; names with escapes, which are rare, are
 * unescaped into small buffers only to be compared.
 */
#include "connector/members.h"

#include <string.h>
#include "core/scan.h"
#include "core/text.h"

#define NAME_BYTES_MAX 65536

static bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static const char *skip_blanks(const char *p, const char *end) {
  while (p < end && is_blank(*p)) {
    p++;
  }
  return p;
}

OndBytes ond_json_trim(OndBytes json) {
  const char *end;
  const char *p;

  if (!json.p) {
    return json;
  }
  end = json.p + json.n;
  p = skip_blanks(json.p, end);
  while (end > p && is_blank(end[-1])) {
    end--;
  }
  return (OndBytes){p, (size_t)(end - p)};
}

OndJsonKind ond_json_kind(OndBytes json) {
  const char *end;
  const char *p;

  if (!json.p) {
    return OND_JSON_NONE;
  }
  end = json.p + json.n;
  p = skip_blanks(json.p, end);
  if (p == end) {
    return OND_JSON_NONE;
  }
  switch (*p) {
  case '"': return OND_JSON_STRING;
  case '{': return OND_JSON_OBJECT;
  case '[': return OND_JSON_ARRAY;
  case 'n': return OND_JSON_NULL;
  default: return OND_JSON_SCALAR;
  }
}

/* p stands on the opening quote; returns what follows the closing one, NULL when there is none. */
static const char *skip_string(const char *p, const char *end) {
  for (p++; p < end; p++) {
    if (*p == '"') {
      return p + 1;
    }
    if (*p == '\\' && ++p == end) {
      break;
    }
  }
  return NULL;
}

/* p stands on '{' or '['. */
static const char *skip_nested(const char *p, const char *end) {
  size_t depth = 0;

  while (p < end) {
    char c = *p;

    if (c == '"') {
      p = skip_string(p, end);
      if (!p) {
        return NULL;
      }
      continue;
    }
    p++;
    if (c == '{' || c == '[') {
      depth++;
    } else if (c == '}' || c == ']') {
      if (--depth == 0) {
        return p;
      }
    }
  }
  return NULL;
}

static const char *skip_value(const char *p, const char *end) {
  const char *start = p;

  if (p == end) {
    return NULL;
  }
  if (*p == '"') {
    return skip_string(p, end);
  }
  if (*p == '{' || *p == '[') {
    return skip_nested(p, end);
  }
  while (p < end && *p != ',' && *p != '}' && *p != ']' && !is_blank(*p)) {
    p++;
  }
  return p == start ? NULL : p;
}

bool ond_members_begin(OndMembers *m, OndBytes json) {
  OndJsonKind kind = ond_json_kind(json);

  *m = (OndMembers){0};
  if (kind != OND_JSON_OBJECT && kind != OND_JSON_ARRAY) {
    return false;
  }
  m->end = json.p + json.n;
  m->p = skip_blanks(json.p, m->end) + 1;
  m->object = kind == OND_JSON_OBJECT;
  m->first = true;
  return true;
}

static bool malformed(OndMembers *m) {
  m->bad = true;
  m->p = m->end;
  return false;
}

/* Reads `"name" :`. */
static bool read_name(OndMembers *m, OndMember *out) {
  const char *start = m->p;

  if (m->p == m->end || *m->p != '"') {
    return false;
  }
  m->p = skip_string(m->p, m->end);
  if (!m->p) {
    return false;
  }
  out->name = (OndBytes){start + 1, (size_t)(m->p - start) - 2};
  out->escaped = memchr(out->name.p, '\\', out->name.n) != NULL;
  m->p = skip_blanks(m->p, m->end);
  if (m->p == m->end || *m->p != ':') {
    return false;
  }
  m->p = skip_blanks(m->p + 1, m->end);
  return true;
}

bool ond_members_next(OndMembers *m, OndMember *out) {
  const char *start;
  const char *after;

  if (m->bad) {
    return false;
  }
  m->p = skip_blanks(m->p, m->end);
  if (m->p == m->end) {
    return malformed(m);
  }
  if (*m->p == (m->object ? '}' : ']')) {
    return false;
  }
  if (!m->first) {
    if (*m->p != ',') {
      return malformed(m);
    }
    m->p = skip_blanks(m->p + 1, m->end);
  }
  m->first = false;
  *out = (OndMember){0};
  if (m->object && !read_name(m, out)) {
    return malformed(m);
  }
  start = m->p;
  after = skip_value(start, m->end);
  if (!after) {
    return malformed(m);
  }
  out->value = (OndBytes){start, (size_t)(after - start)};
  m->p = after;
  return true;
}

/* *p stands behind "\u". */
static bool unescape_unicode(const char **p, const char *end, OndBuf *out) {
  int code = ond_scan_hex(*p, (size_t)(end - *p), 4);
  char bytes[4];

  if (code < 0 || (code >= 0xDC00 && code <= 0xDFFF)) {
    return false;
  }
  *p += 4;
  if (code >= 0xD800 && code <= 0xDBFF) {
    int low = end - *p >= 6 && (*p)[0] == '\\' && (*p)[1] == 'u' ? ond_scan_hex(*p + 2, (size_t)(end - *p) - 2, 4) : -1;

    if (low < 0xDC00 || low > 0xDFFF) {
      return false;
    }
    *p += 6;
    code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
  }
  return ond_buf_append(out, bytes, ond_utf8_put((unsigned int)code, bytes));
}

bool ond_json_unescape(OndBytes raw, OndBuf *out) {
  static const char FROM[] = "\"\\/bfnrt";
  static const char TO[] = "\"\\/\b\f\n\r\t";
  const char *p = raw.p;
  const char *end = raw.p + raw.n;

  while (p < end) {
    const char *escape = memchr(p, '\\', (size_t)(end - p));
    const char *which;

    if (!ond_buf_append(out, p, (size_t)((escape ? escape : end) - p))) {
      return false;
    }
    if (!escape) {
      return true;
    }
    p = escape + 1;
    if (p == end) {
      return false;
    }
    if (*p == 'u') {
      p++;
      if (!unescape_unicode(&p, end, out)) {
        return false;
      }
      continue;
    }
    which = *p ? strchr(FROM, *p) : NULL;
    if (!which || !ond_buf_append_char(out, TO[which - FROM])) {
      return false;
    }
    p++;
  }
  return true;
}

bool ond_member_is(const OndMember *m, OndBytes name) {
  OndBuf text;
  bool same;

  if (!m->escaped) {
    return m->name.n == name.n && memcmp(m->name.p, name.p, name.n) == 0;
  }
  ond_buf_init(&text, NAME_BYTES_MAX);
  same = ond_json_unescape(m->name, &text) && text.len == name.n && (name.n == 0 || memcmp(text.data, name.p, name.n) == 0);
  ond_buf_free(&text);
  return same;
}

bool ond_member_same_name(const OndMember *a, const OndMember *b) {
  OndBuf text;
  bool same;

  if (!b->escaped) {
    return ond_member_is(a, b->name);
  }
  if (!a->escaped) {
    return ond_member_is(b, a->name);
  }
  ond_buf_init(&text, NAME_BYTES_MAX);
  same = ond_json_unescape(b->name, &text) && ond_member_is(a, (OndBytes){text.data ? text.data : "", text.len});
  ond_buf_free(&text);
  return same;
}

bool ond_json_compact(OndBytes json, OndBuf *out) {
  const char *p = json.p;
  const char *end = json.p + json.n;

  while (p < end) {
    const char *start = p;

    if (is_blank(*p)) {
      p = skip_blanks(p, end);
      continue;
    }
    if (*p == '"') {
      p = skip_string(p, end);
      p = p ? p : end;
    } else {
      while (p < end && *p != '"' && !is_blank(*p)) {
        p++;
      }
    }
    if (!ond_buf_append(out, start, (size_t)(p - start))) {
      return false;
    }
  }
  return true;
}
