// {{name}}: keys rotate in a weekly window, on one weekday at one hour in the policy's zone, but not
// on dates that the operator froze; sooner when the primary version was used often enough.
//
// There is no clock, no randomness, no network and no file here: all there is comes with the
// request. A WIT `u64` is a number, an `option` is null without a value, a `result` is returned or
// thrown.

import config from "cipher-hub:plugin/config@0.1.0";
import log from "cipher-hub:plugin/log@0.1.0";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const WEEKDAYS = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

const invalid = (text) => ({ tag: "invalid-config", val: text });

export const lifecycle = {
  check() {
    frozenDays();
  },
};

export const rotation = {
  decide({ key, policy, calendar, lastRotation, now }) {
    const wanted = readPolicy(policy);
    const latest = lastRotation + policy.maxInterval;
    if (now >= latest) {
      return { tag: "rotate-now", val: "the longest interval has passed" };
    }
    const primary = key.versions.find((version) => version.number === key.primary);
    if (wanted.uses > 0 && primary && primary.protectOperations >= wanted.uses) {
      return { tag: "rotate-now", val: `used ${wanted.uses} times` };
    }
    const earliest = Math.max(lastRotation + policy.minInterval, now);
    const at = nextWindow(wanted, calendar, earliest, latest);
    log.write("debug", `${key.name}: the next window is at ${at}`);
    // Uses are counted until the window comes: look again every day.
    if (wanted.uses > 0 && at > now + DAY) {
      return { tag: "ask-again", val: now + DAY };
    }
    return { tag: "rotate-at", val: at };
  },

  checkPolicy(policy) {
    readPolicy(policy);
    if (policy.maxInterval < policy.minInterval + 8 * DAY) {
      throw invalid("maxInterval must be at least 8 days more than minInterval, so that a window lies between");
    }
  },
};

// What the policy says and what the operator froze.
function readPolicy({ parameters }) {
  const said = Object.fromEntries(parameters.map(({ name, value }) => [name, value]));
  const frozen = frozenDays();
  const weekday = WEEKDAYS.indexOf(said.weekday);
  if (weekday < 0) {
    throw invalid("weekday must be the English name of a day, as in sunday");
  }
  const hour = wholeNumber(said.hour);
  if (hour === null || hour > 23) {
    throw invalid("hour must be 0 to 23");
  }
  const uses = wholeNumber(said.uses);
  if (uses === null) {
    throw invalid("uses must be a whole number; 0 for no limit");
  }
  return { frozen, weekday, hour, uses };
}

function wholeNumber(text) {
  return /^[0-9]{1,15}$/.test(text ?? "") ? Number(text) : null;
}

// First and last days, counted from 1970-01-01, of the setting `freeze`.
function frozenDays() {
  const ranges = [];
  for (const part of (config.get("freeze") ?? "").split(",")) {
    const text = part.trim();
    if (text === "") continue;
    const [first, last, ...more] = text.split("..").map(dayOf);
    const range = [first, last === undefined ? first : last];
    if (more.length > 0 || range.includes(null) || range[0] > range[1]) {
      throw invalid(`freeze: "${text}" is neither a date as 2026-12-24 nor a range as 2026-12-24..2027-01-01`);
    }
    ranges.push(range);
  }
  return ranges;
}

function dayOf(text) {
  const parts = /^([0-9]{4})-([0-9]{2})-([0-9]{2})$/.exec(text);
  if (parts === null) return null;
  const [year, month, day] = parts.slice(1).map(Number);
  const time = new Date(Date.UTC(year, month - 1, day));
  const real = year >= 1970 && time.getUTCMonth() === month - 1 && time.getUTCDate() === day;
  return real ? time.getTime() / DAY : null;
}

// The first window from `earliest` on that is not frozen; `latest` when there is none before it.
function nextWindow({ frozen, weekday, hour }, calendar, earliest, latest) {
  const today = Math.floor((earliest + offsetAt(calendar, earliest)) / DAY);
  // 1970-01-01 was a Thursday, 4 in WEEKDAYS.
  const ahead = (weekday - ((today + 4) % 7) + 7) % 7;
  for (let day = today + ahead; ; day += 7) {
    const at = toUtc(calendar, day * DAY + hour * HOUR);
    if (at >= latest) return latest;
    if (at >= earliest && !frozen.some(([first, last]) => first <= day && day <= last)) return at;
  }
}

// Milliseconds that the zone is east of UTC.
function offsetAt({ offsetSeconds, transitions }, at) {
  const passed = transitions.filter((transition) => transition.at <= at).pop();
  return (passed === undefined ? offsetSeconds : passed.offsetSeconds) * 1000;
}

// The time at which clocks of the zone show `local`: the first of two where they are put back; as
// much later as they are put forward where they skip it.
function toUtc(calendar, local) {
  const before = offsetAt(calendar, local - DAY);
  const after = offsetAt(calendar, local + DAY);
  if (offsetAt(calendar, local - before) === before) return local - before;
  return offsetAt(calendar, local - after) === after ? local - after : local - before;
}
