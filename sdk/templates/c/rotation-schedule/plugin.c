// {{name}}: keys rotate in a weekly window, on one weekday at one hour in the policy's zone, but not
// on dates that the operator froze; sooner when the primary version was used often enough.
//
// There is no clock, no randomness, no network and no file here: all there is comes with the
// request. Functions return true for `ok` and false for `err`.

#include "guest.h"
#include "text.h"

typedef exports_cipher_hub_plugin_rotation_request_t request_t;
typedef exports_cipher_hub_plugin_rotation_policy_t policy_t;
typedef exports_cipher_hub_plugin_rotation_calendar_t calendar_t;
typedef exports_cipher_hub_plugin_rotation_version_info_t version_t;
typedef exports_cipher_hub_plugin_rotation_decision_t decision_t;
typedef cipher_hub_plugin_types_plugin_error_t error_t;

#define HOUR INT64_C(3600000)
#define DAY (24 * HOUR)
#define MAX_RANGES 512

// The first and the last day that is frozen, counted from 1970-01-01.
typedef struct {
  int64_t first;
  int64_t last;
} range_t;

typedef struct {
  range_t frozen[MAX_RANGES];
  size_t ranges;
  int64_t weekday;
  int64_t hour;
  uint64_t uses;
} wanted_t;

static bool invalid(error_t *error, text message) {
  error->tag = CIPHER_HUB_PLUGIN_TYPES_PLUGIN_ERROR_INVALID_CONFIG;
  error->val.invalid_config = message;
  return false;
}

// Days from 1970-01-01 to a date of the Gregorian calendar.
static int64_t days_to(int64_t year, int64_t month, int64_t day) {
  const int64_t y = month > 2 ? year : year - 1;
  const int64_t m = month > 2 ? month - 3 : month + 9;
  return 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 719469;
}

// A date as in 2026-12-24, from 1970 on.
static bool day_of(text date, int64_t *days) {
  static const uint8_t lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  uint64_t year, month, day;
  if (date.len != 10 || date.ptr[4] != '-' || date.ptr[7] != '-' ||
      !number((text){date.ptr, 4}, 4, &year) || !number((text){date.ptr + 5, 2}, 2, &month) ||
      !number((text){date.ptr + 8, 2}, 2, &day) || year < 1970 || month < 1 || month > 12) {
    return false;
  }
  const bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  const uint64_t length = month == 2 && leap ? 29 : lengths[month - 1];
  *days = days_to((int64_t)year, (int64_t)month, (int64_t)day);
  return day >= 1 && day <= length;
}

// 2026-12-24, or 2026-12-24..2027-01-01 with both ends.
static bool range_of(text part, range_t *range) {
  if (part.len == 10) {
    const bool read = day_of(part, &range->first);
    range->last = range->first;
    return read;
  }
  return part.len == 22 && part.ptr[10] == '.' && part.ptr[11] == '.' &&
         day_of((text){part.ptr, 10}, &range->first) &&
         day_of((text){part.ptr + 12, 10}, &range->last) && range->first <= range->last;
}

static text trimmed(text part) {
  while (part.len > 0 && part.ptr[0] == ' ') {
    part.ptr++;
    part.len--;
  }
  while (part.len > 0 && part.ptr[part.len - 1] == ' ') {
    part.len--;
  }
  return part;
}

// Reads the operator's setting `freeze`.
static bool read_frozen(wanted_t *wanted, error_t *error) {
  const text freeze = setting("freeze");
  size_t begin = 0;
  wanted->ranges = 0;
  for (size_t end = 0; end <= freeze.len; end++) {
    if (end < freeze.len && freeze.ptr[end] != ',') {
      continue;
    }
    const text part = trimmed((text){freeze.ptr + begin, end - begin});
    begin = end + 1;
    if (part.len == 0) {
      continue;
    }
    if (wanted->ranges == MAX_RANGES) {
      return invalid(error, literal("freeze: at most 512 dates and ranges"));
    }
    if (!range_of(part, &wanted->frozen[wanted->ranges])) {
      return invalid(error, join(literal("freeze: \""), part,
                                 literal("\" is neither a date as 2026-12-24 nor a range as "
                                         "2026-12-24..2027-01-01")));
    }
    wanted->ranges++;
  }
  return true;
}

static text parameter(const policy_t *policy, const char *name) {
  for (size_t i = 0; i < policy->parameters.len; i++) {
    if (same(policy->parameters.ptr[i].name, literal(name))) {
      return policy->parameters.ptr[i].value;
    }
  }
  return literal("");
}

// What the policy says and what the operator froze.
static bool read_policy(const policy_t *policy, wanted_t *wanted, error_t *error) {
  static const char *const weekdays[] = {"sunday",   "monday", "tuesday", "wednesday",
                                         "thursday", "friday", "saturday"};
  if (!read_frozen(wanted, error)) {
    return false;
  }
  const text weekday = parameter(policy, "weekday");
  wanted->weekday = 0;
  while (wanted->weekday < 7 && !same(weekday, literal(weekdays[wanted->weekday]))) {
    wanted->weekday++;
  }
  if (wanted->weekday == 7) {
    return invalid(error, literal("weekday must be the English name of a day, as in sunday"));
  }
  uint64_t hour;
  if (!number(parameter(policy, "hour"), 15, &hour) || hour > 23) {
    return invalid(error, literal("hour must be 0 to 23"));
  }
  wanted->hour = (int64_t)hour;
  if (!number(parameter(policy, "uses"), 15, &wanted->uses)) {
    return invalid(error, literal("uses must be a whole number; 0 for no limit"));
  }
  return true;
}

