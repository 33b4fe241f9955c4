/*
 * bind.c - a compiled object meets a sync: its mode and its key.
 *
 * {{key}} gets its columns, and the object must be able to do what the mode needs. May be called again with another sync.
 */
#include <stdio.h>
#include <string.h>
#include "connector/operation.h"

typedef struct ModeNeed {
  const char *name;
  bool creates;
  bool updates;
  bool deletes;
  const char *words;
} ModeNeed;

static const ModeNeed MODES[] = {
    [OND_MODE_UPSERT] = {"upsert", true, true, false, "\"upsert\", or \"create\" and \"update\""},
    [OND_MODE_INSERT] = {"insert", true, false, false, "\"create\" or \"upsert\""},
    [OND_MODE_UPDATE] = {"update", false, true, false, "\"update\" or \"upsert\""},
    [OND_MODE_MIRROR] = {"mirror", true, true, true, "\"delete\", and \"upsert\" or both \"create\" and \"update\""},
    [OND_MODE_APPEND] = {"append", true, false, false, "\"create\" or \"upsert\""},
    [OND_MODE_REPLACE] = {"replace", true, true, false, "\"upsert\", or \"create\" and \"update\""},
};

static bool can(const OndConnector *c, const ModeNeed *need) {
  return (!need->creates || ond_connector_operation(c, OND_OP_CREATE)) && (!need->updates || ond_connector_operation(c, OND_OP_UPDATE)) &&
         (!need->deletes || ond_connector_operation(c, OND_OP_DELETE));
}

bool ond_connector_can(const OndConnector *c, OndMode mode) {
  return can(c, &MODES[mode]);
}

/* The modes that the operations allow. */
static void list_modes(const OndConnector *c, char *out, size_t n) {
  const char *names[sizeof(MODES) / sizeof(MODES[0]) + 1] = {NULL};
  int count = 0;

  for (size_t i = 0; i < sizeof(MODES) / sizeof(MODES[0]); i++) {
    if (can(c, &MODES[i])) {
      names[count++] = MODES[i].name;
    }
  }
  ond_names_join(names, out, n);
}

static bool check_mode(const OndConnector *c, OndMode mode, OndError *err) {
  const ModeNeed *need = &MODES[mode];
  const char *names[OND_KINDS + 1] = {NULL};
  char joined[80];
  char modes[80];
  int n = 0;

  if (can(c, need)) {
    return true;
  }
  for (int kind = 0; kind < OND_KINDS; kind++) {
    if (c->operations[kind]) {
      names[n++] = ond_kind_name((OndKind)kind);
    }
  }
  ond_names_join(names, joined, sizeof(joined));
  list_modes(c, modes, sizeof(modes));
  if (c->document) {
    ond_error_set(err, "mode \"%s\" is not possible with object \"%s\" of connector \"%s\"", need->name, c->object, c->name);
    ond_error_hint(err, "Modes that are possible: %s.", *modes ? modes : "none");
  } else {
    ond_error_set(err, "mode \"%s\" is not possible with the operations of the destination", need->name);
    ond_error_hint(err, "Add the operation to \"object\" of the destination's options, or choose another mode.");
  }
  ond_error_detail(err, "The mode needs %s. The object has: %s.", need->words, joined);
  ond_error_pointer(err, "%s", c->object_pointer);
  return false;
}

/* One field identifies a record, so one column does. */
static bool check_key(const OndConnector *c, int n_keys, OndError *err) {
  if (!c->key_field || n_keys == 1) {
    return true;
  }
  ond_error_set(err, "the destination identifies a record by one field, \"%s\", but the key has %d columns", c->key_field, n_keys);
  ond_error_hint(err, "Make one column of them in the model, and use it as the key.");
  ond_error_pointer(err, "%s/key", c->object_pointer);
  return false;
}

static int find_key(const char *name, size_t n, int n_keys, const char *const *key_names) {
  for (int i = 0; i < n_keys; i++) {
    if (strlen(key_names[i]) == n && memcmp(key_names[i], name, n) == 0) {
      return i;
    }
  }
  return -1;
}

/* "{{key.a}}, {{key.b}}" */
static void key_references(int n_keys, const char *const *key_names, char *out, size_t n) {
  size_t length = 0;

  out[0] = '\0';
  for (int i = 0; i < n_keys && length < n; i++) {
    int wrote = snprintf(out + length, n - length, "%s{{key.%s}}", i > 0 ? ", " : "", key_names[i]);

    length += wrote > 0 ? (size_t)wrote : 0;
  }
}

static bool fail_key(const OndKeyUse *use, const char *what, int n_keys, const char *const *key_names, OndError *err) {
  char references[240];

  key_references(n_keys, key_names, references, sizeof(references));
  ond_error_set(err, "operation \"%s\" names %s", ond_kind_name(use->kind), what);
  ond_error_hint(err, "The sync's key is %s.", references);
  ond_error_pointer(err, "%s", use->pointer);
  return false;
}

static bool bind_part(const OndKeyUse *use, int n_keys, const char *const *key_names, OndError *err) {
  static const char PREFIX[] = "key.";
  const size_t prefix_n = sizeof(PREFIX) - 1;
  OndTemplatePart *part = use->part;
  char what[200];

  if (part->name.n <= prefix_n) {
    part->index = n_keys == 1 ? 0 : -1;
    snprintf(what, sizeof(what), "{{key}}, but the key has %d columns", n_keys);
  } else {
    part->index = find_key(part->name.p + prefix_n, part->name.n - prefix_n, n_keys, key_names);
    snprintf(what, sizeof(what), "{{%.100s}}, but the key has no such column", part->name.p);
  }
  return part->index >= 0 || fail_key(use, what, n_keys, key_names, err);
}

static bool bind_identity(const OndKeyUse *use, int n_keys, const char *const *key_names, OndError *err) {
  OndIdentity *identity = use->identity;
  char what[200];

  for (int i = 0; i < identity->n; i++) {
    identity->keys[i] = find_key(identity->columns[i], strlen(identity->columns[i]), n_keys, key_names);
    if (identity->keys[i] < 0) {
      snprintf(what, sizeof(what), "\"%.100s\" in what its answer is matched by, but the key has no such column", identity->columns[i]);
      return fail_key(use, what, n_keys, key_names, err);
    }
  }
  if (identity->n != n_keys) {
    snprintf(what, sizeof(what), "%d key columns in what its answer is matched by, but the key has %d", identity->n, n_keys);
    return fail_key(use, what, n_keys, key_names, err);
  }
  return true;
}

bool ond_connector_bind(OndConnector *c, OndMode mode, int n_keys, const char *const *key_names, OndError *err) {
  if (!check_mode(c, mode, err) || !check_key(c, n_keys, err)) {
    return false;
  }
  for (const OndKeyUse *use = c->key_uses; use; use = use->next) {
    OndError ignored;
    /* A delete that is never sent may name what this sync has not. */
    OndError *to = use->kind == OND_KIND_DELETE && !MODES[mode].deletes ? &ignored : err;
    bool ok = use->part ? bind_part(use, n_keys, key_names, to) : bind_identity(use, n_keys, key_names, to);

    if (!ok && to == err) {
      return false;
    }
  }
  return true;
}
