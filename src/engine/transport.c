/*
 * transport.c - see transport.h.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/pmsignal.h"

#include "catalog/session.h"
#include "catalog/settings.h"
#include "engine/transport.h"

static bool acquire_fd(void *arg) {
  return AcquireExternalFD();
}

static void release_fd(void *arg) {
  ReleaseExternalFD();
}

void ond_transport_addresses(const OndDestination *d, OndAddressPolicy *out) {
  memset(out, 0, sizeof(*out));
  out->allow_private = superuser_arg(d->owner);
  strlcpy(out->allowed_hosts, ond_setting_allowed_hosts, sizeof(out->allowed_hosts));
}

void ond_transport_options(const OndAddressPolicy *addresses, int connections_max, OndHttpOptions *out) {
  ond_http_options_default(out);
  out->connections_max = connections_max;
  out->response_bytes_max = (size_t)ond_setting_max_response_size_kb * 1024;
  strlcpy(out->ca_file, ond_setting_ca_file, sizeof(out->ca_file));
  out->addresses = *addresses;
  out->acquire_fd = acquire_fd;
  out->release_fd = release_fd;
}

OndHttp *ond_transport_open(const OndConnector *connector, const OndAuth *auth, OndHttpOptions *options) {
  OndError err = {0};
  OndHttp *http = NULL;

  if (!ond_http_global_init(&err) || !ond_auth_tls(auth, ond_connector_base_url(connector), options, &err) ||
      (http = ond_http_create(options, &err)) == NULL)
    ond_raise(&err);
  return http;
}

void ond_transport_check(void) {
  if (!PostmasterIsAlive())
    proc_exit(1);
  CHECK_FOR_INTERRUPTS();
}
