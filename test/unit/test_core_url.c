/*
 * test_core_url.c - percent-encoding, and URLs that try to mean two things at once.
 */
#include <stdio.h>
#include <string.h>
#include "core/url.h"
#include "unit.h"

static void check_url(const char *text, bool https, const char *host, int port, const char *path) {
  OndUrl url;
  OndError err = {0};

  if (!CHECK(ond_url_parse(text, &url, &err))) {
    unit_note("\"%s\": %s", text, err.message);
    return;
  }
  CHECK(url.https == https);
  CHECK_STR(url.host, host);
  CHECK_INT(url.port, port);
  CHECK_MEM(url.path.p, url.path.n, path, strlen(path));
}

static void check_refused(const char *text, const char *message_has) {
  OndUrl url;
  OndError err = {0};

  if (!CHECK(!ond_url_parse(text, &url, &err)) || !CHECK(strstr(err.message, message_has) != NULL)) {
    unit_note("\"%s\": %s", text, err.message);
  }
}

TEST(url_splits) {
  check_url("https://api.example.com", true, "api.example.com", 443, "");
  check_url("http://api.example.com/", false, "api.example.com", 80, "/");
  check_url("HTTPS://API.Example.COM:8443/v1/A?b=C", true, "api.example.com", 8443, "/v1/A?b=C");
  check_url("http://localhost:1/x", false, "localhost", 1, "/x");
  check_url("http://h:65535", false, "h", 65535, "");
  check_url("http://h:00080/", false, "h", 80, "/");
  check_url("https://h?x=1", true, "h", 443, "?x=1");
  check_url("https://h/a/../b//c;d=e?f[]=g@h:80", true, "h", 443, "/a/../b//c;d=e?f[]=g@h:80");
  check_url("https://under_score.example./p", true, "under_score.example.", 443, "/p");
  check_url("http://127.0.0.1:8080/p", false, "127.0.0.1", 8080, "/p");
  check_url("https://h/%20%zz", true, "h", 443, "/%20%zz");
}

TEST(url_reads_ipv6) {
  check_url("http://[::1]/p", false, "::1", 80, "/p");
  check_url("http://[::1]:8080", false, "::1", 8080, "");
  check_url("https://[2001:DB8:0:0::1]?q", true, "2001:db8::1", 443, "?q");
  check_url("https://[0:0:0:0:0:0:0:1]/", true, "::1", 443, "/");
  check_url("https://[::ffff:1.2.3.4]/", true, "::ffff:1.2.3.4", 443, "/");
  check_refused("http://[::1", "host");
  check_refused("http://[::1]x/", "host");
  check_refused("http://[::1]8080/", "host");
  check_refused("http://[]/", "host");
  check_refused("http://[::g]/", "host");
  check_refused("http://[1.2.3.4]/", "host");
  check_refused("http://[fe80::1%25eth0]/", "host");
  check_refused("http://[fe80::1%eth0]/", "host");
  check_refused("http://[::1]:/", "port");
  check_refused("http://[1:2:3:4:5:6:7:8:9:1:2:3:4:5:6:7:8:9:1:2:3:4:5:6:7:8:9]/", "host");
  check_refused("http://::1/", "host");
  check_refused("http://[::1/]", "host");
}

TEST(url_refuses_other_schemes) {
  static const char *const BAD[] = {"",           "h",         "/path",     "//h/p",          "ftp://h/",    "file:///etc/passwd",
                                    "https:",     "https:/h/", "http:h",    "javascript://h", "httpss://h/", "xhttp://h/",
                                    "gopher://h", "https//h/", "https;//h/"};

  for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
    check_refused(BAD[i], "https://");
  }
}

TEST(url_refuses_hosts_that_parsers_read_differently) {
  check_refused("https://", "no host");
  check_refused("https:///path", "no host");
  check_refused("https://?q", "no host");
  check_refused("https://:80/", "no host");
  check_refused("https://user@h/", "user name");
  check_refused("https://user:pw@h/", "user name");
  check_refused("https://@h/", "user name");
  check_refused("https://good.example:80@evil.example/", "user name");
  check_refused("https://good.example@[::1]/", "user name");
  check_refused("https://h#@evil/", "fragment");
  check_refused("https://h/p#f", "fragment");
  check_refused("https://h/p#", "fragment");
  check_refused("https://good.example\\@evil.example/", "backslash");
  check_refused("https:\\\\h/", "backslash");
  check_refused("https://h\\p", "backslash");
  check_refused("https://h/a\\..\\b", "backslash");
  check_refused("https://%65vil.example/", "host");
  check_refused("https://h%00.example/", "host");
  check_refused("https://.h/", "host");
  check_refused("https://a..b/", "host");
  check_refused("https://./", "host");
  check_refused("https://h,evil/", "host");
  check_refused("https://h;x/", "host");
  check_refused("https://{{host}}/", "host");
  check_refused("https://a*b/", "host");
  check_refused("https://\xD0\xB0pple.com/", "ASCII");
  check_refused("https://h/caf\xC3\xA9", "ASCII");
  check_refused("https://h\xFF/", "ASCII");
}

