// {{name}}: sends entries of the audit log as JSON Lines, one POST a batch, to an endpoint that the
// operator configured by name. Address, TLS and credentials are the host's: none of them is here.
//
// The host hands entries over again until they are acknowledged, after a delay that grows by itself:
// say what happened, and do not loop here. Functions return true for `ok` and false for `err`.

#include "guest.h"
#include "text.h"

typedef exports_cipher_hub_plugin_sink_batch_t batch_t;
typedef exports_cipher_hub_plugin_sink_list_entry_t entries_t;
typedef exports_cipher_hub_plugin_sink_delivery_t delivery_t;
typedef cipher_hub_plugin_outbound_request_t request_t;
typedef cipher_hub_plugin_outbound_response_t response_t;
typedef cipher_hub_plugin_outbound_field_t field_t;
typedef cipher_hub_plugin_outbound_send_error_t send_error_t;
typedef cipher_hub_plugin_types_plugin_error_t error_t;

#define TOO_LARGE 413

typedef struct {
  text endpoint;
  text path;
  uint64_t bytes;
  uint64_t timeout;
} settings_t;

typedef enum { ANSWERED, NO_ANSWER, REFUSED } sent_t;

static bool invalid(error_t *error, text message) {
  error->tag = CIPHER_HUB_PLUGIN_TYPES_PLUGIN_ERROR_INVALID_CONFIG;
  error->val.invalid_config = message;
  return false;
}

static bool internal(error_t *error, text message) {
  error->tag = CIPHER_HUB_PLUGIN_TYPES_PLUGIN_ERROR_INTERNAL;
  error->val.internal = message;
  return false;
}

static void warn(text message) {
  cipher_hub_plugin_log_write(CIPHER_HUB_PLUGIN_LOG_LEVEL_WARN, &message);
}

static text answers(uint16_t status) {
  buffer digits = {0};
  add_number(&digits, status);
  return join(literal("the receiver answers "), as_text(digits), literal(""));
}

static bool positive(const char *name, uint64_t *value, error_t *error) {
  return (number(setting(name), 9, value) && *value > 0) ||
         invalid(error, join(literal(name), literal(" must be a whole number above 0"), literal("")));
}

static bool read_settings(settings_t *wanted, error_t *error) {
  wanted->endpoint = setting("endpoint");
  wanted->path = setting("path");
  if (wanted->path.len > 0 && wanted->path.ptr[0] != '/') {
    return invalid(error, literal("path must be empty or begin with /"));
  }
  return positive("bytes", &wanted->bytes, error) && positive("timeout", &wanted->timeout, error);
}

// How many of the first entries go into one body; at least one.
static size_t fitting(const entries_t *entries, uint64_t bytes) {
  uint64_t sum = 0;
  for (size_t i = 0; i < entries->len; i++) {
    sum += entries->ptr[i].json.len + 1;
    if (i > 0 && sum > bytes) {
      return i;
    }
  }
  return entries->len;
}

// NO_ANSWER where another attempt may help; REFUSED with an error where it does not.
static sent_t send(settings_t *wanted, request_t *request, response_t *response, error_t *error) {
  send_error_t why;
  if (cipher_hub_plugin_outbound_send(&wanted->endpoint, request, response, &why)) {
    return ANSWERED;
  }
  switch (why.tag) {
  case CIPHER_HUB_PLUGIN_OUTBOUND_SEND_ERROR_UNKNOWN_ENDPOINT:
    invalid(error, join(literal("there is no endpoint \""), wanted->endpoint, literal("\"")));
    return REFUSED;
  case CIPHER_HUB_PLUGIN_OUTBOUND_SEND_ERROR_DENIED:
    invalid(error, join(literal("the host does not send this: "), why.val.denied, literal("")));
    return REFUSED;
  case CIPHER_HUB_PLUGIN_OUTBOUND_SEND_ERROR_TOO_LARGE:
    *response = (response_t){.status = TOO_LARGE};
    return ANSWERED;
  case CIPHER_HUB_PLUGIN_OUTBOUND_SEND_ERROR_TIMEOUT:
    warn(literal("no answer in time"));
    return NO_ANSWER;
  default:
    warn(join(literal("no connection: "), why.val.connection, literal("")));
    return NO_ANSWER;
  }
}

