/*
 * store.c - the spillable store of changes; see change_row.h.
 *
 * A record is a fixed head, the lengths of its pieces and their bytes. Each operation has a file of its own, so that deletes, updates and creates
 * come out in this order without sorting. Files are made when the first record comes: an unchanged run makes none.
 *
 * Invariants: nothing in a record points anywhere; the files are inter-transactional and belong to a resource owner that lives as long as the process.
 */
#include "postgres.h"

#include "commands/tablespace.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "engine/change_row.h"

#define FILES 4
#define ABSENT UINT32_MAX

typedef struct Head {
  uint32 bytes;               /* of the lengths and the pieces after the head */
  char op;
  bool has_before;
  int32 n_keys;
  int32 n_columns;
  OndKeyState before;
  OndKeyState after;
  OndHash hash;
  int64 change_id;
  int64 ordinal;
} Head;

struct OndStore {
  MemoryContext context;
  BufFile *files[FILES];
  int64 counts[FILES];
  int reading;                /* file, FILES: at the end */
  int last;                   /* last file to read */
  int64 read;
};

static const OndOp file_op[FILES] = {OND_OP_NONE, OND_OP_DELETE, OND_OP_UPDATE, OND_OP_CREATE};

static int file_of(OndOp op) {
  for (int i = 0; i < FILES; i++)
    if (file_op[i] == op)
      return i;
  elog(ERROR, "unknown operation %d", op);
}

static void close_files(void *arg) {
  ond_store_reset(arg);
}

OndStore *ond_store_create(void) {
  OndStore *store = palloc0(sizeof(OndStore));
  MemoryContextCallback *callback = palloc0(sizeof(MemoryContextCallback));

  store->context = CurrentMemoryContext;
  store->reading = FILES;
  callback->func = close_files; /* an error in a backend must not leave files open */
  callback->arg = store;
  MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
  return store;
}

int64 ond_store_count(const OndStore *store, OndOp op) {
  return store->counts[file_of(op)];
}

void ond_store_reset(OndStore *store) {
  for (int i = 0; i < FILES; i++) {
    if (store->files[i] != NULL)
      BufFileClose(store->files[i]);
    store->files[i] = NULL;
    store->counts[i] = 0;
  }
}

static BufFile *create_file(OndStore *store) {
  static ResourceOwner owner = NULL;
  ResourceOwner saved_owner = CurrentResourceOwner;
  MemoryContext saved = MemoryContextSwitchTo(store->context);
  BufFile *file;

  if (owner == NULL)
    owner = ResourceOwnerCreate(NULL, "ondatra store");
  PrepareTempTablespaces();
  CurrentResourceOwner = owner;
  file = BufFileCreateTemp(true);
  CurrentResourceOwner = saved_owner;
  MemoryContextSwitchTo(saved);
  return file;
}

/* --- writing ---------------------------------------------------------------------------------------------- */

static int count_pieces(int n_keys, int n_columns) {
  return 2 * n_keys + 6 + n_columns;
}

/* The pieces of a draft in their fixed order. */
static int list_pieces(const OndChangeDraft *d, OndBytes *pieces) {
  int n = 0;

  for (int i = 0; i < d->n_keys; i++)
    pieces[n++] = d->key_text[i];
  for (int i = 0; i < d->n_keys; i++)
    pieces[n++] = d->keys[i];
  pieces[n++] = d->key_json;
  pieces[n++] = d->fields;
  pieces[n++] = d->remote_id;
  pieces[n++] = d->remote;
  pieces[n++] = d->kept;
  pieces[n++] = d->kept_before;
  for (int i = 0; i < d->n_columns; i++)
    pieces[n++] = d->columns[i];
  return n;
}

void ond_store_add(OndStore *store, const OndChangeDraft *d) {
  int file = file_of(d->op);
  int n = count_pieces(d->n_keys, d->n_columns);
  OndBytes *pieces = palloc(sizeof(OndBytes) * n);
  uint32 *lengths = palloc(sizeof(uint32) * n);
  Size bytes = sizeof(uint32) * n;
  Head head;

  list_pieces(d, pieces);
  for (int i = 0; i < n; i++) {
    lengths[i] = pieces[i].p == NULL ? ABSENT : (uint32)pieces[i].n;
    bytes += pieces[i].p == NULL ? 0 : pieces[i].n;
  }
  if (bytes > MaxAllocSize / 2)
    ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("a row of the model is too large"), errdetail("It has %zu bytes.", bytes)));
  memset(&head, 0, sizeof(head));
  head.bytes = (uint32)bytes;
  head.op = (char)d->op;
  head.has_before = d->has_before;
  head.n_keys = d->n_keys;
  head.n_columns = d->n_columns;
  head.before = d->before;
  head.after = d->after;
  head.hash = d->hash;
  head.change_id = d->change_id;
  head.ordinal = d->ordinal;
  if (store->files[file] == NULL)
    store->files[file] = create_file(store);
  BufFileWrite(store->files[file], &head, sizeof(head));
  BufFileWrite(store->files[file], lengths, sizeof(uint32) * n);
  for (int i = 0; i < n; i++)
    if (pieces[i].p != NULL && pieces[i].n > 0)
      BufFileWrite(store->files[file], unconstify(char *, pieces[i].p), pieces[i].n);
  store->counts[file]++;
  pfree(pieces);
  pfree(lengths);
}

