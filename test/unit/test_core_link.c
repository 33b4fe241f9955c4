/*
 * test_core_link.c - Link headers as servers write them, and worse.
 */
#include <string.h>
#include <stdio.h>
#include "core/link.h"
#include "unit.h"

static const char *find(const char *header, const char *relation) {
  static char out[200];
  OndBytes target;

  if (!ond_link_find((OndBytes){header, strlen(header)}, relation, &target))
    return "none";
  snprintf(out, sizeof(out), "%.*s", (int)target.n, target.p);
  return out;
}

TEST(link_finds_a_relation) {
  CHECK_STR(find("<https://a/?page=2>; rel=\"next\", <https://a/?page=9>; rel=\"last\"", "next"), "https://a/?page=2");
  CHECK_STR(find("<https://a/?page=2>; rel=\"next\", <https://a/?page=9>; rel=\"last\"", "last"), "https://a/?page=9");
  CHECK_STR(find("</x,y;z>;rel=next", "next"), "/x,y;z");
  CHECK_STR(find("<u>; title=\"a, <b>; rel=next\"; rel=prev, <v>;\trel=\"first NEXT\" ; type=x", "next"), "v");
  CHECK_STR(find("<u>; REL=\"Next\"", "next"), "u");
  CHECK_STR(find("<u>; rel=\"nextish\"", "next"), "none");
  CHECK_STR(find("<u>; rel=\"\"", "next"), "none");
  CHECK_STR(find("<u>; rel", "next"), "none");
}

TEST(link_stops_at_what_is_none) {
  CHECK_STR(find("", "next"), "none");
  CHECK_STR(find("<u", "next"), "none");
  CHECK_STR(find("u; rel=next", "next"), "none");
  CHECK_STR(find("<u>; rel=\"next", "next"), "u");
  CHECK_STR(find("<u>; title=\"\\\"; rel=next", "next"), "none");
  CHECK_STR(find("<u>;;; rel=next", "next"), "u");
  CHECK_STR(find("<u> garbage, <v>; rel=next", "next"), "none");
}