static sent_t post(settings_t *wanted, const entries_t *entries, size_t count,
                   response_t *response, error_t *error) {
  buffer key = {0};
  add_number(&key, entries->ptr[0].sequence);
  add(&key, literal("-"));
  add_number(&key, entries->ptr[count - 1].sequence);
  field_t headers[] = {
      {literal("content-type"), literal("application/x-ndjson")},
      // Equal for equal entries, so that a receiver can drop what comes twice.
      {literal("idempotency-key"), as_text(key)},
  };
  buffer body = {0};
  for (size_t i = 0; i < count; i++) {
    add(&body, entries->ptr[i].json);
    add(&body, literal("\n"));
  }
  request_t request = {
      .method = literal("POST"),
      .path = wanted->path,
      .headers = {headers, sizeof headers / sizeof headers[0]},
      .body = {body.ptr, body.len},
      .timeout = wanted->timeout,
  };
  return send(wanted, &request, response, error);
}

static bool acknowledge(delivery_t *delivery, uint64_t cursor) {
  delivery->tag = EXPORTS_CIPHER_HUB_PLUGIN_SINK_DELIVERY_ACKNOWLEDGED;
  delivery->val.acknowledged = cursor;
  return true;
}

static bool reject(delivery_t *delivery, text why) {
  delivery->tag = EXPORTS_CIPHER_HUB_PLUGIN_SINK_DELIVERY_REJECTED;
  delivery->val.rejected = why;
  return true;
}

static bool retry(delivery_t *delivery, bool known, uint64_t seconds) {
  delivery->tag = EXPORTS_CIPHER_HUB_PLUGIN_SINK_DELIVERY_RETRY_AFTER;
  delivery->val.retry_after.is_some = known;
  delivery->val.retry_after.val = seconds * 1000;
  return true;
}

static bool is_retry_after(text name) {
  const text wanted = literal("retry-after");
  bool equal = name.len == wanted.len;
  for (size_t i = 0; equal && i < name.len; i++) {
    const uint8_t c = name.ptr[i];
    equal = (c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c) == wanted.ptr[i];
  }
  return equal;
}

static bool answer(const batch_t *batch, size_t count, const response_t *response,
                   delivery_t *delivery) {
  if (response->status >= 200 && response->status < 300) {
    const bool all = count == batch->entries.len;
    return acknowledge(delivery, all ? batch->next : batch->entries.ptr[count].sequence);
  }
  warn(answers(response->status));
  // What is wrong with these is wrong with the entries, and stays wrong.
  if (response->status == 400 || response->status == 422) {
    return reject(delivery, answers(response->status));
  }
  // Overload passes, and so does a wrong address or credential: the operator puts it right.
  for (size_t i = 0; i < response->headers.len; i++) {
    uint64_t seconds;
    if (is_retry_after(response->headers.ptr[i].name)) {
      const bool known = number(response->headers.ptr[i].value, 6, &seconds);
      return retry(delivery, known, known ? seconds : 0);
    }
  }
  return retry(delivery, false, 0);
}

bool exports_cipher_hub_plugin_lifecycle_check(error_t *error) {
  settings_t wanted;
  return read_settings(&wanted, error);
}

bool exports_cipher_hub_plugin_sink_deliver(batch_t *batch, delivery_t *delivery, error_t *error) {
  settings_t wanted;
  if (!read_settings(&wanted, error)) {
    return false;
  }
  for (size_t count = fitting(&batch->entries, wanted.bytes); count > 0; count /= 2) {
    response_t response;
    switch (post(&wanted, &batch->entries, count, &response, error)) {
    case REFUSED:
      return false;
    case NO_ANSWER:
      return retry(delivery, false, 0);
    case ANSWERED:
      if (response.status != TOO_LARGE) {
        return answer(batch, count, &response, delivery);
      }
    }
    if (count == 1) {
      return reject(delivery, literal("one entry is too large for the receiver"));
    }
  }
  return acknowledge(delivery, batch->next);
}

bool exports_cipher_hub_plugin_sink_probe(error_t *error) {
  settings_t wanted;
  if (!read_settings(&wanted, error)) {
    return false;
  }
  response_t response;
  request_t request = {.method = literal("GET"), .path = wanted.path, .timeout = wanted.timeout};
  switch (send(&wanted, &request, &response, error)) {
  case REFUSED:
    return false;
  case NO_ANSWER:
    return internal(error, literal("the receiver is not reached"));
  case ANSWERED:
    break;
  }
  // Receivers that take nothing but POST say 405: they are there.
  if (response.status >= 300 && response.status != 405) {
    return internal(error, answers(response.status));
  }
  return true;
}
