# Fuzz targets: each test/fuzz/fuzz_NAME.c becomes build/fuzz/NAME, linked with the rooms without Postgres, all of it under libFuzzer and the
# address and undefined-behaviour sanitizers. Needs clang, no server: make -f test/fuzz/fuzz.mk. scripts/fuzz.sh runs them.

FUZZ_CC     ?= clang
FUZZ_DIR     = build/fuzz
FUZZ_CFLAGS  = -std=gnu11 -g -O1 -Wall -Wextra -Werror -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all \
               -fno-omit-frame-pointer -Isrc -Itest/fuzz -D_GNU_SOURCE
FUZZ_SOURCES = $(sort $(wildcard src/core/*.c src/http/*.c src/connector/*.c))
FUZZ_OBJECTS = $(FUZZ_SOURCES:%.c=$(FUZZ_DIR)/%.o)
FUZZ_PROGRAMS = $(patsubst test/fuzz/fuzz_%.c,$(FUZZ_DIR)/%,$(sort $(wildcard test/fuzz/fuzz_*.c)))

all: $(FUZZ_PROGRAMS)

# What is built is never committed.
$(FUZZ_DIR)/.gitignore:
	@mkdir -p $(@D) && echo '*' > $@

$(FUZZ_DIR)/%.o: %.c | $(FUZZ_DIR)/.gitignore
	@mkdir -p $(@D)
	$(FUZZ_CC) $(FUZZ_CFLAGS) -MMD -MP -c $< -o $@

$(FUZZ_DIR)/librooms.a: $(FUZZ_OBJECTS)
	rm -f $@ && ar rcs $@ $^

$(FUZZ_PROGRAMS): $(FUZZ_DIR)/%: $(FUZZ_DIR)/test/fuzz/fuzz_%.o $(FUZZ_DIR)/librooms.a
	$(FUZZ_CC) -fsanitize=fuzzer,address,undefined $< $(FUZZ_DIR)/librooms.a -o $@ -ljson-c -lcurl -lcrypto -lz

-include $(shell find $(FUZZ_DIR) -name '*.d' 2>/dev/null)

.PHONY: all
.SECONDARY:
