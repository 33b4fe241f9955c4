/*
 * test_http_sigv4.c - AWS Signature Version 4 against the published test suite (normal path) and the examples of the S3 manual.
 */
#include <stdio.h>
#include <string.h>
#include "core/mem.h"
#include "http/auth.h"
#include "http/sigv4.h"
#include "unit.h"

#define EMPTY_HASH "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define HEADERS_MAX 8

/* A case of the suite: GET or POST of a path; headers are "Name:value" lines beside Host and X-Amz-Date. */
typedef struct Case {
  const char *name, *method, *path, *query;
  const char *headers[HEADERS_MAX];
  const char *payload_hash;
  const char *signature;
} Case;

static const Case SUITE[] = {
    {"get-vanilla", "GET", "/", "", {NULL}, EMPTY_HASH, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
    {"get-vanilla-query", "GET", "/", "", {NULL}, EMPTY_HASH, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
    {"get-vanilla-empty-query-key", "GET", "/", "Param1=value1", {NULL}, EMPTY_HASH, "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"},
    {"get-vanilla-query-order-key-case", "GET", "/", "Param2=value2&Param1=value1", {NULL}, EMPTY_HASH,
     "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
    {"get-vanilla-query-order-value", "GET", "/", "Param1=value2&Param1=value1", {NULL}, EMPTY_HASH,
     "5772eed61e12b33fae39ee5e7012498b51d56abc0abb7c60486157bd471c4694"},
    {"get-vanilla-query-unreserved", "GET", "/",
     "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz=-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
     {NULL}, EMPTY_HASH, "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197"},
    {"get-vanilla-utf8-query", "GET", "/", "\xe1\x88\xb4=bar", {NULL}, EMPTY_HASH, "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"},
    {"get-unreserved", "GET", "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", "", {NULL}, EMPTY_HASH,
     "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"},
    {"get-utf8", "GET", "/\xe1\x88\xb4", "", {NULL}, EMPTY_HASH, "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"},
    {"get-relative", "GET", "/example/..", "", {NULL}, EMPTY_HASH, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
    {"get-relative-relative", "GET", "/example1/example2/../..", "", {NULL}, EMPTY_HASH, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
    {"get-slash", "GET", "//", "", {NULL}, EMPTY_HASH, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
    {"get-slash-dot-slash", "GET", "/./", "", {NULL}, EMPTY_HASH, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
    {"get-slashes", "GET", "//example//", "", {NULL}, EMPTY_HASH, "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84"},
    {"get-slash-pointless-dot", "GET", "/./example", "", {NULL}, EMPTY_HASH, "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5"},
    {"get-space", "GET", "/example space/", "", {NULL}, EMPTY_HASH, "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741"},
    {"get-header-key-duplicate", "GET", "/", "", {"My-Header1:value2", "My-Header1:value2", "My-Header1:value1", NULL}, EMPTY_HASH,
     "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea"},
    {"get-header-value-order", "GET", "/", "", {"My-Header1:value4", "My-Header1:value1", "My-Header1:value3", "My-Header1:value2", NULL}, EMPTY_HASH,
     "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01"},
    {"get-header-value-trim", "GET", "/", "", {"My-Header1: value1", "My-Header2: \"a   b   c\"", NULL}, EMPTY_HASH,
     "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"},
    {"post-vanilla", "POST", "/", "", {NULL}, EMPTY_HASH, "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
    {"post-vanilla-query", "POST", "/", "Param1=value1", {NULL}, EMPTY_HASH, "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11"},
    {"post-header-value-case", "POST", "/", "", {"My-Header1:VALUE1", NULL}, EMPTY_HASH, "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d"},
    {"post-x-www-form-urlencoded", "POST", "/", "", {"Content-Type:application/x-www-form-urlencoded", NULL},
     "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e", "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"},
};

/* "Name:value" cut in place. */
static OndSigv4Header header_of(char *line) {
  char *colon = strchr(line, ':');

  *colon = '\0';
  return (OndSigv4Header){line, colon + 1};
}

static void check_case(const Case *c) {
  char lines[HEADERS_MAX][128];
  OndSigv4Header headers[HEADERS_MAX + 2] = {{"Host", "example.amazonaws.com"}, {"X-Amz-Date", "20150830T123600Z"}};
  OndSigv4Input in = {.method = c->method, .path = {c->path, strlen(c->path)}, .query = {c->query, strlen(c->query)}, .n_headers = 2,
                      .headers = headers, .payload_hash = c->payload_hash, .region = "us-east-1", .service = "service",
                      .access_key = "AKIDEXAMPLE", .secret_key = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", .date = "20150830T123600Z"};
  OndBuf out;

  for (int i = 0; c->headers[i]; i++) {
    snprintf(lines[i], sizeof(lines[i]), "%s", c->headers[i]);
    headers[in.n_headers++] = header_of(lines[i]);
  }
  ond_buf_init(&out, 8192);
  CHECK(ond_sigv4_authorization(&in, &out));
  if (!CHECK(out.len > 64 && strcmp(out.data + out.len - 64, c->signature) == 0)) {
    unit_note("%s: %s", c->name, out.data);
    ond_buf_reset(&out);
    ond_sigv4_canonical(&in, &out);
    unit_note("%s", out.data);
  }
  ond_buf_free(&out);
}

TEST(sigv4_published_suite) {
  for (size_t i = 0; i < sizeof(SUITE) / sizeof(SUITE[0]); i++) {
    check_case(&SUITE[i]);
  }
}

TEST(sigv4_scope_and_names) {
  OndSigv4Header headers[] = {{"Host", "example.amazonaws.com"}, {"X-Amz-Date", "20150830T123600Z"}};
  OndSigv4Input in = {.method = "GET", .path = {"/", 1}, .query = {"", 0}, .n_headers = 2, .headers = headers, .payload_hash = EMPTY_HASH,
                      .region = "us-east-1", .service = "service", .access_key = "AKIDEXAMPLE",
                      .secret_key = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", .date = "20150830T123600Z"};
  OndBuf out;

  ond_buf_init(&out, 8192);
  CHECK(ond_sigv4_authorization(&in, &out));
  CHECK_STR(out.data, "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, "
                      "Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
  ond_buf_reset(&out);
  CHECK(ond_sigv4_string_to_sign(&in, &out));
  CHECK_STR(out.data, "AWS4-HMAC-SHA256\n20150830T123600Z\n20150830/us-east-1/service/aws4_request\n"
                      "bb579772317eb040ac9ed261061d46c1f17a8133879d6129b6e1c25292927e63");
  ond_buf_free(&out);
}

/* A path that is encoded on the wire is encoded once more; not for S3, whose examples follow. */
TEST(sigv4_encodes_the_wire_path_again) {
  OndSigv4Input in = {.method = "GET", .path = {"/a%20b/c", 8}, .query = {"x=%2f&x=%2F+", 12}, .payload_hash = "", .region = "r", .service = "s", .date = "20150830T123600Z"};
  OndBuf out;

  ond_buf_init(&out, 8192);
  CHECK(ond_sigv4_canonical(&in, &out));
  CHECK_STR(out.data, "GET\n/a%2520b/c\nx=%2F&x=%2F%2B\n\n\n\n");
  in.s3 = true;
  ond_buf_reset(&out);
  CHECK(ond_sigv4_canonical(&in, &out));
  CHECK(strncmp(out.data, "GET\n/a%20b/c\n", 13) == 0);
  ond_buf_free(&out);
}

static void check_s3(const char *method, const char *path, const char *query, int n, const OndSigv4Header *headers, const char *payload, const char *signature) {
  OndSigv4Input in = {.method = method, .path = {path, strlen(path)}, .query = {query, strlen(query)}, .n_headers = n, .headers = headers,
                      .payload_hash = payload, .s3 = true, .region = "us-east-1", .service = "s3", .access_key = "AKIAIOSFODNN7EXAMPLE",
                      .secret_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", .date = "20130524T000000Z"};
  OndBuf out;

  ond_buf_init(&out, 8192);
  CHECK(ond_sigv4_authorization(&in, &out));
  if (!CHECK(out.len > 64 && strcmp(out.data + out.len - 64, signature) == 0)) {
    unit_note("%s %s: %s", method, path, out.data);
  }
  ond_buf_free(&out);
}

TEST(sigv4_examples_of_s3) {
  static const char PUT_HASH[] = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";
  OndSigv4Header get[] = {{"Host", "examplebucket.s3.amazonaws.com"}, {"Range", "bytes=0-9"}, {"x-amz-content-sha256", EMPTY_HASH}, {"x-amz-date", "20130524T000000Z"}};
  OndSigv4Header put[] = {{"Date", "Fri, 24 May 2013 00:00:00 GMT"}, {"Host", "examplebucket.s3.amazonaws.com"}, {"x-amz-date", "20130524T000000Z"},
                          {"x-amz-storage-class", "REDUCED_REDUNDANCY"}, {"x-amz-content-sha256", PUT_HASH}};
  OndSigv4Header list[] = {{"Host", "examplebucket.s3.amazonaws.com"}, {"x-amz-date", "20130524T000000Z"}, {"x-amz-content-sha256", EMPTY_HASH}};

  check_s3("GET", "/test.txt", "", 4, get, EMPTY_HASH, "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
  check_s3("PUT", "/test$file.text", "", 5, put, PUT_HASH, "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
  check_s3("PUT", "/test%24file.text", "", 5, put, PUT_HASH, "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
  check_s3("GET", "/", "lifecycle", 3, list, EMPTY_HASH, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
  check_s3("GET", "/", "max-keys=2&prefix=J", 3, list, EMPTY_HASH, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

/* --- on a request --------------------------------------------------------------------------------------------- */

static OndAuth *aws_auth(const char *service, bool session) {
  static const char *const NAMES[] = {"access_key", "secret_key", "session_token"};
  static const char *const VALUES[] = {"AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "token+/=="};
  OndAuth *a = ond_calloc(sizeof(*a));

  a->type = OND_AUTH_AWS_SIGV4;
  a->now_s = 1440938160; /* 2015-08-30 12:36:00 */
  a->sigv4 = ond_calloc(sizeof(*a->sigv4));
  a->sigv4->region = ond_strdup("us-east-1");
  a->sigv4->service = ond_strdup(service);
  a->sigv4->s3 = strcmp(service, "s3") == 0;
  a->n = session ? 3 : 2;
  a->items = ond_calloc(3 * sizeof(*a->items));
  for (int i = 0; i < a->n; i++) {
    a->items[i] = (OndCredential){.name = ond_strdup(NAMES[i]), .source = OND_CREDENTIAL_SECRET, .ref = ond_strdup("x"), .value = ond_strdup(VALUES[i])};
  }
  return a;
}

static const char *header_value(const OndHttpRequest *r, const char *name) {
  const char *value = NULL;

  for (int i = 0; i < r->n_headers; i++) {
    if (strcmp(r->headers[i].name, name) == 0) {
      CHECK(!value); /* once */
      value = r->headers[i].value;
    }
  }
  return value;
}

TEST(sigv4_signs_a_request) {
  OndAuth *a = aws_auth("service", false);
  OndHttpRequest r;
  OndError err = {0};

  ond_http_request_init(&r);
  snprintf(r.method, sizeof(r.method), "GET");
  r.url = ond_strdup("https://example.amazonaws.com:443/?Param2=value2&Param1=value1");
  CHECK(ond_http_request_header(&r, "Accept", "application/json", 16, &err));
  for (int i = 0; i < 2; i++) { /* a retry signs anew and leaves one header of each */
    CHECK(ond_auth_apply(a, &r, &err));
    CHECK_STR(header_value(&r, "x-amz-date"), "20150830T123600Z");
    CHECK_STR(header_value(&r, "Authorization"), "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, "
                                                 "Signature=b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500");
  }
  ond_http_request_free(&r);
  ond_auth_free(a);
}

TEST(sigv4_signs_what_goes_out) {
  OndAuth *a = aws_auth("s3", true);
  OndHttpRequest r;
  OndError err = {0};

  ond_http_request_init(&r);
  snprintf(r.method, sizeof(r.method), "PUT");
  r.url = ond_strdup("http://[::1]:9000/b/k");
  ond_buf_init(&r.body, 4096);
  ond_buf_append_str(&r.body, "0123456789012345678901234567890123456789");
  r.gzip = true;
  CHECK(ond_auth_apply(a, &r, &err));
  CHECK(!r.gzip && r.body.len < 40 && (unsigned char)r.body.data[0] == 0x1f); /* compressed before it was hashed */
  CHECK_STR(header_value(&r, "Content-Encoding"), "gzip");
  CHECK_STR(header_value(&r, "x-amz-security-token"), "token+/==");
  REQUIRE(header_value(&r, "x-amz-content-sha256") && header_value(&r, "Authorization"));
  CHECK(strcmp(header_value(&r, "x-amz-content-sha256"), EMPTY_HASH) != 0);
  CHECK(strstr(header_value(&r, "Authorization"), "SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token, "));
  ond_http_request_free(&r);
  ond_auth_free(a);
}
