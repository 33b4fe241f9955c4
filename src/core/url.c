/*
 * url.c - percent-encoding and URL checks; RFC 3986.
 *
 * The check is stricter than the RFC where URL parsers are known to disagree about which host is meant: backslashes,
 * percent signs and empty labels in the host, user names, an empty port. What passes here means the same to libcurl.
 *
 * Does not resolve names and does not judge addresses: that is http/address.
 */
#include "core/url.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

static bool is_alnum(unsigned char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static bool is_unreserved(unsigned char c) {
  return is_alnum(c) || c == '-' || c == '.' || c == '_' || c == '~';
}

static bool encode(OndBuf *b, const char *s, size_t n, bool form) {
  static const char HEX[] = "0123456789ABCDEF";
  size_t clean = 0; /* start of the run that goes as it is */

  for (size_t i = 0; i < n; i++) {
    unsigned char c = (unsigned char)s[i];
    char escape[3] = {'%', HEX[c >> 4], HEX[c & 15]};
    bool blank = form && c == ' ';

    if (is_unreserved(c)) {
      continue;
    }
    if (!ond_buf_append(b, s + clean, i - clean) || !ond_buf_append(b, blank ? "+" : escape, blank ? 1 : sizeof(escape))) {
      return false;
    }
    clean = i + 1;
  }
  return ond_buf_append(b, s + clean, n - clean);
}

bool ond_url_encode(OndBuf *b, const char *s, size_t n) {
  return encode(b, s, n, false);
}

bool ond_form_encode(OndBuf *b, const char *s, size_t n) {
  return encode(b, s, n, true);
}

bool ond_url_piece_is_unsafe(const char *s, size_t n) {
  return n == 0 || (n == 1 && s[0] == '.') || (n == 2 && s[0] == '.' && s[1] == '.');
}

/* What may stand nowhere in a URL. */
static bool check_characters(const char *url, OndError *err) {
  for (const unsigned char *p = (const unsigned char *)url; *p; p++) {
    if (*p <= 0x20 || *p == 0x7F) {
      ond_error_set(err, "URL contains a control character or a blank");
      ond_error_hint(err, "Write it percent-encoded, a blank as %%20.");
      return false;
    }
    if (*p > 0x7F) {
      ond_error_set(err, "URL contains a character that is not ASCII");
      ond_error_hint(err, "Write it percent-encoded, a host name in its xn-- form.");
      return false;
    }
    if (*p == '\\') {
      ond_error_set(err, "URL contains a backslash");
      ond_error_hint(err, "Write it percent-encoded, as %%5C.");
      return false;
    }
    if (*p == '#') {
      ond_error_set(err, "URL contains a fragment (\"#\")");
      ond_error_hint(err, "A fragment is never sent; write a literal \"#\" as %%23.");
      return false;
    }
  }
  return true;
}

static bool refuse_host(OndError *err, const char *host, size_t n) {
  ond_error_set(err, "URL has a host that is not valid");
  ond_error_detail(err, "The host is \"%.*s\".", (int)(n < 300 ? n : 300), host);
  return false;
}

/* A name or an IPv4 address: labels of letters, digits, '-' and '_'; one dot may end it. */
static bool parse_name(const char *host, size_t n, OndUrl *out, OndError *err) {
  if (n >= sizeof(out->host)) {
    return refuse_host(err, host, n);
  }
  for (size_t i = 0; i < n; i++) {
    char c = host[i];
    bool label_is_empty = c == '.' && (i == 0 || host[i - 1] == '.');

    if (label_is_empty || !(is_alnum((unsigned char)c) || c == '-' || c == '_' || c == '.')) {
      return refuse_host(err, host, n);
    }
    out->host[i] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
  }
  out->host[n] = '\0';
  return true;
}

/* An IPv6 address, brought into its one canonical form so that equal origins compare equal. */
static bool parse_ipv6(const char *host, size_t n, OndUrl *out, OndError *err) {
  struct in6_addr address;
  char text[INET6_ADDRSTRLEN] = "";

  if (n == 0 || n >= sizeof(text)) {
    return refuse_host(err, host, n);
  }
  memcpy(text, host, n);
  text[n] = '\0';
  if (inet_pton(AF_INET6, text, &address) != 1 || !inet_ntop(AF_INET6, &address, out->host, sizeof(out->host))) {
    return refuse_host(err, host, n);
  }
  return true;
}

/* What follows ':' in the authority. */
static bool parse_port(const char *port, size_t n, OndUrl *out, OndError *err) {
  int value = 0;
  bool ok = n > 0;

  for (size_t i = 0; ok && i < n; i++) {
    ok = port[i] >= '0' && port[i] <= '9';
    value = ok ? value * 10 + (port[i] - '0') : 0;
    ok = ok && value <= 65535;
  }
  if (!ok || value == 0) {
    ond_error_set(err, "URL has a port that is not valid");
    ond_error_hint(err, "A port is a number from 1 to 65535; leave \":\" out for the scheme's own port.");
    return false;
  }
  out->port = value;
  return true;
}

/* [host] or host, with or without :port. */
static bool parse_authority(const char *authority, size_t n, OndUrl *out, OndError *err) {
  const char *colon;

  if (memchr(authority, '@', n)) {
    ond_error_set(err, "URL contains a user name or password (\"@\")");
    ond_error_hint(err, "Leave it out and put the credentials into the destination's auth.");
    return false;
  }
  if (n > 0 && authority[0] == '[') {
    const char *close = memchr(authority, ']', n);
    size_t inner = close ? (size_t)(close - authority) - 1 : 0;
    size_t rest = close ? n - inner - 2 : 0;

    if (!close || (rest > 0 && close[1] != ':')) {
      return refuse_host(err, authority, n);
    }
    return parse_ipv6(authority + 1, inner, out, err) && (rest == 0 || parse_port(close + 2, rest - 1, out, err));
  }
  colon = memchr(authority, ':', n);
  if (n == 0 || colon == authority) {
    ond_error_set(err, "URL has no host");
    ond_error_hint(err, "Write it as https://host/path.");
    return false;
  }
  if (!colon) {
    return parse_name(authority, n, out, err);
  }
  return parse_name(authority, (size_t)(colon - authority), out, err) &&
         parse_port(colon + 1, n - (size_t)(colon - authority) - 1, out, err);
}

bool ond_url_parse(const char *url, OndUrl *out, OndError *err) {
  const char *authority;
  size_t n;

  memset(out, 0, sizeof(*out));
  if (!check_characters(url, err)) {
    return false;
  }
  if (strncasecmp(url, "https://", 8) == 0) {
    out->https = true;
    authority = url + 8;
  } else if (strncasecmp(url, "http://", 7) == 0) {
    authority = url + 7;
  } else {
    ond_error_set(err, "URL does not start with https:// or http://");
    ond_error_hint(err, "Write it whole, as in https://api.example.com/v1.");
    return false;
  }
  n = strcspn(authority, "/?");
  out->port = out->https ? 443 : 80;
  if (!parse_authority(authority, n, out, err)) {
    return false;
  }
  out->path = (OndBytes){authority + n, strlen(authority + n)};
  return true;
}

bool ond_url_same_origin(const OndUrl *a, const OndUrl *b) {
  return a->https == b->https && a->port == b->port && strcmp(a->host, b->host) == 0;
}
