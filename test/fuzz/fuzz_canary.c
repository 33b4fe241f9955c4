/*
 * fuzz_canary.c - a planted bug that fuzzing must find: the test of the tests.
 *
 * A parser that trusts a length in its input, behind a magic word and a version, reads one byte past its copy. Where this target runs
 * without a finding the sanitizers, the instrumentation or the driver are broken, and so is every other target's silence.
 */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Fuzz f = {data, size};
  size_t n;
  char *text = fuzz_rest(&f, &n);

  if (n > 6 && memcmp(text, "OND1", 4) == 0 && text[4] == '/' && (size_t)(unsigned char)text[5] > n + 1) {
    volatile char past = text[n + 1]; /* planted */

    (void)past;
  }
  free(text);
  return 0;
}
