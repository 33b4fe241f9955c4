/*
 * findings.c - see findings.h.
 *
 * A record is the lengths of its three texts, and the texts. The file is written in one transaction of the worker's and closed before it commits; it is read when
 * that transaction is known to have committed.
 */
#include "postgres.h"

#include <fcntl.h>

#include "storage/buffile.h"
#include "storage/ipc.h"
#include "storage/sharedfileset.h"
#include "utils/memutils.h"

#include "worker/findings.h"

#define FILE_NAME "findings"

typedef struct Share {
  SharedFileSet files;
  int repair;
  bool any;                   /* there is a file */
  OndReconcileCounts counts;
} Share;

static Share *mine = NULL;    /* of a run worker */
static BufFile *file = NULL;

dsm_segment *ond_findings_create(int repair) {
  dsm_segment *segment = dsm_create(sizeof(Share), 0);
  Share *share = dsm_segment_address(segment);

  memset(share, 0, sizeof(*share));
  share->repair = repair;
  SharedFileSetInit(&share->files, segment);
  return segment;
}

static void read_exactly(BufFile *from, void *p, Size n) {
  if (BufFileRead(from, p, n) != n)
    ereport(ERROR, (errcode_for_file_access(), errmsg("could not read a temporary file of the reconciliation: %m")));
}

static char *read_text(BufFile *from, uint32 n) {
  char *text = palloc((Size)n + 1);

  read_exactly(from, text, n);
  text[n] = '\0';
  return text;
}

const OndReconcileCounts *ond_findings_read(dsm_segment *segment, OndFindingTaker take, void *arg) {
  Share *share = dsm_segment_address(segment);
  MemoryContext record = AllocSetContextCreate(CurrentMemoryContext, "ondatra finding", ALLOCSET_DEFAULT_SIZES);
  BufFile *from = share->any ? BufFileOpenFileSet(&share->files.fs, FILE_NAME, O_RDONLY, false) : NULL;
  uint32 lengths[3];

  while (from != NULL && BufFileRead(from, lengths, sizeof(lengths)) == sizeof(lengths)) {
    MemoryContext saved = MemoryContextSwitchTo(record);
    char *texts[3];

    for (int i = 0; i < 3; i++)
      texts[i] = read_text(from, lengths[i]);
    take(texts[0], texts[1], texts[2], arg);
    MemoryContextSwitchTo(saved);
    MemoryContextReset(record);
  }
  if (from != NULL)
    BufFileClose(from);
  MemoryContextDelete(record);
  return &share->counts;
}

/* Who lets go last deletes the file, which is counted: not later, when this process has given up its statistics. */
static void let_go(int code, Datum segment) {
  dsm_detach((dsm_segment *)DatumGetPointer(segment));
}

int ond_findings_attach(dsm_handle handle) {
  dsm_segment *segment = dsm_attach(handle);

  if (segment == NULL)
    ereport(FATAL, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("the session that asked for this reconciliation has ended")));
  mine = dsm_segment_address(segment);
  SharedFileSetAttach(&mine->files, segment);
  before_shmem_exit(let_go, PointerGetDatum(segment));
  return mine->repair;
}

void ond_findings_put(const char *key, const char *problem, const char *detail) {
  const char *texts[3] = {key, problem, detail};
  uint32 lengths[3];

  if (file == NULL) {
    MemoryContext saved = MemoryContextSwitchTo(TopTransactionContext);

    file = BufFileCreateFileSet(&mine->files.fs, FILE_NAME);
    MemoryContextSwitchTo(saved);
  }
  for (int i = 0; i < 3; i++)
    lengths[i] = (uint32)strlen(texts[i]);
  BufFileWrite(file, lengths, sizeof(lengths));
  for (int i = 0; i < 3; i++)
    BufFileWrite(file, unconstify(char *, texts[i]), lengths[i]);
}

void ond_findings_end(const OndReconcileCounts *counts) {
  if (file != NULL) {
    BufFileExportFileSet(file);
    BufFileClose(file);
    mine->any = true;
  }
  file = NULL;
  mine->counts = *counts;
}
