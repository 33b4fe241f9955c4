/*
 * crypto.c - see crypto.h. Every object of OpenSSL lives within one call.
 */
#include "http/crypto.h"

#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <string.h>
#include "core/mem.h"
#include "core/scan.h"

#define RSA_BITS_MIN  2048
#define P256_BYTES    32
#define RANDOM_MAX    64
#define SIGNED_MAX    (64 * 1024)

static bool append_base64(OndBuf *b, const void *p, size_t n, const char alphabet[65], bool pad) {
  const unsigned char *in = p;
  bool ok = true;

  for (size_t i = 0; i < n; i += 3) {
    size_t left = n - i < 3 ? n - i : 3;
    unsigned int v = (unsigned int)in[i] << 16 | (left > 1 ? (unsigned int)in[i + 1] << 8 : 0) | (left > 2 ? in[i + 2] : 0);
    char out[4] = {alphabet[v >> 18 & 63], alphabet[v >> 12 & 63], left > 1 ? alphabet[v >> 6 & 63] : '=', left > 2 ? alphabet[v & 63] : '='};

    ok = ond_buf_append(b, out, pad ? 4 : left + 1) && ok;
    ond_wipe(out, sizeof(out));
  }
  return ok;
}

bool ond_base64(OndBuf *b, const void *p, size_t n) {
  return append_base64(b, p, n, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", true);
}

bool ond_base64url(OndBuf *b, const void *p, size_t n) {
  return append_base64(b, p, n, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", false);
}

static int base64_value(char c) {
  if (c >= 'A' && c <= 'Z') {
    return c - 'A';
  }
  if (c >= 'a' && c <= 'z') {
    return c - 'a' + 26;
  }
  if (c >= '0' && c <= '9') {
    return c - '0' + 52;
  }
  return c == '+' || c == '-' ? 62 : c == '/' || c == '_' ? 63 : -1;
}

bool ond_base64_decode(OndBuf *b, const char *text, size_t n) {
  unsigned int bits = 0;
  int held = 0;

  while (n > 0 && text[n - 1] == '=') {
    n--;
  }
  if (n % 4 == 1) {
    return false;
  }
  for (size_t i = 0; i < n; i++) {
    int value = base64_value(text[i]);

    if (value < 0) {
      return false;
    }
    bits = bits << 6 | (unsigned int)value;
    held += 6;
    if (held >= 8) {
      held -= 8;
      if (!ond_buf_append_char(b, (char)(bits >> held & 255))) {
        return false;
      }
    }
  }
  return true;
}

bool ond_hex(OndBuf *b, const void *p, size_t n) {
  static const char DIGITS[] = "0123456789abcdef";
  const unsigned char *in = p;
  bool ok = true;

  for (size_t i = 0; i < n; i++) {
    char out[2] = {DIGITS[in[i] >> 4], DIGITS[in[i] & 15]};

    ok = ond_buf_append(b, out, 2) && ok;
  }
  return ok;
}

bool ond_hex_decode(OndBuf *b, const char *text, size_t n) {
  for (size_t i = 0; i + 1 < n; i += 2) {
    int value = ond_scan_hex(text + i, 2, 2);

    if (value < 0 || !ond_buf_append_char(b, (char)value)) {
      return false;
    }
  }
  return n % 2 == 0;
}

static const EVP_MD *digest_of(OndHashKind hash) {
  switch (hash) {
  case OND_HASH_MD5: return EVP_md5();
  case OND_HASH_SHA1: return EVP_sha1();
  case OND_HASH_SHA256: return EVP_sha256();
  case OND_HASH_SHA512: return EVP_sha512();
  case OND_HASH_SHA512_256: return EVP_sha512_256();
  }
  return EVP_sha256();
}

size_t ond_hash(OndHashKind hash, const void *p, size_t n, unsigned char out[OND_HASH_BYTES_MAX]) {
  unsigned int size = 0;

  return EVP_Digest(n > 0 ? p : "", n, out, &size, digest_of(hash), NULL) == 1 ? size : 0;
}

size_t ond_hmac(OndHashKind hash, const void *key, size_t key_n, const void *p, size_t n, unsigned char out[OND_HASH_BYTES_MAX]) {
  unsigned int size = 0;

  /* NULL as a key would mean the key of the call before */
  return HMAC(digest_of(hash), key_n > 0 ? key : "", (int)key_n, n > 0 ? p : (const void *)"", n, out, &size) ? size : 0;
}

bool ond_random_hex(OndBuf *b, size_t bytes) {
  unsigned char random[RANDOM_MAX];
  bool ok = bytes <= sizeof(random) && RAND_bytes(random, (int)bytes) == 1 && ond_hex(b, random, bytes);

  ond_wipe(random, sizeof(random));
  return ok;
}

/* --- JWT ------------------------------------------------------------------------------------------------------ */

/* A key with a passphrase is refused: OpenSSL's own callback would ask the terminal. */
static int no_passphrase(char *buf, int size, int writing, void *arg) {
  (void)buf;
  (void)size;
  (void)writing;
  (void)arg;
  return 0;
}

static EVP_PKEY *read_key(const char *pem, OndError *err) {
  BIO *bio = BIO_new_mem_buf(pem, -1);
  EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;

  BIO_free(bio);
  if (!key) {
    ond_error_set(err, "the private key of the destination's auth cannot be read");
    ond_error_hint(err, "It must be a PEM text without a passphrase (-----BEGIN PRIVATE KEY-----), with its line breaks.");
  }
  return key;
}

static const char *algorithm_of(const EVP_PKEY *key, OndError *err) {
  if (EVP_PKEY_is_a(key, "RSA") && EVP_PKEY_get_bits(key) >= RSA_BITS_MIN) {
    return "RS256";
  }
  if (EVP_PKEY_is_a(key, "EC") && EVP_PKEY_get_bits(key) == 8 * P256_BYTES) {
    return "ES256";
  }
  ond_error_set(err, "the private key of the destination's auth is of a kind that cannot sign a JWT");
  ond_error_hint(err, "Use an RSA key of at least %d bits (RS256) or an EC key on the curve P-256 (ES256).", RSA_BITS_MIN);
  return NULL;
}

/* What OpenSSL signs for EC is DER; a JWT has the two numbers side by side. */
static bool raw_ecdsa(const unsigned char *der, size_t n, OndBuf *out) {
  unsigned char raw[2 * P256_BYTES];
  ECDSA_SIG *signature = d2i_ECDSA_SIG(NULL, &der, (long)n);
  bool ok = signature && BN_bn2binpad(ECDSA_SIG_get0_r(signature), raw, P256_BYTES) == P256_BYTES &&
            BN_bn2binpad(ECDSA_SIG_get0_s(signature), raw + P256_BYTES, P256_BYTES) == P256_BYTES;

  ECDSA_SIG_free(signature);
  return ok && ond_base64url(out, raw, sizeof(raw));
}

static bool append_signature(EVP_PKEY *key, const OndBuf *text, OndBuf *out) {
  EVP_MD_CTX *context = EVP_MD_CTX_new();
  const unsigned char *in = (const unsigned char *)text->data;
  unsigned char *signature = NULL;
  size_t n = 0;
  bool ok = context && EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key) == 1 &&
            EVP_DigestSign(context, NULL, &n, in, text->len) == 1;

  if (ok) {
    signature = ond_malloc(n);
    ok = EVP_DigestSign(context, signature, &n, in, text->len) == 1;
  }
  ok = ok && (EVP_PKEY_is_a(key, "EC") ? raw_ecdsa(signature, n, out) : ond_base64url(out, signature, n));
  ond_free(signature);
  EVP_MD_CTX_free(context);
  return ok;
}

static void append_header(OndBuf *out, const char *algorithm, const char *key_id) {
  OndBuf header;

  ond_buf_init(&header, 2048);
  ond_buf_appendf(&header, "{\"alg\":\"%s\",\"typ\":\"JWT\"", algorithm);
  if (key_id) {
    ond_buf_append_str(&header, ",\"kid\":");
    ond_buf_append_json_string(&header, key_id, strlen(key_id));
  }
  ond_buf_append_char(&header, '}');
  ond_base64url(out, header.data, header.len);
  out->overflow |= header.overflow;
  ond_buf_free(&header);
}

bool ond_jwt_sign(OndBuf *out, const char *pem, const char *key_id, const char *claims, size_t claims_n, OndError *err) {
  EVP_PKEY *key = read_key(pem, err);
  const char *algorithm = key ? algorithm_of(key, err) : NULL;
  OndBuf text;
  bool ok;

  if (!algorithm) {
    EVP_PKEY_free(key);
    return false;
  }
  ond_buf_init(&text, SIGNED_MAX);
  append_header(&text, algorithm, key_id);
  ond_buf_append_char(&text, '.');
  ond_base64url(&text, claims, claims_n);
  ok = !text.overflow && ond_buf_append(out, text.data, text.len) && ond_buf_append_char(out, '.') && append_signature(key, &text, out);
  if (!ok) {
    ond_error_set(err, "the JWT of the destination's auth could not be signed");
  }
  ond_wipe(text.data, text.len);
  ond_buf_free(&text);
  EVP_PKEY_free(key);
  return ok;
}
