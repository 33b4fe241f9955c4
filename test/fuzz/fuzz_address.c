/*
 * fuzz_address.c - any address, and any list of allowed hosts.
 *
 * The second opinion is a list of ranges in the words of the registries of special addresses, looked up by arithmetic on whole numbers. What a
 * range embeds (mapped, NAT64, 6to4) is never freer than the IPv4 address in it. A special address is refused whatever is allowed;
 * a private one passes only for the host that is listed.
 *
 * Input: a byte (what stands before an IPv4 address), 16 bytes address, a byte port, a line host, the rest the list.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <strings.h>
#include "http/address.h"
#include "fuzz.h"

typedef struct Range {
  const char *first, *last;
  OndAddressKind kind;
} Range;

/* IANA: special-purpose addresses that are not globally reachable, multicast, the reserved rest, and metadata services. */
static const Range V4[] = {
    {"0.0.0.0", "0.255.255.255", OND_ADDRESS_NEVER},       {"10.0.0.0", "10.255.255.255", OND_ADDRESS_PRIVATE},
    {"100.100.100.200", "100.100.100.200", OND_ADDRESS_NEVER}, {"100.64.0.0", "100.127.255.255", OND_ADDRESS_PRIVATE},
    {"127.0.0.0", "127.255.255.255", OND_ADDRESS_PRIVATE}, {"168.63.129.16", "168.63.129.16", OND_ADDRESS_NEVER},
    {"169.254.0.0", "169.254.255.255", OND_ADDRESS_NEVER}, {"172.16.0.0", "172.31.255.255", OND_ADDRESS_PRIVATE},
    {"192.0.0.0", "192.0.0.255", OND_ADDRESS_NEVER},       {"192.0.2.0", "192.0.2.255", OND_ADDRESS_NEVER},
    {"192.88.99.0", "192.88.99.255", OND_ADDRESS_NEVER},   {"192.168.0.0", "192.168.255.255", OND_ADDRESS_PRIVATE},
    {"198.18.0.0", "198.19.255.255", OND_ADDRESS_NEVER},   {"198.51.100.0", "198.51.100.255", OND_ADDRESS_NEVER},
    {"203.0.113.0", "203.0.113.255", OND_ADDRESS_NEVER},   {"224.0.0.0", "255.255.255.255", OND_ADDRESS_NEVER},
};

/* Of IPv6 only what is not refused anyway: global unicast with its holes, unique local, loopback. */
static const Range V6[] = {
    {"2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", OND_ADDRESS_NEVER},
    {"2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", OND_ADDRESS_NEVER},
    {"3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", OND_ADDRESS_NEVER},
    {"2000::", "3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", OND_ADDRESS_PUBLIC},
    {"fd00:ec2::", "fd00:ec2:ffff:ffff:ffff:ffff:ffff:ffff", OND_ADDRESS_NEVER},
    {"fd20:ce::", "fd20:ce:0:ffff:ffff:ffff:ffff:ffff", OND_ADDRESS_NEVER},
    {"fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", OND_ADDRESS_PRIVATE},
    {"::1", "::1", OND_ADDRESS_PRIVATE},
};

static bool in_range(const uint8_t *address, int family, const Range *range) {
  uint8_t first[16];
  uint8_t last[16];
  size_t n = family == AF_INET ? 4 : 16;

  MUST(inet_pton(family, range->first, first) == 1 && inet_pton(family, range->last, last) == 1);
  return memcmp(address, first, n) >= 0 && memcmp(address, last, n) <= 0;
}

static OndAddressKind v4_kind(const uint8_t *address) {
  for (size_t i = 0; i < sizeof(V4) / sizeof(V4[0]); i++) {
    if (in_range(address, AF_INET, &V4[i])) {
      return V4[i].kind;
    }
  }
  return OND_ADDRESS_PUBLIC;
}

