/*
 * secrets.c - set_secret, drop_secret. A secret belongs to the role that sets it; others' secrets are out of reach, a superuser's SET
 * ROLE aside.
 */
#include "postgres.h"

#include "utils/acl.h"
#include "utils/builtins.h"

#include "api/api.h"
#include "catalog/edit.h"
#include "catalog/secrets.h"
#include "catalog/tokens.h"
#include "catalog/utf8.h"
#include "core/mem.h"
#include "miscadmin.h"
#include "worker/shared.h"

#define SECRET_BYTES_MAX 65536 /* a chain of certificates; what goes into a header is measured there */

PG_FUNCTION_INFO_V1(ond_sql_set_secret);
Datum ond_sql_set_secret(PG_FUNCTION_ARGS) {
  char *name = ond_arg_name(fcinfo, 0, "secret");
  OndCall call;
  char *value;
  int released;

  if (PG_ARGISNULL(1)) {
    ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("the value of secret \"%s\" must not be NULL", name),
                    errhint("ondatra.drop_secret() removes a secret.")));
  }
  value = ond_to_utf8(ond_arg_text(fcinfo, 1));
  if (strlen(value) > SECRET_BYTES_MAX) {
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the value of secret \"%s\" is too long", name),
                    errdetail("It has %zu bytes; %d are allowed.", strlen(value), SECRET_BYTES_MAX)));
  }
  ond_call_begin(&call);
  ond_secret_set(call.user, name, value, strlen(value));
  ond_wipe(value, strlen(value));
  released = ond_secret_release(call.user, name);
  ond_call_end(&call);
  if (released > 0) {
    ond_wake_at_commit();
    ereport(NOTICE, (errmsg_plural("%d sync that had stopped for this secret goes on", "%d syncs that had stopped for this secret go on",
                                   released, released)));
  }
  PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(ond_sql_reencrypt_secrets);
Datum ond_sql_reencrypt_secrets(PG_FUNCTION_ARGS) {
  Oid owner = ond_extension(false)->owner;
  OndCall call;
  int64 done;

  ond_call_begin(&call);
  if (!has_privs_of_role(call.user, owner)) {
    ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("permission denied to encrypt the secrets of all roles"),
                    errhint("Only members of role \"%s\", which owns the extension, may.", GetUserNameFromId(owner, false))));
  }
  done = ond_secrets_reencrypt() + ond_tokens_reencrypt();
  ond_call_end(&call);
  PG_RETURN_INT64(done);
}

PG_FUNCTION_INFO_V1(ond_sql_drop_secret);
Datum ond_sql_drop_secret(PG_FUNCTION_ARGS) {
  char *name = ond_arg_name(fcinfo, 0, "secret");
  OndCall call;
  char *users;

  ond_call_begin(&call);
  if (!ond_secret_drop(call.user, name)) {
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("secret \"%s\" does not exist", name),
                    errdetail("Role \"%s\" has none of this name.", GetUserNameFromId(call.user, false)),
                    errhint("The view ondatra.secrets lists secrets and their owners; SET ROLE to the owner first.")));
  }
  users = ond_secret_users(call.user, name);
  ond_call_end(&call);
  if (users != NULL) {
    ereport(NOTICE,
            (errmsg("secret \"%s\" is still named by destinations: %s", name, users), errdetail("Their syncs stop at the next run.")));
  }
  PG_RETURN_VOID();
}