/* --- reading ---------------------------------------------------------------------------------------------- */

static void rewind_files(OndStore *store, int first, int last) {
  store->reading = first;
  store->last = last;
  store->read = 0;
  for (int i = 0; i < FILES; i++)
    if (store->files[i] != NULL && BufFileSeek(store->files[i], 0, 0, SEEK_SET) != 0)
      ereport(ERROR, (errcode_for_file_access(), errmsg("could not rewind a temporary file of the run: %m")));
}

void ond_store_rewind(OndStore *store, bool settle) {
  rewind_files(store, settle ? 0 : 1, settle ? 0 : FILES - 1);
}

void ond_store_rewind_all(OndStore *store) {
  rewind_files(store, 0, FILES - 1);
}

static void read_exactly(BufFile *file, void *p, Size n) {
  if (BufFileRead(file, p, n) != n)
    ereport(ERROR, (errcode_for_file_access(), errmsg("could not read a temporary file of the run: %m")));
}

/* Points the row's pieces into the bytes that follow it. */
static void attach_pieces(OndChangeRow *r, const uint32 *lengths, const char *at) {
  OndBytes *targets[6] = {&r->key_json, &r->row.fields, &r->row.remote_id, &r->row.remote, &r->kept, &r->kept_before};
  int n = 0;

#define TAKE(place)                                                                \
  do {                                                                             \
    (place) = lengths[n] == ABSENT ? OND_BYTES_NONE : (OndBytes){at, lengths[n]};  \
    at += lengths[n] == ABSENT ? 0 : lengths[n];                                   \
    n++;                                                                           \
  } while (0)
  for (int i = 0; i < r->n_keys; i++)
    TAKE(r->key_text[i]);
  for (int i = 0; i < r->n_keys; i++)
    TAKE(r->keys[i]);
  for (int i = 0; i < 6; i++)
    TAKE(*targets[i]);
  for (int i = 0; i < r->n_columns; i++)
    TAKE(r->columns[i]);
#undef TAKE
}

/* A row with room for the bytes of its pieces behind it. */
static OndChangeRow *alloc_row(const Head *head, char **bytes) {
  Size columns = sizeof(OndBytes) * head->n_columns;
  OndChangeRow *r = palloc0(sizeof(OndChangeRow) + columns + head->bytes);

  r->columns = (OndBytes *)(r + 1);
  *bytes = (char *)(r + 1) + columns;
  return r;
}

static void fill_row(OndChangeRow *r, const Head *head, const char *bytes) {
  r->has_before = head->has_before;
  r->before = head->before;
  r->after = head->after;
  r->hash = head->hash;
  r->change_id = head->change_id;
  r->ordinal = head->ordinal;
  r->n_keys = head->n_keys;
  r->n_columns = head->n_columns;
  r->created = -1;
  attach_pieces(r, (const uint32 *)bytes, bytes + sizeof(uint32) * count_pieces(r->n_keys, r->n_columns));
  r->task.op = r->row.op = (OndOp)head->op;
  r->task.bytes = r->row.fields.n + r->key_json.n;
  r->task.row = r;
  r->row.n_keys = r->n_keys;
  r->row.keys = r->keys;
  r->row.columns = r->columns;
  r->row.idempotency_key = r->idempotency_key;
}

/* The file that the next record is in; NULL: there is none. */
static BufFile *next_file(OndStore *store) {
  while (store->reading <= store->last) {
    if (store->read < store->counts[store->reading]) {
      store->read++;
      return store->files[store->reading];
    }
    store->reading++;
    store->read = 0;
  }
  return NULL;
}

OndChangeRow *ond_store_next(OndStore *store) {
  BufFile *file = next_file(store);
  Head head;
  OndChangeRow *r;
  char *bytes;

  if (file == NULL)
    return NULL;
  read_exactly(file, &head, sizeof(head));
  r = alloc_row(&head, &bytes);
  read_exactly(file, bytes, head.bytes);
  fill_row(r, &head, bytes);
  return r;
}

bool ond_store_next_raw(OndStore *store, StringInfo out) {
  BufFile *file = next_file(store);
  Head head;

  if (file == NULL)
    return false;
  read_exactly(file, &head, sizeof(head));
  enlargeStringInfo(out, (int)(sizeof(head) + head.bytes));
  appendBinaryStringInfo(out, (const char *)&head, sizeof(head));
  read_exactly(file, out->data + out->len, head.bytes);
  out->len += (int)head.bytes;
  return true;
}

OndChangeRow *ond_store_row(const char *raw) {
  Head head;
  OndChangeRow *r;
  char *bytes;

  memcpy(&head, raw, sizeof(head));
  r = alloc_row(&head, &bytes);
  memcpy(bytes, raw + sizeof(head), head.bytes);
  fill_row(r, &head, bytes);
  return r;
}
