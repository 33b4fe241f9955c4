/*
 * address.c - which resolved addresses may be connected to.
 *
 * Two tables of prefixes, one for IPv4 and one for IPv6; the first prefix that holds the address decides. An IPv6 address that
 * carries an IPv4 one (mapped, NAT64, 6to4) is judged by what it carries. What no prefix names is public for IPv4; for IPv6
 * only 2000::/3 has been handed out for the public, so everything else is refused.
 *
 * Cloud metadata services live in special, private and even public ranges: their addresses stand first and are never allowed.
 *
 * Called inside libcurl callbacks: allocates nothing, raises nothing.
 * Does not resolve names and does not open sockets: that is http.c.
 */
#include "http/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

typedef struct Ipv4Range {
  uint8_t prefix[4];
  int bits;
  OndAddressKind kind;
} Ipv4Range;

static const Ipv4Range IPV4_RANGES[] = {
    {{100, 100, 100, 200}, 32, OND_ADDRESS_NEVER}, /* metadata of a cloud, inside 100.64/10 */
    {{168, 63, 129, 16}, 32, OND_ADDRESS_NEVER},   /* host service of a cloud, in a public range */
    {{0, 0, 0, 0}, 8, OND_ADDRESS_NEVER},          /* "this host": Linux connects to itself */
    {{10, 0, 0, 0}, 8, OND_ADDRESS_PRIVATE},       {{100, 64, 0, 0}, 10, OND_ADDRESS_PRIVATE},
    {{127, 0, 0, 0}, 8, OND_ADDRESS_PRIVATE},      {{169, 254, 0, 0}, 16, OND_ADDRESS_NEVER}, /* link-local, the usual metadata service */
    {{172, 16, 0, 0}, 12, OND_ADDRESS_PRIVATE},    {{192, 0, 0, 0}, 24, OND_ADDRESS_NEVER},   /* protocol assignments */
    {{192, 0, 2, 0}, 24, OND_ADDRESS_NEVER},                                                  /* documentation */
    {{192, 88, 99, 0}, 24, OND_ADDRESS_NEVER},                                                /* 6to4 relays, retired */
    {{192, 168, 0, 0}, 16, OND_ADDRESS_PRIVATE},   {{198, 18, 0, 0}, 15, OND_ADDRESS_NEVER},  /* benchmarks */
    {{198, 51, 100, 0}, 24, OND_ADDRESS_NEVER},                                               /* documentation */
    {{203, 0, 113, 0}, 24, OND_ADDRESS_NEVER},                                                /* documentation */
    {{224, 0, 0, 0}, 4, OND_ADDRESS_NEVER},                                                   /* multicast */
    {{240, 0, 0, 0}, 4, OND_ADDRESS_NEVER},                                                   /* reserved, broadcast */
};

#define NOT_EMBEDDED (-1)

typedef struct Ipv6Range {
  uint8_t prefix[16];
  int bits;
  int embedded; /* byte at which an IPv4 address begins that decides instead of `kind` */
  OndAddressKind kind;
} Ipv6Range;