TEST(url_refuses_bad_ports) {
  static const char *const BAD[] = {"http://h:/",      "http://h:0/",   "http://h:65536/",      "http://h:99999999999999999999/",
                                    "http://h:-1/",    "http://h:+80/", "http://h:80x/",        "http://h:0x50/",
                                    "http://h:80:80/", "http://h:8 0/", "http://h:4294967376/", "http://h::80/"};

  for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
    check_refused(BAD[i], strchr(BAD[i], ' ') ? "blank" : "port");
  }
}

TEST(url_refuses_every_control_character_everywhere) {
  static const char *const FORMS[] = {"%chttps://h/p",    "htt%cps://h/p",  "https:/%c/h/p",   "https://h%c/p",
                                      "https://h:8%c0/p", "https://h/p%cq", "https://h/p?q%c", "https://[::1%c]/"};

  for (int c = 1; c < 0x80; c = c == 0x20 ? 0x7F : c + 1) {
    for (size_t i = 0; i < sizeof(FORMS) / sizeof(FORMS[0]); i++) {
      char text[64];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
      snprintf(text, sizeof(text), FORMS[i], c);
#pragma GCC diagnostic pop
      check_refused(text, "control character or a blank");
    }
  }
}

TEST(url_hosts_have_a_maximum_length) {
  char text[600] = "https://";
  OndUrl url;
  OndError err;

  memset(text + 8, 'a', 255);
  strcpy(text + 8 + 255, "/p");
  CHECK(ond_url_parse(text, &url, &err));
  CHECK_INT(strlen(url.host), 255);
  memset(text + 8, 'a', 256);
  strcpy(text + 8 + 256, "/p");
  CHECK(!ond_url_parse(text, &url, &err));
}

static bool same(const char *a, const char *b) {
  OndUrl x;
  OndUrl y;
  OndError err;

  CHECK(ond_url_parse(a, &x, &err));
  CHECK(ond_url_parse(b, &y, &err));
  return ond_url_same_origin(&x, &y);
}

TEST(url_same_origin) {
  CHECK(same("https://h/a", "HTTPS://H:443/b?c"));
  CHECK(same("http://[::1]/", "http://[0:0::1]:80"));
  CHECK(!same("https://h/", "http://h/"));
  CHECK(!same("https://h/", "http://h:443/"));
  CHECK(!same("https://h/", "https://h:444/"));
  CHECK(!same("https://h/", "https://h.example/"));
  CHECK(!same("https://h/", "https://hh/"));
}

TEST(url_encodes_all_but_the_unreserved) {
  static const char UNRESERVED[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";

  for (int c = 0; c < 256; c++) {
    char byte = (char)c;
    char expected[4];
    OndBuf path;
    OndBuf form;
    bool plain = c != 0 && strchr(UNRESERVED, c);

    snprintf(expected, sizeof(expected), plain ? "%c" : "%%%02X", c);
    ond_buf_init(&path, 10);
    ond_buf_init(&form, 10);
    CHECK(ond_url_encode(&path, &byte, 1));
    CHECK(ond_form_encode(&form, &byte, 1));
    CHECK_STR(path.data, expected);
    CHECK_STR(form.data, c == ' ' ? "+" : expected);
    ond_buf_free(&path);
    ond_buf_free(&form);
  }
}

TEST(url_encodes_runs) {
  OndBuf b;

  ond_buf_init(&b, 100);
  CHECK(ond_url_encode(&b, "a/b c\0d\xC3\xA9..", 11));
  CHECK_STR(b.data, "a%2Fb%20c%00d%C3%A9..");
  ond_buf_reset(&b);
  CHECK(ond_form_encode(&b, "a b&c=d+e", 9));
  CHECK_STR(b.data, "a+b%26c%3Dd%2Be");
  ond_buf_reset(&b);
  CHECK(ond_url_encode(&b, "", 0));
  CHECK_STR(b.data, "");
  ond_buf_free(&b);
  ond_buf_init(&b, 5);
  CHECK(!ond_url_encode(&b, "////", 4));
  CHECK(b.overflow);
  ond_buf_free(&b);
}

TEST(url_unsafe_pieces) {
  CHECK(ond_url_piece_is_unsafe("", 0));
  CHECK(ond_url_piece_is_unsafe(".", 1));
  CHECK(ond_url_piece_is_unsafe("..", 2));
  CHECK(!ond_url_piece_is_unsafe("...", 3));
  CHECK(!ond_url_piece_is_unsafe(".a", 2));
  CHECK(!ond_url_piece_is_unsafe("a.", 2));
  CHECK(!ond_url_piece_is_unsafe("a", 1));
}
