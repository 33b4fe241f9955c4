/*
 * compress.c - bodies compressed with gzip: by the transport as a request goes out, or before, where a signature covers the bytes.
 */
#include <string.h>
#include <zlib.h>
#include "core/mem.h"
#include "http/exchange.h"

bool ond_http_gzip(const OndBuf *body, char **out, size_t *out_n, OndError *err) {
  z_stream z = {0};
  uLong bound;
  int rc;

  if (body->len > UINT32_MAX / 2) {
    ond_error_set(err, "request body is too large to compress");
    return false;
  }
  /* 16 + 15: a gzip frame and the largest window. */
  if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, 16 + 15, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
    ond_error_set(err, "could not compress the request body");
    return false;
  }
  bound = deflateBound(&z, body->len);
  *out = ond_malloc(bound);
  z.next_in = (Bytef *)body->data;
  z.avail_in = (uInt)body->len;
  z.next_out = (Bytef *)*out;
  z.avail_out = (uInt)bound;
  rc = deflate(&z, Z_FINISH);
  *out_n = z.total_out;
  deflateEnd(&z);
  if (rc != Z_STREAM_END) {
    ond_error_set(err, "could not compress the request body");
    return false;
  }
  return true;
}

bool ond_http_request_compress(OndHttpRequest *r, OndError *err) {
  char *packed = NULL;
  size_t n = 0;
  OndBuf body;
  bool ok;

  if (!r->gzip || !r->body.data || r->body.len == 0) {
    return true;
  }
  ok = ond_http_gzip(&r->body, &packed, &n, err);
  if (ok) {
    ond_buf_init(&body, n);
    ok = ond_buf_append(&body, packed, n) && ond_http_request_header(r, "Content-Encoding", "gzip", 4, err);
    if (ok) {
      ond_wipe(r->body.data, r->body.len);
      ond_buf_free(&r->body);
      r->body = body;
      r->gzip = false;
    } else {
      ond_buf_free(&body);
    }
  }
  ond_wipe(packed, n);
  ond_free(packed);
  return ok;
}
