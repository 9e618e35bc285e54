// Strings as the contract has them: pointer and length, UTF-8, no zero at the end.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "guest.h"

typedef guest_string_t text;

static inline text literal(const char *characters) {
  return (text){(uint8_t *)characters, strlen(characters)};
}

static inline bool same(text left, text right) {
  return left.len == right.len && memcmp(left.ptr, right.ptr, left.len) == 0;
}

// Decimal digits alone, at most `digits` of them.
static inline bool number(text from, size_t digits, uint64_t *value) {
  *value = 0;
  for (size_t i = 0; i < from.len; i++) {
    if (from.ptr[i] < '0' || from.ptr[i] > '9') {
      return false;
    }
    *value = *value * 10 + (from.ptr[i] - '0');
  }
  return from.len > 0 && from.len <= digits && digits <= 18;
}

// The operator's setting of this name; empty without one.
static inline text setting(const char *name) {
  text key = literal(name);
  text value;
  return cipher_hub_plugin_config_get(&key, &value) ? value : literal("");
}

// Text, or any bytes, that grow.
typedef struct {
  uint8_t *ptr;
  size_t len;
  size_t size;
} buffer;

static inline void add_bytes(buffer *to, const uint8_t *bytes, size_t len) {
  if (to->len + len > to->size) {
    to->size = 2 * to->size + len + 64;
    to->ptr = realloc(to->ptr, to->size);
    if (to->ptr == NULL) {
      abort();
    }
  }
  if (len > 0) {
    memcpy(to->ptr + to->len, bytes, len);
  }
  to->len += len;
}

static inline void add(buffer *to, text more) { add_bytes(to, more.ptr, more.len); }

static inline void add_number(buffer *to, uint64_t value) {
  uint8_t digits[20];
  size_t first = sizeof digits;
  do {
    digits[--first] = (uint8_t)('0' + value % 10);
    value /= 10;
  } while (value > 0);
  add_bytes(to, digits + first, sizeof digits - first);
}

static inline text as_text(buffer from) { return (text){from.ptr, from.len}; }

// Up to three parts in one.
static inline text join(text first, text second, text third) {
  buffer all = {0};
  add(&all, first);
  add(&all, second);
  add(&all, third);
  return as_text(all);
}