static const Ipv6Range IPV6_RANGES[] = {
    {{[15] = 1}, 128, NOT_EMBEDDED, OND_ADDRESS_PRIVATE},            /* ::1 */
    {{[10] = 0xff, [11] = 0xff}, 96, 12, OND_ADDRESS_NEVER},         /* ::ffff:0:0/96 mapped */
    {{0x00, 0x64, 0xff, 0x9b}, 96, 12, OND_ADDRESS_NEVER},           /* 64:ff9b::/96 NAT64 */
    {{0x20, 0x02}, 16, 2, OND_ADDRESS_NEVER},                        /* 2002::/16 6to4 */
    {{0x20, 0x01}, 23, NOT_EMBEDDED, OND_ADDRESS_NEVER},             /* 2001::/23 Teredo and the like */
    {{0x20, 0x01, 0x0d, 0xb8}, 32, NOT_EMBEDDED, OND_ADDRESS_NEVER}, /* documentation */
    {{0x3f, 0xff}, 20, NOT_EMBEDDED, OND_ADDRESS_NEVER},             /* documentation */
    {{0xfd, 0x00, 0x0e, 0xc2}, 32, NOT_EMBEDDED, OND_ADDRESS_NEVER}, /* metadata of a cloud */
    {{0xfd, 0x20, 0x00, 0xce}, 48, NOT_EMBEDDED, OND_ADDRESS_NEVER}, /* metadata of a cloud */
    {{0xfc}, 7, NOT_EMBEDDED, OND_ADDRESS_PRIVATE},                  /* fc00::/7 */
    {{0x20}, 3, NOT_EMBEDDED, OND_ADDRESS_PUBLIC},                   /* 2000::/3 */
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static bool has_prefix(const uint8_t *address, const uint8_t *prefix, int bits) {
  int rest = bits % 8;
  uint8_t mask = (uint8_t)(0xff00 >> rest);

  return memcmp(address, prefix, (size_t)(bits / 8)) == 0 && (rest == 0 || ((address[bits / 8] ^ prefix[bits / 8]) & mask) == 0);
}

static OndAddressKind ipv4_kind(const uint8_t *address) {
  for (size_t i = 0; i < COUNT(IPV4_RANGES); i++) {
    if (has_prefix(address, IPV4_RANGES[i].prefix, IPV4_RANGES[i].bits)) {
      return IPV4_RANGES[i].kind;
    }
  }
  return OND_ADDRESS_PUBLIC;
}

static OndAddressKind ipv6_kind(const uint8_t *address) {
  for (size_t i = 0; i < COUNT(IPV6_RANGES); i++) {
    const Ipv6Range *range = &IPV6_RANGES[i];

    if (has_prefix(address, range->prefix, range->bits)) {
      return range->embedded == NOT_EMBEDDED ? range->kind : ipv4_kind(address + range->embedded);
    }
  }
  return OND_ADDRESS_NEVER;
}

OndAddressKind ond_address_kind(const struct sockaddr *address) {
  /* Copied out: a sockaddr has the alignment of a short, the typed ones want more. */
  if (address->sa_family == AF_INET) {
    struct sockaddr_in in;

    memcpy(&in, address, sizeof(in));
    return ipv4_kind((const uint8_t *)&in.sin_addr);
  }
  if (address->sa_family == AF_INET6) {
    struct sockaddr_in6 in6;

    memcpy(&in6, address, sizeof(in6));
    return ipv6_kind(in6.sin6_addr.s6_addr);
  }
  return OND_ADDRESS_NEVER;
}

/* A host without brackets and final dot, copied so that it ends; false when it does not fit (then it matches nothing). */
static bool clean_host(const char *host, size_t n, char *out, size_t out_size) {
  if (n >= 2 && host[0] == '[' && host[n - 1] == ']') {
    host++;
    n -= 2;
  } else if (n > 1 && host[n - 1] == '.') {
    n--;
  }
  if (n == 0 || n >= out_size) {
    return false;
  }
  memcpy(out, host, n);
  out[n] = '\0';
  return true;
}

static bool same_host(const char *a, const char *b) {
  struct in6_addr left, right;

  if (inet_pton(AF_INET6, a, &left) == 1 && inet_pton(AF_INET6, b, &right) == 1) {
    return memcmp(&left, &right, sizeof(left)) == 0;
  }
  return strcasecmp(a, b) == 0;
}

/* Where ":port" begins in an entry of the list, or n. A bare IPv6 address has colons but no port. */
static size_t port_offset(const char *entry, size_t n) {
  size_t colons = 0, last = n;

  for (size_t i = 0; i < n; i++) {
    if (entry[i] == ':') {
      colons++;
      last = i;
    }
  }
  if (colons > 0 && entry[0] == '[') {
    return entry[last - 1] == ']' ? last : n;
  }
  return colons == 1 ? last : n;
}

static bool entry_matches(const char *entry, size_t n, const char *host, int port) {
  size_t host_n = port_offset(entry, n);
  char listed[256], digits[8];

  if (host_n < n) {
    snprintf(digits, sizeof(digits), "%d", port);
    if (strlen(digits) != n - host_n - 1 || memcmp(digits, entry + host_n + 1, n - host_n - 1) != 0) {
      return false;
    }
  }
  return clean_host(entry, host_n, listed, sizeof(listed)) && same_host(listed, host);
}

static bool host_is_listed(const char *list, size_t list_n, const char *host, int port) {
  char wanted[256];

  if (!clean_host(host, strlen(host), wanted, sizeof(wanted))) {
    return false;
  }
  for (size_t at = 0; at < list_n;) {
    const char *comma = memchr(list + at, ',', list_n - at);
    size_t from = at, to = comma ? (size_t)(comma - list) : list_n;

    at = to + 1;
    while (from < to && (list[from] == ' ' || list[from] == '\t')) {
      from++;
    }
    while (to > from && (list[to - 1] == ' ' || list[to - 1] == '\t')) {
      to--;
    }
    if (to > from && entry_matches(list + from, to - from, wanted, port)) {
      return true;
    }
  }
  return false;
}

bool ond_address_allowed(const OndAddressPolicy *policy, const char *host, int port, const struct sockaddr *address) {
  switch (ond_address_kind(address)) {
  case OND_ADDRESS_PUBLIC: return true;
  case OND_ADDRESS_PRIVATE: {
    const char *list = policy->allowed_hosts;

    return policy->allow_private || host_is_listed(list, strnlen(list, sizeof(policy->allowed_hosts)), host, port);
  }
  case OND_ADDRESS_NEVER: break;
  }
  return false;
}
