/*
 * crypt.c - sealing and opening one secret; crypt.h describes the format.
 *
 * OpenSSL's context is malloc memory: nothing raises between making and freeing it.
 */
#include "postgres.h"

#include "compat.h"

#include <openssl/evp.h>
#include <openssl/sha.h>

#include "executor/spi.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"

#include "catalog/crypt.h"
#include "catalog/key_file.h"
#include "catalog/session.h"
#include "core/mem.h"

#define FORMAT_VERSION 1
#define KEY_ID_BYTES   4
#define NONCE_BYTES    12
#define TAG_BYTES      16
#define AT_KEY_ID      1
#define AT_NONCE       (AT_KEY_ID + KEY_ID_BYTES)
#define AT_OWNER       (AT_NONCE + NONCE_BYTES)
#define AT_OWNER_NAME  (AT_OWNER + (int)sizeof(Oid) + 1) /* its length is the byte before */
#define HEAD_BYTES_MAX (AT_OWNER_NAME + NAMEDATALEN)

static void key_id(const uint8 key[OND_KEY_BYTES], uint8 id[KEY_ID_BYTES]) {
  uint8 digest[SHA256_DIGEST_LENGTH];

  SHA256(key, OND_KEY_BYTES, digest);
  memcpy(id, digest, KEY_ID_BYTES);
}

/* One pass of AES-256-GCM. When encrypting writes the tag, else checks it. False when OpenSSL refuses or the tag is wrong. */
static bool gcm(bool encrypt, const uint8 key[OND_KEY_BYTES], const uint8 *head, int head_n, const char *name, const uint8 *in, int n,
                uint8 *out, uint8 *tag) {
  EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
  int len = 0;
  bool ok = c != NULL && EVP_CipherInit_ex(c, EVP_aes_256_gcm(), NULL, key, head + AT_NONCE, encrypt) == 1 &&
            EVP_CipherUpdate(c, NULL, &len, head, head_n) == 1 &&
            EVP_CipherUpdate(c, NULL, &len, (const uint8 *)name, (int)strlen(name)) == 1 && EVP_CipherUpdate(c, out, &len, in, n) == 1 &&
            (encrypt || EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, TAG_BYTES, tag) == 1) && EVP_CipherFinal_ex(c, out + len, &len) == 1 &&
            (!encrypt || EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, TAG_BYTES, tag) == 1);

  EVP_CIPHER_CTX_free(c);
  return ok;
}

/* Everything before the ciphertext; returns its length. */
static int make_head(const uint8 key[OND_KEY_BYTES], Oid owner, uint8 head[HEAD_BYTES_MAX]) {
  const char *owner_name = GetUserNameFromId(owner, false);
  size_t name_n = strlen(owner_name);
  uint32 owner_be = pg_hton32(owner);

  Assert(name_n < NAMEDATALEN);
  head[0] = FORMAT_VERSION;
  key_id(key, head + AT_KEY_ID);
  if (!pg_strong_random(head + AT_NONCE, NONCE_BYTES)) {
    ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not get random bytes")));
  }
  memcpy(head + AT_OWNER, &owner_be, sizeof(owner_be));
  head[AT_OWNER_NAME - 1] = (uint8)name_n;
  memcpy(head + AT_OWNER_NAME, owner_name, name_n);
  return AT_OWNER_NAME + (int)name_n;
}

/* The keys; one is made when there is none and it may be. */
static void get_keys(OndKeys *keys, bool may_make_key) {
  OndError err;
  OndKeyResult result = ond_key_read(keys, &err);

  if (result == OND_KEY_MISSING && may_make_key) {
    ond_key_make();
    result = ond_key_read(keys, &err);
  }
  if (result != OND_KEY_OK) {
    if (result == OND_KEY_MISSING) {
      ond_error_detail(&err, "Secrets are stored that were encrypted with it.");
    }
    ond_raise(&err);
  }
}

/* The key that a value was sealed with; NULL: the file does not have it. */
static const uint8 *key_of(const OndKeys *keys, const uint8 *head) {
  for (int i = 0; i < keys->n; i++) {
    uint8 id[KEY_ID_BYTES];

    key_id(keys->keys[i], id);
    if (memcmp(id, head + AT_KEY_ID, KEY_ID_BYTES) == 0) {
      return keys->keys[i];
    }
  }
  return NULL;
}

