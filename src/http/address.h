/*
 * address.h - which resolved addresses may be connected to.
 *
 * Decided on the address, not the name, after unwrapping IPv4-mapped (::ffff:0:0/96), NAT64 (64:ff9b::/96) and 6to4 forms.
 * Link-local (169.254.0.0/16, fe80::/10), unspecified, multicast, broadcast and other special ranges are always refused.
 * Loopback and private ranges (127/8, ::1, 10/8, 172.16/12, 192.168/16, 100.64/10, fc00::/7) only where allow_private is set
 * or the request's host (with or without :port) is in the allowed list.
 */
#ifndef OND_HTTP_ADDRESS_H
#define OND_HTTP_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

typedef enum OndAddressKind { OND_ADDRESS_PUBLIC, OND_ADDRESS_PRIVATE, OND_ADDRESS_NEVER } OndAddressKind;

typedef struct OndAddressPolicy {
  bool allow_private;           /* a superuser's destination */
  char allowed_hosts[4096];     /* comma-separated host or host:port; from ondatra.allowed_hosts */
} OndAddressPolicy;

extern OndAddressKind ond_address_kind(const struct sockaddr *address);
extern bool ond_address_allowed(const OndAddressPolicy *policy, const char *host, int port, const struct sockaddr *address);

#endif
