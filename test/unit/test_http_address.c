/*
 * test_http_address.c - which addresses may be connected to, as tables.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include "http/address.h"
#include "unit.h"

typedef union AnyAddress {
  struct sockaddr any;
  struct sockaddr_in in;
  struct sockaddr_in6 in6;
  struct sockaddr_un un;
} AnyAddress;

static AnyAddress address_of(const char *text) {
  AnyAddress a;

  memset(&a, 0, sizeof(a));
  if (inet_pton(AF_INET, text, &a.in.sin_addr) == 1) {
    a.any.sa_family = AF_INET;
  } else if (CHECK(inet_pton(AF_INET6, text, &a.in6.sin6_addr) == 1)) {
    a.any.sa_family = AF_INET6;
  }
  return a;
}

static void check_kinds(const char *const *texts, OndAddressKind kind) {
  for (; *texts; texts++) {
    AnyAddress a = address_of(*texts);

    if (!CHECK_INT(ond_address_kind(&a.any), kind)) {
      unit_note("%s", *texts);
    }
  }
}

TEST(address_public) {
  static const char *const TEXTS[] = {"1.1.1.1",
                                      "9.255.255.255",
                                      "11.0.0.0",
                                      "100.63.255.255",
                                      "100.128.0.0",
                                      "126.255.255.255",
                                      "128.0.0.0",
                                      "169.253.255.255",
                                      "169.255.0.0",
                                      "172.15.255.255",
                                      "172.32.0.0",
                                      "192.0.1.1",
                                      "192.167.255.255",
                                      "192.169.0.0",
                                      "198.17.255.255",
                                      "198.20.0.0",
                                      "223.255.255.255",
                                      "2606:4700::1111",
                                      "2001:4860:4860::8888",
                                      "2a00::1",
                                      "::ffff:8.8.8.8",
                                      "64:ff9b::8.8.8.8",
                                      "2002:808:808::1",
                                      NULL};

  check_kinds(TEXTS, OND_ADDRESS_PUBLIC);
}

TEST(address_private) {
  static const char *const TEXTS[] = {"10.0.0.0",
                                      "10.255.255.255",
                                      "100.64.0.0",
                                      "100.127.255.255",
                                      "127.0.0.1",
                                      "127.255.255.255",
                                      "172.16.0.0",
                                      "172.31.255.255",
                                      "192.168.0.0",
                                      "192.168.255.255",
                                      "::1",
                                      "fc00::1",
                                      "fd00::1",
                                      "fdff:ffff::1",
                                      "::ffff:127.0.0.1",
                                      "::ffff:10.1.2.3",
                                      "64:ff9b::192.168.0.1",
                                      "64:ff9b::7f00:1",
                                      "2002:7f00:1::",
                                      "2002:c0a8:101::1",
                                      "2002:a00:1::",
                                      NULL};

  check_kinds(TEXTS, OND_ADDRESS_PRIVATE);
}

TEST(address_never) {
  static const char *const TEXTS[] = {"0.0.0.0",
                                      "0.1.2.3",
                                      "169.254.169.254",
                                      "169.254.0.0",
                                      "192.0.0.192",
                                      "192.0.2.1",
                                      "192.88.99.1",
                                      "198.18.0.1",
                                      "198.19.255.255",
                                      "198.51.100.7",
                                      "203.0.113.7",
                                      "224.0.0.1",
                                      "239.255.255.255",
                                      "240.0.0.1",
                                      "255.255.255.255",
                                      "100.100.100.200",
                                      "168.63.129.16",
                                      "::",
                                      "::2",
                                      "::127.0.0.1",
                                      "::ffff:0:127.0.0.1",
                                      "fe80::1",
                                      "febf::1",
                                      "fec0::1",
                                      "ff02::1",
                                      "100::1",
                                      "2001::1",
                                      "2001:db8::1",
                                      "3fff::1",
                                      "64:ff9b:1::1",
                                      "fd00:ec2::254",
                                      "fd20:ce::254",
                                      "4000::1",
                                      "5f00::1",
                                      "::ffff:169.254.169.254",
                                      "::ffff:0.0.0.0",
                                      "64:ff9b::169.254.169.254",
                                      "64:ff9b::a9fe:a9fe",
                                      "2002:a9fe:a9fe::1",
                                      "2002::1",
                                      "2002:ffff:ffff::",
                                      NULL};

  check_kinds(TEXTS, OND_ADDRESS_NEVER);
}

TEST(address_other_family_is_never_allowed) {
  AnyAddress a = {.un = {.sun_family = AF_UNIX}};
  OndAddressPolicy policy = {.allow_private = true, .allowed_hosts = "localhost"};

  CHECK_INT(ond_address_kind(&a.any), OND_ADDRESS_NEVER);
  CHECK(!ond_address_allowed(&policy, "localhost", 80, &a.any));
}

static bool allowed(const char *list, const char *host, int port, const char *text) {
  AnyAddress a = address_of(text);
  OndAddressPolicy policy = {.allow_private = false};

  snprintf(policy.allowed_hosts, sizeof(policy.allowed_hosts), "%s", list);
  return ond_address_allowed(&policy, host, port, &a.any);
}

TEST(address_list_allows_private) {
  CHECK(!allowed("", "crm.test", 443, "10.0.0.1"));
  CHECK(allowed("crm.test", "crm.test", 443, "10.0.0.1"));
  CHECK(allowed("crm.test", "CRM.Test", 443, "10.0.0.1"));
  CHECK(allowed("crm.test.", "crm.test", 443, "10.0.0.1"));
  CHECK(allowed("crm.test", "crm.test.", 443, "10.0.0.1"));
  CHECK(allowed(" a.test ,\tcrm.test , b.test", "crm.test", 1, "127.0.0.1"));
  CHECK(allowed(",,crm.test,", "crm.test", 1, "127.0.0.1"));
  CHECK(allowed("127.0.0.1", "127.0.0.1", 8080, "127.0.0.1"));
}

TEST(address_list_compares_whole_hosts) {
  CHECK(!allowed("crm.test", "xcrm.test", 443, "10.0.0.1"));
  CHECK(!allowed("crm.test", "crm.test.evil", 443, "10.0.0.1"));
  CHECK(!allowed("crm.test", "crm", 443, "10.0.0.1"));
  CHECK(!allowed("crm", "crm.test", 443, "10.0.0.1"));
  CHECK(!allowed("*", "crm.test", 443, "10.0.0.1"));
  CHECK(!allowed(",", "", 443, "10.0.0.1"));
}

TEST(address_list_compares_ports) {
  CHECK(allowed("crm.test:8080", "crm.test", 8080, "10.0.0.1"));
  CHECK(!allowed("crm.test:8080", "crm.test", 80, "10.0.0.1"));
  CHECK(!allowed("crm.test:80", "crm.test", 8080, "10.0.0.1"));
  CHECK(!allowed("crm.test:", "crm.test", 80, "10.0.0.1"));
  CHECK(allowed("[::1]:8080", "::1", 8080, "::1"));
  CHECK(!allowed("[::1]:8080", "::1", 8081, "::1"));
  CHECK(allowed("[::1]", "::1", 8081, "::1"));
  CHECK(allowed("::1", "0:0:0:0:0:0:0:1", 8081, "::1"));
  CHECK(allowed("fd00::1:2", "fd00::1:2", 80, "fd00::1:2"));
}

TEST(address_list_never_opens_special_ranges) {
  CHECK(!allowed("crm.test", "crm.test", 80, "169.254.169.254"));
  CHECK(!allowed("169.254.169.254", "169.254.169.254", 80, "169.254.169.254"));
  CHECK(!allowed("crm.test", "crm.test", 80, "0.0.0.0"));
  CHECK(!allowed("crm.test", "crm.test", 80, "::ffff:169.254.169.254"));
  CHECK(!allowed("crm.test", "crm.test", 80, "fe80::1"));
}

TEST(address_list_without_end_is_bounded) {
  AnyAddress a = address_of("10.0.0.1");
  OndAddressPolicy policy = {.allow_private = false};

  memset(policy.allowed_hosts, 'x', sizeof(policy.allowed_hosts));
  CHECK(!ond_address_allowed(&policy, "crm.test", 80, &a.any));
}

TEST(address_privileged_destination) {
  OndAddressPolicy policy = {.allow_private = true};
  AnyAddress private = address_of("192.168.1.1"), special = address_of("169.254.169.254");

  CHECK(ond_address_allowed(&policy, "h", 80, &private.any));
  CHECK(!ond_address_allowed(&policy, "h", 80, &special.any));
}