bool ond_crypt_is_current(const bytea *sealed) {
  const uint8 *in = (const uint8 *)VARDATA_ANY(sealed);
  OndKeys keys;
  bool current;

  get_keys(&keys, false);
  current = VARSIZE_ANY_EXHDR(sealed) >= AT_OWNER_NAME && key_of(&keys, in) == keys.keys[0];
  ond_wipe(&keys, sizeof(keys));
  return current;
}

bool ond_crypt_none_yet(void) {
  return ond_spi(SPI_OK_SELECT, "SELECT FROM ondatra.all_secrets UNION ALL SELECT FROM ondatra.all_tokens WHERE token IS NOT NULL LIMIT 1", 0, NULL,
                 NULL, NULL) == 0;
}

bytea *ond_crypt_seal(Oid owner, const char *name, const char *value, size_t n, bool may_make_key) {
  OndKeys keys;
  uint8 head[HEAD_BYTES_MAX];
  bytea *sealed = palloc(VARHDRSZ + sizeof(head) + n + TAG_BYTES);
  uint8 *out = (uint8 *)VARDATA(sealed);
  int head_n;
  bool ok;

  get_keys(&keys, may_make_key);
  head_n = make_head(keys.keys[0], owner, head);
  memcpy(out, head, head_n);
  ok = gcm(true, keys.keys[0], head, head_n, name, (const uint8 *)value, (int)n, out + head_n, out + head_n + n);
  ond_wipe(&keys, sizeof(keys));
  if (!ok) {
    ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not encrypt secret \"%s\"", name)));
  }
  SET_VARSIZE(sealed, VARHDRSZ + head_n + n + TAG_BYTES);
  return sealed;
}

static bool owner_matches(Oid owner, const uint8 *head) {
  const char *name = GetUserNameFromId(owner, true);
  uint32 sealed_be;

  memcpy(&sealed_be, head + AT_OWNER, sizeof(sealed_be));
  return pg_ntoh32(sealed_be) == owner ||
         (name != NULL && strlen(name) == head[AT_OWNER_NAME - 1] && memcmp(name, head + AT_OWNER_NAME, head[AT_OWNER_NAME - 1]) == 0);
}

static char *unreadable(OndError *err, const char *name, const char *detail, const char *hint) {
  ond_error_set(err, "secret \"%s\" cannot be decrypted", name);
  strlcpy(err->sqlstate, "28000", sizeof(err->sqlstate));
  ond_error_detail(err, "%s", detail);
  ond_error_hint(err, "%s", hint);
  return NULL;
}

char *ond_crypt_open(Oid owner, const char *name, const bytea *sealed, size_t *n, OndError *err) {
  const uint8 *in = (const uint8 *)VARDATA_ANY(sealed);
  int size = (int)VARSIZE_ANY_EXHDR(sealed);
  uint8 tag[TAG_BYTES];
  const uint8 *key;
  OndKeys keys;
  int head_n = size < AT_OWNER_NAME ? size + 1 : AT_OWNER_NAME + in[AT_OWNER_NAME - 1];
  int value_n = size - head_n - TAG_BYTES;
  char *value;

  if (value_n < 0 || in[0] != FORMAT_VERSION) {
    return unreadable(err, name, "The stored value has a form that this version does not know.", "Call ondatra.set_secret() again.");
  }
  if (!owner_matches(owner, in)) {
    return unreadable(err, name, "It was stored for another role.", "Call ondatra.set_secret() again as the owner of the destination.");
  }
  if (ond_key_read(&keys, err) != OND_KEY_OK) {
    return NULL;
  }
  key = key_of(&keys, in);
  if (key == NULL) {
    ond_wipe(&keys, sizeof(keys));
    return unreadable(err, name, "It was encrypted with another key than the one in the key file.",
                      "Put the key file of the server it comes from in place (ondatra.key_file), or call ondatra.set_secret() again.");
  }
  value = palloc(value_n + 1);
  memcpy(tag, in + head_n + value_n, TAG_BYTES);
  if (!gcm(false, key, in, head_n, name, in + head_n, value_n, (uint8 *)value, tag)) {
    ond_wipe(&keys, sizeof(keys));
    ond_wipe(value, value_n);
    return unreadable(err, name, "The stored value was changed or belongs to another name.", "Call ondatra.set_secret() again.");
  }
  ond_wipe(&keys, sizeof(keys));
  value[value_n] = '\0';
  *n = value_n;
  return value;
}
