/*
 * fuzz_digest.c - any WWW-Authenticate, any user name, and the small decoders beside it.
 *
 * What a server says comes back to it in the answer: read again, the answer names the same realm, nonce and opaque, so nothing in them ended
 * a quoted string early. Base64 and hex decode to what encodes to them.
 *
 * Input: first line a user name, second line a password, third line a path, the rest the header's value.
 */
#include "http/digest.h"
#include "fuzz.h"

static void check_answer(const OndDigestChallenge *c, const char *username, const char *password, const char *uri) {
  OndDigestChallenge again;
  OndError err = {0};
  OndBuf out;

  ond_buf_init(&out, 1 << 16);
  if (ond_digest_answer(c, username, password, "GET", (OndBytes){uri, strlen(uri)}, "0123456789abcdef", 7, &out)) {
    MUST(strncmp(out.data, "Digest ", 7) == 0 && strlen(out.data) == out.len);
    /* the user name is the caller's: one that ends a string early would show here, too */
    MUST(ond_digest_parse(out.data, out.len, &again, &err));
    MUST(strcmp(again.realm, c->realm) == 0 && strcmp(again.nonce, c->nonce) == 0);
    MUST(again.has_opaque == c->has_opaque && strcmp(again.opaque, c->opaque) == 0);
    MUST(again.hash == c->hash && again.session == c->session && again.qop_auth == c->qop_auth);
  }
  ond_buf_free(&out);
}

static void check_codes(const char *text, size_t n) {
  OndBuf bytes;
  OndBuf code;
  OndBuf back;

  ond_buf_init(&bytes, n + 3);
  ond_buf_init(&code, 2 * n + 8);
  ond_buf_init(&back, 2 * n + 8);
  MUST(ond_base64(&code, text, n) && ond_base64_decode(&back, code.data, code.len));
  MUST(back.len == n && (n == 0 || memcmp(back.data, text, n) == 0));
  ond_buf_reset(&code);
  ond_buf_reset(&back);
  MUST(ond_base64url(&code, text, n) && ond_base64_decode(&back, code.data, code.len));
  MUST(back.len == n && (n == 0 || memcmp(back.data, text, n) == 0));
  ond_buf_reset(&code);
  ond_buf_reset(&back);
  MUST(ond_hex(&code, text, n) && code.len == 2 * n && ond_hex_decode(&back, code.data, code.len));
  MUST(back.len == n && (n == 0 || memcmp(back.data, text, n) == 0));
  if (ond_base64_decode(&bytes, text, n)) {
    MUST(bytes.len <= n);
  }
  ond_buf_reset(&bytes);
  if (ond_hex_decode(&bytes, text, n)) {
    MUST(bytes.len * 2 == n);
  }
  ond_buf_free(&bytes);
  ond_buf_free(&code);
  ond_buf_free(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Fuzz f = {data, size};
  size_t n;
  char *username = fuzz_line(&f, &n);
  char *password = fuzz_line(&f, &n);
  char *uri = fuzz_line(&f, &n);
  char *value = fuzz_rest(&f, &n);
  OndDigestChallenge c;
  OndError err = {0};

  if (ond_digest_parse(value, n, &c, &err)) {
    MUST(strlen(c.realm) < sizeof(c.realm) && c.nonce[0] && strlen(c.nonce) < sizeof(c.nonce));
    if (!strpbrk(username, "\"\\") && !strpbrk(uri, "\"\\")) {
      check_answer(&c, username, password, uri);
    }
  }
  check_codes(value, n);
  free(username);
  free(password);
  free(uri);
  free(value);
  return 0;
}