// Milliseconds that the zone is east of UTC.
static int64_t offset_at(const calendar_t *calendar, int64_t at) {
  int64_t seconds = calendar->offset_seconds;
  for (size_t i = 0; i < calendar->transitions.len; i++) {
    if ((int64_t)calendar->transitions.ptr[i].at <= at) {
      seconds = calendar->transitions.ptr[i].offset_seconds;
    }
  }
  return seconds * 1000;
}

// The time at which clocks of the zone show `local`: the first of two where they are put back; as
// much later as they are put forward where they skip it.
static int64_t to_utc(const calendar_t *calendar, int64_t local) {
  const int64_t before = offset_at(calendar, local - DAY);
  const int64_t after = offset_at(calendar, local + DAY);
  if (offset_at(calendar, local - before) != before && offset_at(calendar, local - after) == after) {
    return local - after;
  }
  return local - before;
}

static bool is_frozen(const wanted_t *wanted, int64_t day) {
  for (size_t i = 0; i < wanted->ranges; i++) {
    if (wanted->frozen[i].first <= day && day <= wanted->frozen[i].last) {
      return true;
    }
  }
  return false;
}

// The first window from `earliest` on that is not frozen; `latest` when there is none before it.
static int64_t next_window(const wanted_t *wanted, const calendar_t *calendar, int64_t earliest,
                           int64_t latest) {
  const int64_t today = (earliest + offset_at(calendar, earliest)) / DAY;
  // 1970-01-01 was a Thursday, 4 in weekdays.
  const int64_t ahead = (wanted->weekday - (today + 4) % 7 + 7) % 7;
  for (int64_t day = today + ahead;; day += 7) {
    const int64_t at = to_utc(calendar, day * DAY + wanted->hour * HOUR);
    if (at >= latest) {
      return latest;
    }
    if (at >= earliest && !is_frozen(wanted, day)) {
      return at;
    }
  }
}

static bool answer(decision_t *decision, uint8_t tag, int64_t at) {
  decision->tag = tag;
  // `ask-again` lies at the same place.
  decision->val.rotate_at = (uint64_t)at;
  return true;
}

static bool rotate_now(decision_t *decision, text reason) {
  decision->tag = EXPORTS_CIPHER_HUB_PLUGIN_ROTATION_DECISION_ROTATE_NOW;
  decision->val.rotate_now = reason;
  return true;
}

bool exports_cipher_hub_plugin_lifecycle_check(error_t *error) {
  static wanted_t wanted;
  return read_frozen(&wanted, error);
}

bool exports_cipher_hub_plugin_rotation_decide(request_t *request, decision_t *decision,
                                               error_t *error) {
  static wanted_t wanted;
  if (!read_policy(&request->policy, &wanted, error)) {
    return false;
  }
  const int64_t now = (int64_t)request->now;
  const int64_t last = (int64_t)request->last_rotation;
  const int64_t latest = last + (int64_t)request->policy.max_interval;
  if (now >= latest) {
    return rotate_now(decision, literal("the longest interval has passed"));
  }
  for (size_t i = 0; i < request->key.versions.len; i++) {
    const version_t *const version = &request->key.versions.ptr[i];
    if (wanted.uses > 0 && version->number == request->key.primary &&
        version->protect_operations >= wanted.uses) {
      buffer count = {0};
      add_number(&count, wanted.uses);
      return rotate_now(decision, join(literal("used "), as_text(count), literal(" times")));
    }
  }
  int64_t earliest = last + (int64_t)request->policy.min_interval;
  earliest = earliest > now ? earliest : now;
  const int64_t at = next_window(&wanted, &request->calendar, earliest, latest);

  buffer line = {0};
  add(&line, request->key.name);
  add(&line, literal(": the next window is at "));
  add_number(&line, (uint64_t)at);
  text message = as_text(line);
  cipher_hub_plugin_log_write(CIPHER_HUB_PLUGIN_LOG_LEVEL_DEBUG, &message);

  // Uses are counted until the window comes: look again every day.
  if (wanted.uses > 0 && at > now + DAY) {
    return answer(decision, EXPORTS_CIPHER_HUB_PLUGIN_ROTATION_DECISION_ASK_AGAIN, now + DAY);
  }
  return answer(decision, EXPORTS_CIPHER_HUB_PLUGIN_ROTATION_DECISION_ROTATE_AT, at);
}

bool exports_cipher_hub_plugin_rotation_check_policy(policy_t *policy, error_t *error) {
  static wanted_t wanted;
  if (!read_policy(policy, &wanted, error)) {
    return false;
  }
  if (policy->max_interval < policy->min_interval + 8 * (uint64_t)DAY) {
    return invalid(error, literal("maxInterval must be at least 8 days more than minInterval, so "
                                  "that a window lies between"));
  }
  return true;
}
