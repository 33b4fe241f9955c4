/*
 * settings.h - the settings ondatra.*. What each means to people is its description in settings.c and in the manual.
 */
#ifndef OND_CATALOG_SETTINGS_H
#define OND_CATALOG_SETTINGS_H

#include "postgres.h"

extern bool ond_setting_enabled;         /* off: no run starts, and running ones stop */
extern int ond_setting_max_workers;      /* runs at once, all databases together */
extern int ond_setting_max_destinations; /* budgets in use at once */
extern int ond_setting_max_workers_per_role;      /* runs of one role at once; 0: no limit of its own */
extern int ond_setting_max_destinations_per_role; /* that a role may own in a database; 0: no limit */
extern int ond_setting_work_mem_kb;      /* memory of a run's diff */
extern char *ond_setting_allowed_hosts;  /* never NULL; so are all texts here */
extern char *ond_setting_secret_env;
extern char *ond_setting_secret_dir;
extern char *ond_setting_key_file; /* empty: ondatra.key in the data directory */
extern bool ond_setting_allow_superuser_owner;
extern int ond_setting_run_retention_min;       /* of each kind of record: how old it gets, and how many a sync has; -1: no end */
extern int ond_setting_run_retention_count;
extern int ond_setting_request_retention_min;
extern int ond_setting_request_retention_count;
extern int ond_setting_log_retention_min;
extern int ond_setting_log_retention_count;
extern int ond_setting_held_run_expiry_min; /* -1: for ever */
extern int ond_setting_cron_check_interval_s;
extern int ond_setting_max_response_size_kb;
extern char *ond_setting_ca_file; /* empty: the system's store */
extern char *ond_setting_instance;
extern bool ond_setting_resume_after_promotion;

/* ondatra.log_requests: whether requests that went wrong are recorded, and which share (0 to 1) of the others. */
extern bool ond_log_requests_errors(void);
extern double ond_log_requests_share(void);

/* Defines all of them, whether the library is preloaded or not. Called once, by _PG_init. */
extern void ond_settings_define(void);

#endif
