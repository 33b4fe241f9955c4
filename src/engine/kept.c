/*
 * kept.c - see kept.h. Places are compared as jsonb, in the database's encoding; outside they are UTF-8, as all bytes of rows.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "nodes/pg_list.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/jsonb.h"

#include "compat.h"
#include "engine/kept.h"

#define PLACES_MAX 8

static Jsonb *parsed(OndBytes json) {
  return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(pg_any_to_server(pnstrdup(json.p, json.n), (int)json.n, PG_UTF8))));
}

static OndBytes printed(Jsonb *json) {
  char *text = JsonbToCString(NULL, &json->root, VARSIZE(json));

  text = pg_server_to_any(text, (int)strlen(text), PG_UTF8);
  return (OndBytes){text, strlen(text)};
}

static bool same(Jsonb *a, Jsonb *b) {
  return compareJsonbContainers(&a->root, &b->root) == 0;
}

/* The places that _kept names: Jsonb objects. */
static List *places_of(OndBytes was) {
  List *places = NIL;
  Jsonb *all;

  if (was.p == NULL)
    return NIL;
  all = parsed(was);
  if (!JB_ROOT_IS_ARRAY(all))
    return list_make1(all);
  for (uint32 i = 0; i < JB_ROOT_COUNT(all); i++)
    places = lappend(places, JsonbValueToJsonb(getIthJsonbValueFromContainer(&all->root, i)));
  return places;
}

static List *add_place(List *places, Jsonb *place) {
  ListCell *cell;

  foreach (cell, places)
    if (same(lfirst(cell), place))
      return places;
  return lappend(places, place);
}

static Jsonb *nowhere(void) {
  return parsed(OND_BYTES_LIT("{}"));
}

static const char *list_text(List *places) {
  StringInfoData s;
  ListCell *cell;

  if (list_length(places) == 1)
    return printed(linitial(places)).p;
  initStringInfo(&s);
  foreach (cell, places)
    appendStringInfo(&s, "%c%s", foreach_current_index(cell) == 0 ? '[' : ',', printed(lfirst(cell)).p);
  appendStringInfoChar(&s, ']');
  return s.data;
}

/* Where the record may be after a sending without a definite answer. */
static List *doubtful_places(OndBytes was, const OndKeyState *before, OndBytes kept) {
  bool accepted = before != NULL && before->has_accepted;
  bool doubted = before != NULL && before->doubt_op != OND_OP_NONE;
  List *places = accepted || doubted ? places_of(was) : NIL;

  if (places == NIL && (accepted || doubted))
    places = list_make1(nowhere());
  places = add_place(places, parsed(kept));
  if (list_length(places) > PLACES_MAX)
    places = list_make2(linitial(places), nowhere());
  return places;
}

const char *ond_kept_after(OndBytes was, const OndKeyState *before, OndBytes kept, const OndKeyState *after, bool accepted) {
  List *places;

  if (kept.p == NULL)
    return NULL;
  if (accepted)
    return pnstrdup(kept.p, kept.n);
  if (after->doubt_op != OND_OP_NONE)
    return list_text(doubtful_places(was, before, kept));
  places = places_of(was);
  if (after->has_accepted && list_length(places) > 1)
    return printed(linitial(places)).p;
  return NULL;
}

/* NULL: the place does not have it. */
static Jsonb *member(Jsonb *place, const char *name) {
  JsonbValue room;
  JsonbValue *value = getKeyJsonValueFromContainer(&place->root, name, (int)strlen(name), &room);

  return value == NULL ? NULL : JsonbValueToJsonb(value);
}

OndKeptKind ond_kept_value(OndBytes was, const char *name, OndBytes *value) {
  List *places = places_of(was);
  const char *own = pg_any_to_server(name, (int)strlen(name), PG_UTF8);
  Jsonb *found = NULL;
  ListCell *cell;

  *value = OND_BYTES_NONE;
  foreach (cell, places) {
    Jsonb *here = member(lfirst(cell), own);

    if (here == NULL)
      return OND_KEPT_MISSING;
    if (found != NULL && !same(found, here))
      return OND_KEPT_IN_DOUBT;
    found = here;
  }
  if (found == NULL)
    return OND_KEPT_MISSING;
  *value = printed(found);
  return OND_KEPT_KNOWN;
}

char *ond_kept_known(OndBytes was) {
  List *places = places_of(was);
  JsonbIterator *it;
  JsonbIteratorToken token;
  JsonbValue v;
  StringInfoData s;

  initStringInfo(&s);
  appendStringInfoChar(&s, '{');
  if (places != NIL) {
    it = JsonbIteratorInit(&((Jsonb *)linitial(places))->root);
    while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE) {
      OndBytes value;
      char *name;

      if (token != WJB_KEY)
        continue;
      name = pnstrdup(v.val.string.val, v.val.string.len);
      if (ond_kept_value(was, pg_server_to_any(name, (int)strlen(name), PG_UTF8), &value) != OND_KEPT_KNOWN)
        continue;
      if (s.len > 1)
        appendStringInfoChar(&s, ',');
      escape_json(&s, name);
      appendStringInfo(&s, ":%s", pg_any_to_server(value.p, (int)value.n, PG_UTF8));
    }
  }
  appendStringInfoChar(&s, '}');
  return pg_server_to_any(s.data, s.len, PG_UTF8);
}

bool ond_kept_is(OndBytes was, OndBytes kept) {
  return was.p != NULL && same(parsed(was), parsed(kept));
}