static OndAddressKind v6_kind(const uint8_t *address) {
  static const Range MAPPED = {"::ffff:0.0.0.0", "::ffff:255.255.255.255", 0};
  static const Range NAT64 = {"64:ff9b::0.0.0.0", "64:ff9b::255.255.255.255", 0};
  static const Range SIX_TO_FOUR = {"2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 0};

  if (in_range(address, AF_INET6, &MAPPED) || in_range(address, AF_INET6, &NAT64)) {
    return v4_kind(address + 12);
  }
  if (in_range(address, AF_INET6, &SIX_TO_FOUR)) {
    return v4_kind(address + 2);
  }
  for (size_t i = 0; i < sizeof(V6) / sizeof(V6[0]); i++) {
    if (in_range(address, AF_INET6, &V6[i])) {
      return V6[i].kind;
    }
  }
  return OND_ADDRESS_NEVER;
}

/* Whether some entry of the list could be meant: it begins, after blanks and brackets, as the host does. */
static bool may_be_listed(const char *list, const char *host) {
  struct in6_addr address;
  size_t n = strlen(host);

  for (const char *p = list; *p; p++) {
    if (strncasecmp(p, host, n - (n > 1 && host[n - 1] == '.')) == 0) {
      return true;
    }
  }
  return inet_pton(AF_INET6, host, &address) == 1 || host[0] == '[';
}

static void check(const struct sockaddr *address, OndAddressKind kind, const OndAddressPolicy *list, const char *host, int port) {
  static OndAddressPolicy anything;
  bool listed = ond_address_allowed(list, host, port, address);

  anything.allow_private = true;
  MUST(ond_address_kind(address) == kind);
  MUST(ond_address_allowed(&anything, host, port, address) == (kind != OND_ADDRESS_NEVER));
  MUST(kind != OND_ADDRESS_NEVER || !listed);
  MUST(kind != OND_ADDRESS_PUBLIC || listed);
  MUST(kind != OND_ADDRESS_PRIVATE || !listed || (host[0] && may_be_listed(list->allowed_hosts, host)));
}

/* The bytes with something before the last four (or the second four) that makes them an IPv4 address inside of an IPv6 one. */
static void dress(uint8_t *address, uint8_t how) {
  static const uint8_t PREFIXES[][12] = {
      {[10] = 0xff, [11] = 0xff}, {0x00, 0x64, 0xff, 0x9b}, {0x20, 0x02}, {0}, {0x20, 0x01}, {0xfd, 0x00, 0x0e, 0xc2}, {0xfe, 0x80}};
  static const int BYTES[] = {12, 12, 2, 12, 3, 4, 2};

  if (how < 7) {
    memcpy(address, PREFIXES[how], (size_t)BYTES[how]);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static OndAddressPolicy policy;
  Fuzz f = {data, size};
  struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
  struct sockaddr_in in = {.sin_family = AF_INET};
  struct sockaddr other = {.sa_family = AF_UNIX};
  uint8_t how = fuzz_byte(&f) % 16;
  size_t host_n;
  size_t list_n;
  char *host;
  char *list;
  int port;

  for (int i = 0; i < 16; i++) {
    in6.sin6_addr.s6_addr[i] = fuzz_byte(&f);
  }
  memcpy(&in.sin_addr, in6.sin6_addr.s6_addr + 12, 4);
  dress(in6.sin6_addr.s6_addr, how);
  port = fuzz_byte(&f) + 1;
  host = fuzz_line(&f, &host_n);
  list = fuzz_rest(&f, &list_n);
  snprintf(policy.allowed_hosts, sizeof(policy.allowed_hosts), "%s", list);
  check((struct sockaddr *)&in6, v6_kind(in6.sin6_addr.s6_addr), &policy, host, port);
  check((struct sockaddr *)&in, v4_kind((const uint8_t *)&in.sin_addr), &policy, host, port);
  check(&other, OND_ADDRESS_NEVER, &policy, host, port);
  free(host);
  free(list);
  return 0;
}
