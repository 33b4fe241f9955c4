/*
 * test_http_tls.c - TLS is always verified: authority, name, and a fingerprint of the reason in the error words.
 *
 * Certificates are made by the openssl program, and its s_server is the server.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "core/mem.h"
#include "test_http_support.h"

static const char MAKE_CERTIFICATES[] =
    "cd '%s' && exec >/dev/null 2>&1 && "
    "new='-newkey rsa:2048 -nodes -subj /CN=ondatra-test' && name='subjectAltName=DNS:loopback.example' && "
    "openssl req -x509 $new -keyout ca.key -out ca.pem -days 2 && "
    "openssl req -x509 $new -keyout self.key -out self.pem -days 2 -addext $name && "
    "openssl req $new -keyout good.key -out good.csr && echo $name > good.ext && "
    "openssl x509 -req -in good.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile good.ext -out good.pem";

static char directory[64];

static void remove_directory(void) {
  char command[128];

  snprintf(command, sizeof(command), "rm -rf '%s'", directory);
  if (system(command) != 0) {
    perror("rm");
  }
}

/* Makes the certificates once for all tests. */
static bool have_certificates(void) {
  char command[1024];

  if (directory[0] != '\0') {
    return true;
  }
  snprintf(directory, sizeof(directory), "/tmp/ondatra_tls.XXXXXX");
  if (!mkdtemp(directory)) {
    directory[0] = '\0';
    return false;
  }
  atexit(remove_directory);
  snprintf(command, sizeof(command), MAKE_CERTIFICATES, directory);
  return system(command) == 0;
}

typedef struct TlsServer {
  pid_t pid;
  int port;
} TlsServer;

static void run_s_server(const char *name, int out) {
  char certificate[128], key[128];

  snprintf(certificate, sizeof(certificate), "%s/%s.pem", directory, name);
  snprintf(key, sizeof(key), "%s/%s.key", directory, name);
  dup2(out, STDOUT_FILENO);
  dup2(open("/dev/null", O_RDWR), STDIN_FILENO);
  dup2(STDIN_FILENO, STDERR_FILENO);
  execlp("openssl", "openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", certificate, "-key", key, "-www", (char *)NULL);
  _exit(127);
}

static TlsServer start(const char *name) {
  TlsServer s = {0};
  int out[2];
  char line[256];
  FILE *f;

  if (!CHECK(have_certificates()) || !CHECK(pipe(out) == 0)) {
    return s;
  }
  s.pid = fork();
  if (s.pid == 0) {
    run_s_server(name, out[1]);
  }
  close(out[1]);
  f = fdopen(out[0], "r");
  while (s.port == 0 && fgets(line, sizeof(line), f)) {
    char *colon = strncmp(line, "ACCEPT", 6) == 0 ? strrchr(line, ':') : NULL;

    s.port = colon ? atoi(colon + 1) : 0;
  }
  fclose(f);
  CHECK(s.port > 0);
  return s;
}

static void stop(TlsServer *s) {
  if (s->pid > 0) {
    kill(s->pid, SIGKILL);
    waitpid(s->pid, NULL, 0);
  }
}

/* One GET over TLS to a server with this certificate. */
static OndHttpResponse *get(const char *certificate, const char *host, bool with_ca) {
  TlsServer s = start(certificate);
  OndHttpOptions o = test_options();
  OndHttpRequest r;
  OndHttpResponse *p;
  OndHttp *h;
  char url[128];

  if (with_ca) {
    snprintf(o.ca_file, sizeof(o.ca_file), "%s/ca.pem", directory);
  }
  h = test_http(&o);
  test_request(&r, "GET", "x", 1, "/");
  ond_free(r.url);
  snprintf(url, sizeof(url), "https://%s:%d/x?key=hunter2", host, s.port);
  r.url = ond_strdup(url);
  p = test_perform(h, &r);
  ond_http_destroy(h);
  stop(&s);
  return p;
}

static void check_refused(OndHttpResponse *p, const char *host, const char *reason) {
  CHECK_INT(p->transfer, OND_TRANSFER_NOT_SENT);
  CHECK_INT(p->status, 0);
  if (!CHECK(strstr(p->error, host) != NULL) || !CHECK(strstr(p->error, reason) != NULL)) {
    unit_note("%s", p->error);
  }
  CHECK(strstr(p->error, "hunter2") == NULL);
  ond_http_response_free(p);
}

TEST(tls_ca_file_is_accepted) {
  OndHttpResponse *p = get("good", "loopback.example", true);

  CHECK_INT(p->transfer, OND_TRANSFER_OK);
  CHECK_INT(p->status, 200);
  CHECK_STR(p->error, "");
  CHECK(p->body.len > 0);
  ond_http_response_free(p);
}

TEST(tls_unknown_authority_is_refused) {
  check_refused(get("good", "loopback.example", false), "loopback.example", "certificate");
}

TEST(tls_self_signed_is_refused) {
  check_refused(get("self", "loopback.example", false), "loopback.example", "self");
  check_refused(get("self", "loopback.example", true), "loopback.example", "self");
}

TEST(tls_wrong_host_is_refused) {
  check_refused(get("good", "other.example", true), "other.example", "name");
  check_refused(get("good", "127.0.0.1", true), "127.0.0.1", "name");
}

static void serve_plain(TestServer *s, int fd, int connection) {
  (void)s;
  (void)connection;
  test_server_say(fd, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
  test_server_drain(fd);
}

TEST(tls_to_a_plain_server_is_not_sent) {
  TestServer *s = test_server_start(serve_plain);
  OndHttp *h = test_http(NULL);
  OndHttpRequest r;
  OndHttpResponse *p;
  char url[128];

  test_request(&r, "POST", "x", 1, "/");
  ond_free(r.url);
  snprintf(url, sizeof(url), "https://127.0.0.1:%d/", test_server_port(s));
  r.url = ond_strdup(url);
  p = test_perform(h, &r);
  check_refused(p, "127.0.0.1", "TLS with");
  ond_http_destroy(h);
  test_server_stop(s);
}
