# Unit tests of the rooms without Postgres: one program a room, linked with the sources of that room and of those below it,
# under the address and undefined-behaviour sanitizers (with leaks) where the compiler has them.
#
#   make unit SANITIZE=1    an error where the compiler has none, instead of tests without them
#   make unit SANITIZE=0    without: for valgrind
#
# Included by the top Makefile. Sets UNIT_TESTS, the programs (they print TAP); a room without tests has none.

UNIT_CC       ?= $(CC)
UNIT_DIR       = build/unit$(if $(filter 0,$(SANITIZE)),-plain)
ifneq ($(SANITIZE),0)
UNIT_SANITIZE := $(shell echo 'int main(void) { return 0; }' | \
                   $(UNIT_CC) -fsanitize=address,undefined -x c - -o /dev/null 2>/dev/null && \
                   echo '-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer')
endif
ifeq ($(SANITIZE)$(UNIT_SANITIZE),1)
$(error $(UNIT_CC) has no sanitizers: install libasan and libubsan of its version, or set UNIT_CC)
endif
UNIT_CFLAGS    = -std=gnu11 -g -O1 -Wall -Wextra $(WERROR) $(UNIT_SANITIZE) -Isrc -Itest/unit -D_GNU_SOURCE

UNIT_ROOMS_core      = core
UNIT_ROOMS_http      = core http
UNIT_ROOMS_connector = core http connector
UNIT_LIBS_core       = -lcrypto
UNIT_LIBS_http       = -lcurl -lcrypto -lz
UNIT_LIBS_connector  = -ljson-c -lcurl -lcrypto -lz

UNIT_ROOMS = $(foreach room,core http connector,$(if $(wildcard test/unit/test_$(room)_*.c),$(room)))
UNIT_TESTS = $(UNIT_ROOMS:%=$(UNIT_DIR)/test_%)

# $(call unit_objects,sources)
unit_objects = $(patsubst %.c,$(UNIT_DIR)/%.o,$(sort $(wildcard $(1))))

# What is built is never committed.
$(UNIT_DIR)/.gitignore:
	@mkdir -p $(@D) && echo '*' > $@

$(UNIT_DIR)/%.o: %.c | $(UNIT_DIR)/.gitignore
	@mkdir -p $(@D)
	$(UNIT_CC) $(UNIT_CFLAGS) -MMD -MP -c $< -o $@

# $(call unit_program,room)
define unit_program
$(UNIT_DIR)/test_$(1): $(call unit_objects,test/unit/unit.c test/unit/test_$(1)_*.c $(UNIT_ROOMS_$(1):%=src/%/*.c))
	$$(UNIT_CC) $$(UNIT_CFLAGS) $$^ -o $$@ $$(UNIT_LIBS_$(1))
endef
$(foreach room,$(UNIT_ROOMS),$(eval $(call unit_program,$(room))))

-include $(shell find $(UNIT_DIR) -name '*.d' 2>/dev/null)

.PHONY: clean-unit
clean: clean-unit
clean-unit:
	rm -rf $(UNIT_DIR)
