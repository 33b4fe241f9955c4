/*
 * settings.c - the settings ondatra.*, with their units and ranges.
 *
 * Invariant: all are defined also where the library is not preloaded (a session that calls one of our functions there sees them, and pg_dump
 * output that names them loads); settings of the postmaster can only be fixed at its start, so there they are ordinary ones without effect.
 */
#include "postgres.h"

#include <limits.h>

#include "miscadmin.h"
#include "utils/guc.h"

#include "catalog/settings.h"
#include "compat.h"

#define MAX_WORKERS_MAX      256
#define MAX_DESTINATIONS_MAX 10000

bool ond_setting_enabled = true;
int ond_setting_max_workers = 8;
int ond_setting_max_destinations = 128;
int ond_setting_max_workers_per_role = 0;
int ond_setting_max_destinations_per_role = 0;
int ond_setting_work_mem_kb = 256 * 1024;
char *ond_setting_allowed_hosts = "";
char *ond_setting_secret_env = "";
char *ond_setting_secret_dir = "";
char *ond_setting_key_file = "";
bool ond_setting_allow_superuser_owner = true;
int ond_setting_run_retention_min = 30 * 24 * 60;
int ond_setting_run_retention_count = 10000;
int ond_setting_request_retention_min = 7 * 24 * 60;
int ond_setting_request_retention_count = 10000;
int ond_setting_log_retention_min = 7 * 24 * 60;
int ond_setting_log_retention_count = 1000000;
int ond_setting_held_run_expiry_min = 7 * 24 * 60;
int ond_setting_cron_check_interval_s = 300;
int ond_setting_max_response_size_kb = 64 * 1024;
char *ond_setting_ca_file = "";
char *ond_setting_instance = "";
bool ond_setting_resume_after_promotion = false;

static void define_role_caps(void) {
  DefineCustomIntVariable("ondatra.max_workers_per_role", "Sets how many runs of syncs of one role may go on at once in the whole server.",
                          "What is due beyond that waits until one of them ends, and other roles' runs start. 0: as many as ondatra.max_workers.",
                          &ond_setting_max_workers_per_role, 0, 0, MAX_WORKERS_MAX, PGC_SIGHUP, 0, NULL, NULL, NULL);
  DefineCustomIntVariable("ondatra.max_destinations_per_role", "Sets how many destinations a role may own in a database.",
                          "Those that are there already stay. 0: no limit.", &ond_setting_max_destinations_per_role, 0, 0, INT_MAX, PGC_SIGHUP, 0, NULL,
                          NULL, NULL);
}

static void define_processes(void) {
  /* A variable of the postmaster cannot be made later; without preloading nothing reads them. */
  GucContext fixed = process_shared_preload_libraries_in_progress ? PGC_POSTMASTER : PGC_SIGHUP;

  DefineCustomBoolVariable("ondatra.enabled", "Runs syncs.",
                           "Off is the emergency brake: no run starts, and running ones stop within a second as if they were cancelled.",
                           &ond_setting_enabled, true, PGC_SIGHUP, 0, NULL, NULL, NULL);
  DefineCustomIntVariable("ondatra.max_workers", "Sets how many runs may go on at once in the whole server.",
                          "Each takes one of max_worker_processes.", &ond_setting_max_workers, 8, 1, MAX_WORKERS_MAX, fixed, 0, NULL, NULL,
                          NULL);
  DefineCustomIntVariable("ondatra.max_destinations", "Sets how many destinations may be in use at once in the whole server.",
                          "A destination is in use while runs send to it, and until its rate limits have forgotten them.",
                          &ond_setting_max_destinations, 128, 1, MAX_DESTINATIONS_MAX, fixed, 0, NULL, NULL, NULL);
  DefineCustomIntVariable("ondatra.work_mem", "Sets the memory that a run may use to compare the model with what was delivered.",
                          "What needs more is written to temporary files. ALTER ROLE ... SET gives a sync's owner a value of its own.",
                          &ond_setting_work_mem_kb, 256 * 1024, 64, MAX_KILOBYTES, PGC_SUSET, GUC_UNIT_KB, NULL, NULL, NULL);
  DefineCustomIntVariable("ondatra.run_retention", "Sets how long finished runs stay in ondatra.sync_runs.",
                          "The last run of each sync always stays; -1 keeps all.", &ond_setting_run_retention_min, 30 * 24 * 60, -1,
                          INT_MAX / 60, PGC_SIGHUP, GUC_UNIT_MIN, NULL, NULL, NULL);
  DefineCustomIntVariable("ondatra.held_run_expiry", "Sets how long a run that a guard held waits for approve_run or reject_run.",
                          "After that it is cancelled, and the sync runs as scheduled; -1 waits for ever.", &ond_setting_held_run_expiry_min, 7 * 24 * 60, -1,
                          INT_MAX / 60, PGC_SIGHUP, GUC_UNIT_MIN, NULL, NULL, NULL);
  DefineCustomIntVariable("ondatra.cron_check_interval", "Sets how often the jobs of cron schedules are looked at.",
                          "A job of pg_cron that somebody removed, stopped or changed is then said in the state_reason of its sync.",
                          &ond_setting_cron_check_interval_s, 300, 1, 86400, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
}

static double log_requests_share; /* 0: errors alone; -1: nothing at all */
static char *log_requests = "errors";

/* none, errors, all, or a share such as 1%: errors and so many of the others. */
static bool check_log_requests(char **value, void **extra, GucSource source) {
  double share = strcmp(*value, "none") == 0 ? -1 : strcmp(*value, "errors") == 0 ? 0 : 1;
  char *end;

  if (share == 1 && strcmp(*value, "all") != 0) {
    share = strtod(*value, &end) / 100;
    if (end == *value || strcmp(end, "%") != 0 || !(share >= 0 && share <= 1)) {
      GUC_check_errdetail("Valid values are none, errors, all, and a percentage such as 1%%: errors and so many of the others.");
      return false;
    }
  }
  *extra = ond_compat_guc_malloc(sizeof(double));
  if (*extra == NULL) {
    return false;
  }
  *(double *)*extra = share;
  return true;
}

static void assign_log_requests(const char *value, void *extra) {
  log_requests_share = *(double *)extra;
}

bool ond_log_requests_errors(void) {
  return log_requests_share >= 0;
}

double ond_log_requests_share(void) {
  return log_requests_share;
}

/* The server keeps the pointers of descriptions: literals, and nothing that is allocated. */
static void define_retention(const char *name, const char *what_for, int *minutes) {
  DefineCustomIntVariable(name, what_for, "-1 keeps all.", minutes, *minutes, -1, INT_MAX / 60, PGC_SIGHUP, GUC_UNIT_MIN, NULL, NULL, NULL);
}

static void define_retention_count(const char *name, const char *what_for, int *number) {
  DefineCustomIntVariable(name, what_for, "The newest ones; what is more is deleted now and then. -1 keeps all.", number, *number, -1, INT_MAX, PGC_SIGHUP, 0,
                          NULL, NULL, NULL);
}

static void define_records(void) {
  define_retention("ondatra.request_retention", "Sets how long requests in ondatra.requests stay.", &ond_setting_request_retention_min);
  define_retention("ondatra.log_retention", "Sets how long lines in ondatra.sync_log stay.", &ond_setting_log_retention_min);
  define_retention_count("ondatra.request_retention_count", "Sets how many requests of each sync stay.", &ond_setting_request_retention_count);
  define_retention_count("ondatra.log_retention_count", "Sets how many lines of the log of each sync stay.", &ond_setting_log_retention_count);
  define_retention_count("ondatra.run_retention_count", "Sets how many finished runs of each sync stay.", &ond_setting_run_retention_count);
  DefineCustomStringVariable("ondatra.log_requests", "Sets which requests of runs are recorded in ondatra.requests.",
                             "none, errors, all, or a percentage such as 1%: errors and so many of the others.", &log_requests, "errors", PGC_SUSET, 0,
                             check_log_requests, assign_log_requests, NULL);
}

static void define_network(void) {
  DefineCustomStringVariable("ondatra.allowed_hosts", "Lists hosts in loopback and private networks that destinations may name.",
                             "Names and addresses, separated by commas; link-local and other special addresses stay refused.",
                             &ond_setting_allowed_hosts, "", PGC_SIGHUP, GUC_LIST_INPUT, NULL, NULL, NULL);
  DefineCustomStringVariable("ondatra.ca_file", "Names a file of certificates (PEM) that destinations' servers are checked against.",
                             "Empty: the certificates of the system.", &ond_setting_ca_file, "", PGC_SIGHUP, 0, NULL, NULL, NULL);
  DefineCustomIntVariable("ondatra.max_response_size", "Sets the largest response that is read from a destination.",
                          "Counted after decompression; a larger one is an error of its request.", &ond_setting_max_response_size_kb,
                          64 * 1024, 64, 1024 * 1024, PGC_SIGHUP, GUC_UNIT_KB, NULL, NULL, NULL);
}

static void define_rights(void) {
  DefineCustomStringVariable("ondatra.secret_env", "Lists environment variables of the server that destinations may use as secrets.",
                             "Entries such as CRM_TOKEN=app@crm.example.com, separated by commas; * stands for any role or host.",
                             &ond_setting_secret_env, "", PGC_SIGHUP, GUC_LIST_INPUT | GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
  DefineCustomStringVariable("ondatra.secret_dir", "Lists files of the server that destinations may use as secrets.",
                             "Entries such as /etc/ondatra/=app@crm.example.com (a file, or a directory for those below it), separated by "
                             "commas; * stands for any role or host.",
                             &ond_setting_secret_dir, "", PGC_SIGHUP, GUC_LIST_INPUT | GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
  DefineCustomStringVariable("ondatra.key_file", "Names the file with the key that stored secrets are encrypted with.",
                             "Empty: ondatra.key in the data directory, made at first use.", &ond_setting_key_file, "", PGC_SIGHUP,
                             GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
  DefineCustomBoolVariable("ondatra.allow_superuser_owner", "Lets superusers own syncs.",
                           "Code that such a sync's model reaches runs as superuser.", &ond_setting_allow_superuser_owner, true, PGC_SIGHUP,
                           0, NULL, NULL, NULL);
}

static void define_arming(void) {
  DefineCustomStringVariable("ondatra.instance", "Names this server, so that a copy of its data directory is told apart.",
                             "A database that was armed under another name sends nothing until ondatra.arm() is called. Set it outside of the data directory.",
                             &ond_setting_instance, "", process_shared_preload_libraries_in_progress ? PGC_POSTMASTER : PGC_SIGHUP, 0, NULL, NULL, NULL);
  DefineCustomBoolVariable("ondatra.resume_after_promotion", "Lets syncs go on after this server was promoted from a standby.",
                           "Off: after a promotion nothing is sent until ondatra.arm() is called.", &ond_setting_resume_after_promotion, false, PGC_SIGHUP, 0,
                           NULL, NULL, NULL);
}

void ond_settings_define(void) {
  define_processes();
  define_role_caps();
  define_records();
  define_network();
  define_rights();
  define_arming();
  MarkGUCPrefixReserved("ondatra");
}
