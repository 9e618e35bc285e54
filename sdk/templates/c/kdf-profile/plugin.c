// {{name}}: keys for tenants, by HKDF (RFC 5869) in two steps: from the root key one key a tenant,
// and from that one key a use. Whoever learns a tenant's key learns nothing of the others.
//
// The answer is a plan. No key is here: the host carries the plan out when this code is gone. Equal
// questions must get equal plans for ever, so a released profile never changes: make a new id.

#include "guest.h"
#include "text.h"

typedef exports_cipher_hub_plugin_kdf_context_t context_t;
typedef exports_cipher_hub_plugin_kdf_profile_t profile_t;
typedef exports_cipher_hub_plugin_kdf_list_profile_t profiles_t;
typedef exports_cipher_hub_plugin_kdf_step_t step_t;
typedef exports_cipher_hub_plugin_kdf_list_step_t steps_t;
typedef cipher_hub_plugin_types_plugin_error_t error_t;

#define MIN_LENGTH 16
#define MAX_LENGTH 1024

typedef struct {
  const char *id;
  const char *description;
  uint8_t hash;
  uint32_t digest;
} known_t;

static const known_t known[] = {
    {"tenant-sha256", "A key for the tenant, and from it a key for the use: HKDF with sha256",
     EXPORTS_CIPHER_HUB_PLUGIN_KDF_HASH_SHA256, 32},
    {"tenant-sha512", "A key for the tenant, and from it a key for the use: HKDF with sha512",
     EXPORTS_CIPHER_HUB_PLUGIN_KDF_HASH_SHA512, 64},
};
#define KNOWN (sizeof known / sizeof known[0])

static bool invalid(error_t *error, const char *message) {
  error->tag = CIPHER_HUB_PLUGIN_TYPES_PLUGIN_ERROR_INVALID_CONFIG;
  error->val.invalid_config = literal(message);
  return false;
}

static bool unsupported(error_t *error, text message) {
  error->tag = CIPHER_HUB_PLUGIN_TYPES_PLUGIN_ERROR_UNSUPPORTED;
  error->val.unsupported = message;
  return false;
}

static void *allocated(size_t size) {
  void *const memory = malloc(size);
  if (memory == NULL) {
    abort();
  }
  return memory;
}

// The operator's setting `label` keeps apart what two installations derive for the same tenant.
static bool read_label(text *label, error_t *error) {
  *label = setting("label");
  bool good = label->len >= 1 && label->len <= 64;
  for (size_t i = 0; i < label->len; i++) {
    good = good && label->ptr[i] >= '!' && label->ptr[i] <= '~';
  }
  return good || invalid(error, "label must be 1 to 64 printable ASCII characters without spaces");
}

static bool read_tenant(const context_t *context, text *tenant, error_t *error) {
  *tenant = literal("");
  for (size_t i = 0; i < context->parameters.len; i++) {
    if (same(context->parameters.ptr[i].name, literal("tenant"))) {
      *tenant = context->parameters.ptr[i].value;
    }
  }
  bool good = tenant->len >= 1 && tenant->len <= 63;
  for (size_t i = 0; i < tenant->len; i++) {
    const uint8_t c = tenant->ptr[i];
    good = good && ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-');
  }
  return good || invalid(error, "tenant must be 1 to 63 of a-z, 0-9 and -");
}

// A part with its length in front of it.
static void add_framed(buffer *to, const uint8_t *bytes, size_t len) {
  const uint8_t length[] = {(uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8),
                            (uint8_t)len};
  add_bytes(to, length, sizeof length);
  add_bytes(to, bytes, len);
}

// No two contexts look the same. The algorithm is a part: the same bytes never serve two.
static buffer use_info(const context_t *context) {
  buffer all = {0};
  const text algorithm = context->algorithm.is_some ? context->algorithm.val : literal("");
  add_framed(&all, algorithm.ptr, algorithm.len);
  add_framed(&all, context->info.ptr, context->info.len);
  for (size_t i = 0; i < context->encryption_context.len; i++) {
    const text name = context->encryption_context.ptr[i].name;
    const text value = context->encryption_context.ptr[i].value;
    add_framed(&all, name.ptr, name.len);
    add_framed(&all, value.ptr, value.len);
  }
  return all;
}

static step_t extract(const known_t *with, guest_list_u8_t salt) {
  step_t step = {.tag = EXPORTS_CIPHER_HUB_PLUGIN_KDF_STEP_HKDF_EXTRACT};
  step.val.hkdf_extract.hash = with->hash;
  step.val.hkdf_extract.salt = salt;
  step.val.hkdf_extract.ikm = 0;
  return step;
}

static step_t expand(const known_t *with, uint32_t slot, buffer info, uint32_t length) {
  step_t step = {.tag = EXPORTS_CIPHER_HUB_PLUGIN_KDF_STEP_HKDF_EXPAND};
  step.val.hkdf_expand.hash = with->hash;
  step.val.hkdf_expand.prk = slot;
  step.val.hkdf_expand.info = (guest_list_u8_t){info.ptr, info.len};
  step.val.hkdf_expand.length = length;
  return step;
}

bool exports_cipher_hub_plugin_lifecycle_check(error_t *error) {
  text label;
  return read_label(&label, error);
}

void exports_cipher_hub_plugin_kdf_profiles(profiles_t *profiles) {
  profiles->len = KNOWN;
  profiles->ptr = allocated(KNOWN * sizeof(profile_t));
  for (size_t i = 0; i < KNOWN; i++) {
    profiles->ptr[i].id = literal(known[i].id);
    profiles->ptr[i].description = literal(known[i].description);
    profiles->ptr[i].max_length = MAX_LENGTH;
  }
}

bool exports_cipher_hub_plugin_kdf_plan(guest_string_t *profile, context_t *context, steps_t *steps,
                                        error_t *error) {
  const known_t *with = NULL;
  for (size_t i = 0; i < KNOWN; i++) {
    if (same(*profile, literal(known[i].id))) {
      with = &known[i];
    }
  }
  if (with == NULL) {
    return unsupported(error, join(literal("there is no profile \""), *profile, literal("\"")));
  }
  if (context->length < MIN_LENGTH || context->length > MAX_LENGTH) {
    return unsupported(error, literal("length must be 16 to 1024 bytes"));
  }
  text label, tenant;
  if (!read_label(&label, error) || !read_tenant(context, &tenant, error)) {
    return false;
  }
  buffer tenant_info = {0};
  add(&tenant_info, label);
  add_bytes(&tenant_info, (const uint8_t *)"", 1);
  add(&tenant_info, tenant);

  steps->len = 3;
  steps->ptr = allocated(3 * sizeof(step_t));
  steps->ptr[0] = extract(with, context->salt);
  steps->ptr[1] = expand(with, 1, tenant_info, with->digest);
  steps->ptr[2] = expand(with, 2, use_info(context), context->length);
  return true;
}
