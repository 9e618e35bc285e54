// A C library of nine functions. An instance lives for one call, so memory is handed out in order
// and given back all at once, with the instance: `free` does nothing.

#include "stdlib.h"
#include "string.h"

#include <stdint.h>

#define PAGE 65536u
#define ALIGNMENT 16u

// Where the linker says that the heap begins.
extern unsigned char __heap_base;

// In front of every block, for `realloc`.
typedef struct {
  size_t size;
  uint32_t unused[ALIGNMENT / sizeof(uint32_t) - 1];
} header;

static uintptr_t next;

void *malloc(size_t size) {
  if (next == 0) {
    next = ((uintptr_t)&__heap_base + ALIGNMENT - 1) & ~(uintptr_t)(ALIGNMENT - 1);
  }
  const uint64_t wanted = ((uint64_t)size + ALIGNMENT - 1) & ~(uint64_t)(ALIGNMENT - 1);
  const uint64_t end = (uint64_t)next + sizeof(header) + wanted;
  const uint64_t there = (uint64_t)__builtin_wasm_memory_size(0) * PAGE;
  if (end > there) {
    const uint64_t pages = (end - there + PAGE - 1) / PAGE;
    if (pages > 65536 || __builtin_wasm_memory_grow(0, (size_t)pages) == (size_t)-1) {
      return NULL;
    }
  }
  header *const block = (header *)next;
  block->size = size;
  next = (uintptr_t)end;
  return block + 1;
}

void *realloc(void *old, size_t size) {
  if (old == NULL) {
    return malloc(size);
  }
  const size_t before = ((header *)old - 1)->size;
  if (size <= before) {
    return old;
  }
  void *const bigger = malloc(size);
  if (bigger != NULL) {
    memcpy(bigger, old, before);
  }
  return bigger;
}

void free(void *memory) { (void)memory; }

_Noreturn void abort(void) { __builtin_trap(); }

void *memcpy(void *restrict to, const void *restrict from, size_t size) {
  unsigned char *t = to;
  const unsigned char *f = from;
  while (size-- > 0) {
    *t++ = *f++;
  }
  return to;
}

void *memmove(void *to, const void *from, size_t size) {
  if ((uintptr_t)to <= (uintptr_t)from) {
    return memcpy(to, from, size);
  }
  unsigned char *t = to;
  const unsigned char *f = from;
  while (size-- > 0) {
    t[size] = f[size];
  }
  return to;
}

void *memset(void *to, int byte, size_t size) {
  unsigned char *t = to;
  while (size-- > 0) {
    *t++ = (unsigned char)byte;
  }
  return to;
}

int memcmp(const void *left, const void *right, size_t size) {
  const unsigned char *l = left;
  const unsigned char *r = right;
  for (; size > 0; size--, l++, r++) {
    if (*l != *r) {
      return *l < *r ? -1 : 1;
    }
  }
  return 0;
}

size_t strlen(const char *text) {
  size_t length = 0;
  while (text[length] != '\0') {
    length++;
  }
  return length;
}
