/*
 * arming.c - see arming.h. The one row of ondatra.armed_to says what the database was when it was armed; this compares.
 *
 *   database            its OID: CREATE DATABASE ... TEMPLATE, a restored dump
 *   system identifier   of initdb: a dump restored elsewhere, pg_upgrade
 *   instance            ondatra.instance: snapshots and cold copies of the data directory, which nothing inside tells apart
 *   base backup         the backup_label.old that a server started from a base backup keeps; one that was removed later says nothing
 *   timeline            of the WAL: promotion, recovery to a point in time
 *
 * All but the database's OID are fixed while a postmaster lives (ondatra.instance takes effect at its start), so a process that was armed when it began
 * stays so, and a run needs to ask once only.
 *
 * The row is made with the first destination and not by the install script: a restored dump must bring its own.
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/builtins.h"

#include "catalog/arming.h"
#include "catalog/rows.h"
#include "catalog/session.h"
#include "catalog/settings.h"

#define LABEL_FILE_OLD  "backup_label.old"
#define LABEL_BYTES_MAX 1024

/* What this database is, or was when it was armed. */
typedef struct Identity {
  Oid database;
  char *system_identifier;
  char *instance;
  char *base_backup; /* "": started from none */
  int64 timeline;
} Identity;

/* The label of the base backup that the server was started from, on one line. */
static char *read_label(void) {
  char *text = palloc0(LABEL_BYTES_MAX + 1);
  int fd = OpenTransientFile(LABEL_FILE_OLD, O_RDONLY | PG_BINARY);
  ssize_t n;

  if (fd < 0) {
    if (errno != ENOENT)
      ereport(ERROR, (errcode_for_file_access(), errmsg("could not open file \"%s\": %m", LABEL_FILE_OLD)));
    return text;
  }
  n = read(fd, text, LABEL_BYTES_MAX);
  if (n < 0)
    ereport(ERROR, (errcode_for_file_access(), errmsg("could not read file \"%s\": %m", LABEL_FILE_OLD)));
  CloseTransientFile(fd);
  for (ssize_t i = 0; i < n; i++)
    if ((unsigned char)text[i] < ' ' || (unsigned char)text[i] > '~')
      text[i] = ' ';
  return text;
}

static void present(Identity *out) {
  out->database = MyDatabaseId;
  out->system_identifier = psprintf(UINT64_FORMAT, GetSystemIdentifier());
  out->instance = ond_setting_instance;
  out->base_backup = read_label();
  out->timeline = RecoveryInProgress() ? 0 : (int64)GetWALInsertionTimeLine();
}

static bool load(Identity *out) {
  MemoryContext caller = CurrentMemoryContext;
  bool found = ond_spi(SPI_OK_SELECT, "SELECT database, system_identifier, instance, base_backup, timeline FROM ondatra.armed_to", 0, NULL,
                       NULL, NULL) > 0;

  if (found) {
    out->database = ond_row_oid(1);
    out->system_identifier = ond_row_text(2, caller);
    out->instance = ond_row_text(3, caller);
    out->base_backup = ond_row_text(4, caller);
    out->timeline = ond_row_int64(5);
  }
  return found;
}

static bool nothing_to_send_to(void) {
  return ond_spi(SPI_OK_SELECT, "SELECT FROM ondatra.all_destinations LIMIT 1", 0, NULL, NULL, NULL) == 0;
}

/* The promotion of a standby changes these two and nothing else. */
static bool is_promotion(const Identity *was, const Identity *is) {
  return is->timeline > was->timeline;
}

/* What makes it another database than the one that was armed; NULL: nothing. */
static char *difference(const Identity *was, const Identity *is) {
  if (was->database != is->database)
    return psprintf("It was armed as the database with OID %u, and its OID is %u: it is a copy, or was restored from a dump.",
                    was->database, is->database);
  if (strcmp(was->system_identifier, is->system_identifier) != 0)
    return psprintf("It was armed in the server with system identifier %s, and this server's is %s: it was restored from a dump, or "
                    "upgraded by pg_upgrade.",
                    was->system_identifier, is->system_identifier);
  if (strcmp(was->instance, is->instance) != 0)
    return psprintf("It was armed with ondatra.instance = '%s', which is '%s' now.", was->instance, is->instance);
  if (is_promotion(was, is) && ond_setting_resume_after_promotion)
    return NULL;
  if (was->timeline != is->timeline)
    return psprintf("It was armed on timeline " INT64_FORMAT ", and the server's is " INT64_FORMAT
                    ": a standby was promoted, or a backup restored.",
                    was->timeline, is->timeline);
  if (is->base_backup[0] != '\0' && strcmp(was->base_backup, is->base_backup) != 0)
    return pstrdup("The server was started from a base backup that was taken after it had been armed.");
  return NULL;
}

bool ond_armed(char **why) {
  Identity was, is;
  char *reason = NULL;

  if (RecoveryInProgress())
    reason = pstrdup("The server is a standby.");
  else if (load(&was)) {
    present(&is);
    reason = difference(&was, &is);
  } else if (!nothing_to_send_to())
    reason = pstrdup("It was never armed.");
  if (why != NULL)
    *why = reason;
  return reason == NULL;
}

void ond_armed_require(void) {
  char *why;

  if (!ond_armed(&why))
    ereport(ERROR,
            (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("this database is not armed: nothing is sent from it"),
             errdetail("%s", why),
             RecoveryInProgress()
                 ? 0
                 : errhint("If this is to send from now on (and the original is not), a superuser calls ondatra.arm(policy): 'trust', "
                           "'resend', 'hold' or 'reconcile'.")));
}

void ond_arm(const char *policy, const char *armed_by) {
  Oid types[] = {OIDOID, TEXTOID, TEXTOID, TEXTOID, INT8OID, TEXTOID, TEXTOID};
  Datum values[7];
  Identity is;

  present(&is);
  values[0] = ObjectIdGetDatum(is.database);
  values[1] = CStringGetTextDatum(is.system_identifier);
  values[2] = CStringGetTextDatum(is.instance);
  values[3] = CStringGetTextDatum(is.base_backup);
  values[4] = Int64GetDatum(is.timeline);
  values[5] = CStringGetTextDatum(policy);
  values[6] = CStringGetTextDatum(armed_by);
  ond_spi(SPI_OK_INSERT,
          "INSERT INTO ondatra.armed_to (database, system_identifier, instance, base_backup, timeline, policy, armed_by) VALUES ($1, $2, "
          "$3, $4, $5, $6, $7) "
          "ON CONFLICT (one) DO UPDATE SET database = excluded.database, system_identifier = excluded.system_identifier, instance = "
          "excluded.instance, "
          "base_backup = excluded.base_backup, timeline = excluded.timeline, policy = excluded.policy, armed_by = excluded.armed_by, "
          "armed_at = pg_catalog.now()",
          7, types, values, NULL);
}

void ond_arm_first(void) {
  Identity was;

  if (!load(&was) && nothing_to_send_to())
    ond_arm("first", "ondatra");
}

void ond_arm_promoted(void) {
  Identity was, is;

  if (!load(&was))
    return;
  present(&is);
  if (is_promotion(&was, &is) && difference(&was, &is) == NULL) {
    ereport(LOG,
            (errmsg("ondatra: goes on after the promotion to timeline " INT64_FORMAT " (ondatra.resume_after_promotion)", is.timeline)));
    ond_arm("promotion", "ondatra");
  }
}
