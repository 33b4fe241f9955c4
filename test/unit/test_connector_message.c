/*
 * test_connector_message.c - words out of refusals.
 */
#include "connector_case.h"

static const char *message(Case *t, int status, const char *body) {
  static char out[1001];
  OndHttpResponse response = {.transfer = OND_TRANSFER_OK, .status = status};
  const char *json = case_json(t, body);

  ond_buf_init(&response.body, 1 << 20);
  if (*body) {
    ond_buf_append_str(&response.body, json);
  }
  ond_connector_message(t->o, &response, out, sizeof(out));
  ond_buf_free(&response.body);
  return out;
}

TEST(messages_are_found_in_usual_places) {
  Case t = {0};

  CHECK_STR(message(&t, 422, "{'message': 'no plan'}"), "no plan");
  CHECK_STR(message(&t, 422, "{'error': {'message': 'no such customer', 'code': 'x'}}"), "no such customer");
  CHECK_STR(message(&t, 422, "{'error': 'invalid_grant', 'error_description': 'expired'}"), "expired");
  CHECK_STR(message(&t, 422, "{'ok': false, 'error': 'channel_not_found'}"), "channel_not_found");
  CHECK_STR(message(&t, 422, "{'error': 'bad_request', 'reason': 'no such id'}"), "no such id");
  CHECK_STR(message(&t, 422, "{'error': {'type': 'mapper_exception', 'reason': 'no such field'}, 'status': 400}"), "no such field");
  CHECK_STR(message(&t, 422, "{'type': 'about:blank', 'title': 'Invalid', 'detail': 'email is taken'}"), "email is taken");
  CHECK_STR(message(&t, 422, "{'title': 'Invalid'}"), "Invalid");
  CHECK_STR(message(&t, 422, "{'errors': [{'detail': 'one'}, {'message': 'two'}, 'three', 'four']}"), "one; two; three");
  CHECK_STR(message(&t, 422, "[{'message': 'required field missing', 'errorCode': 'REQ'}]"), "required field missing");
  CHECK_STR(message(&t, 422, "{'errors': {'email': ['is not valid']}}"), "{\"email\":[\"is not valid\"]}");
  CHECK_STR(message(&t, 422, "{'message': '', 'error': true, 'reason': 'because'}"), "because");
  CHECK_STR(message(&t, 422, "'plain'"), "plain");
  CHECK_STR(message(&t, 422, "{'foo': 1}"), "{\"foo\": 1}");
}

TEST(messages_are_found_where_told) {
  Case t;

  REQUIRE(case_open(&t, "{'object': {'upsert': {'method': 'PUT', 'error': '/fault/text'}}}", OND_OP_CREATE));
  CHECK_STR(message(&t, 400, "{'message': 'general', 'fault': {'text': 'special'}}"), "special");
  CHECK_STR(message(&t, 400, "{'message': 'general', 'fault': {'text': {'why': 'x'}}}"), "{\"why\":\"x\"}");
  CHECK_STR(message(&t, 400, "{'message': 'general'}"), "general");
  case_close(&t);
}

TEST(messages_of_other_bodies_are_their_first_line) {
  Case t = {0};

  CHECK_STR(message(&t, 502,
                    "<!DOCTYPE html>\n<html><head><style>b{}</style><title>502 Bad Gateway</title></head><body><script>x</script></body>"),
            "502 Bad Gateway");
  CHECK_STR(message(&t, 500, "\n\n  Internal <b>error</b> \nmore"), "Internal error");
  CHECK_STR(message(&t, 500,
                    "a\tb\x1b[31mc\xff"
                    "d"),
            "a b [31mc?d");
  CHECK_STR(message(&t, 503, ""), "HTTP status 503 without a message");
  CHECK_STR(message(&t, 503, "  \n <br> "), "HTTP status 503 without a message");
  CHECK_STR(message(&t, 503, "<script>never closed"), "HTTP status 503 without a message");
}

TEST(messages_fit) {
  OndHttpResponse response = {.transfer = OND_TRANSFER_NO_ANSWER, .error = "connection reset\nby peer"};
  char out[8] = "";

  ond_connector_message(NULL, &response, out, sizeof(out));
  CHECK_STR(out, "connect");
  ond_connector_message(NULL, &response, out, 1);
  CHECK_STR(out, "");
  ond_buf_init(&response.body, 100);
  ond_buf_append_str(&response.body, "abcdef\xC3\xA9");
  response.transfer = OND_TRANSFER_OK;
  ond_connector_message(NULL, &response, out, sizeof(out));
  CHECK_STR(out, "abcdef");
  ond_buf_free(&response.body);
}

TEST(endless_tags_take_no_endless_time) {
  OndHttpResponse response = {.transfer = OND_TRANSFER_OK, .status = 500};
  char out[100];

  ond_buf_init(&response.body, 1 << 24);
  for (int i = 0; i < 100000; i++) {
    ond_buf_append_str(&response.body, "<script");
  }
  ond_connector_message(NULL, &response, out, sizeof(out));
  CHECK_STR(out, "HTTP status 500 without a message");
  ond_buf_free(&response.body);
}
