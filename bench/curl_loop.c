/*
 * curl_loop.c - requests per second of a bare libcurl multi loop: the same requests as the benchmark's single-row sync sends, nothing around them.
 *
 *   curl_loop URL REQUESTS CONCURRENCY
 *
 * Prints requests per second and microseconds of CPU time a request. Handles are reused; every answer must be 200.
 */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define CONCURRENCY_MAX 256

typedef struct Slot {
  CURL *easy;
  char url[512];
  char body[512];
} Slot;

static double now_s(void) {
  struct timespec t;

  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static size_t ignore(char *data, size_t size, size_t n, void *arg) {
  (void)data;
  (void)arg;
  return size * n;
}

static void start(CURLM *multi, Slot *slot, const char *url, long number) {
  snprintf(slot->url, sizeof(slot->url), "%s/%ld", url, number);
  snprintf(slot->body, sizeof(slot->body),
           "{\"id\":%ld,\"email\":\"user%ld@example.com\",\"name\":\"Customer number %ld\",\"plan\":\"team\",\"country\":\"US\",\"mrr\":4711.50,"
           "\"seats\":42,\"active\":true,\"signup\":\"2021-02-03\",\"updated_at\":\"2024-05-06T07:08:09.1Z\"}",
           number, number, number);
  curl_easy_setopt(slot->easy, CURLOPT_URL, slot->url);
  curl_easy_setopt(slot->easy, CURLOPT_POSTFIELDSIZE, (long)strlen(slot->body));
  curl_easy_setopt(slot->easy, CURLOPT_POSTFIELDS, slot->body);
  curl_multi_add_handle(multi, slot->easy);
}

static void set_up(Slot *slot, struct curl_slist *headers) {
  slot->easy = curl_easy_init();
  curl_easy_setopt(slot->easy, CURLOPT_CUSTOMREQUEST, "PUT");
  curl_easy_setopt(slot->easy, CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt(slot->easy, CURLOPT_WRITEFUNCTION, ignore);
  curl_easy_setopt(slot->easy, CURLOPT_PRIVATE, slot);
  curl_easy_setopt(slot->easy, CURLOPT_NOSIGNAL, 1L);
}

static Slot *finished(CURLM *multi, const CURLMsg *message) {
  char *slot = NULL;
  long status = 0;

  curl_easy_getinfo(message->easy_handle, CURLINFO_RESPONSE_CODE, &status);
  if (message->data.result != CURLE_OK || status != 200) {
    fprintf(stderr, "curl_loop: %s, status %ld\n", curl_easy_strerror(message->data.result), status);
    exit(1);
  }
  curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &slot);
  curl_multi_remove_handle(multi, message->easy_handle);
  return (Slot *)slot;
}

int main(int argc, char **argv) {
  static Slot slots[CONCURRENCY_MAX];
  struct curl_slist *headers = NULL;
  long requests = argc == 4 ? atol(argv[2]) : 0;
  long concurrency = argc == 4 ? atol(argv[3]) : 0;
  long started = 0, done = 0;
  struct rusage used;
  CURLM *multi;
  double begin;

  if (requests < concurrency || concurrency < 1 || concurrency > CONCURRENCY_MAX) {
    fprintf(stderr, "usage: curl_loop URL REQUESTS CONCURRENCY\n");
    return 2;
  }
  curl_global_init(CURL_GLOBAL_DEFAULT);
  multi = curl_multi_init();
  curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, concurrency);
  headers = curl_slist_append(headers, "Content-Type: application/json");
  headers = curl_slist_append(headers, "Expect:");
  begin = now_s();
  for (; started < concurrency; started++) {
    set_up(&slots[started], headers);
    start(multi, &slots[started], argv[1], started);
  }
  while (done < requests) {
    CURLMsg *message;
    int n;

    curl_multi_perform(multi, &n);
    while ((message = curl_multi_info_read(multi, &n))) {
      Slot *slot = finished(multi, message);

      done++;
      if (started < requests) {
        start(multi, slot, argv[1], started++);
      }
    }
    if (done < requests) {
      curl_multi_poll(multi, NULL, 0, 1000, NULL);
    }
  }
  getrusage(RUSAGE_SELF, &used);
  printf("%.0f %.1f\n", (double)requests / (now_s() - begin),
         (double)((used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000 + used.ru_utime.tv_usec + used.ru_stime.tv_usec) / (double)requests);
  return 0;
}
