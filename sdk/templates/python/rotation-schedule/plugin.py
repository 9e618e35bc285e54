"""{{name}}: keys rotate in a weekly window, on one weekday at one hour in the policy's zone, but not
on dates that the operator froze; sooner when the primary version was used often enough.

There is no clock, no randomness, no network and no file here: all there is comes with the request.
A WIT `option` is None without a value, an `err` is raised as Err.
"""

import re
from datetime import date, timedelta

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.rotation import (
    Decision_AskAgain,
    Decision_RotateAt,
    Decision_RotateNow,
)
from wit_world.imports import config, log
from wit_world.imports.types import PluginError_InvalidConfig

HOUR = 3_600_000
DAY = 24 * HOUR
EPOCH = date(1970, 1, 1)
WEEKDAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")


def invalid(text):
    return Err(PluginError_InvalidConfig(text))


class Lifecycle(exports.Lifecycle):
    def check(self):
        frozen_days()


class Rotation(exports.Rotation):
    def decide(self, request):
        key, policy, calendar, now = request.key, request.policy, request.calendar, request.now
        frozen, weekday, hour, uses = read_policy(policy)
        latest = request.last_rotation + policy.max_interval
        if now >= latest:
            return Decision_RotateNow("the longest interval has passed")
        used = [version.protect_operations for version in key.versions if version.number == key.primary]
        if uses > 0 and used and used[0] >= uses:
            return Decision_RotateNow(f"used {uses} times")
        earliest = max(request.last_rotation + policy.min_interval, now)
        at = next_window(frozen, weekday, hour, calendar, earliest, latest)
        log.write(log.Level.DEBUG, f"{key.name}: the next window is at {at}")
        # Uses are counted until the window comes: look again every day.
        if uses > 0 and at > now + DAY:
            return Decision_AskAgain(now + DAY)
        return Decision_RotateAt(at)

    def check_policy(self, policy):
        read_policy(policy)
        if policy.max_interval < policy.min_interval + 8 * DAY:
            raise invalid("maxInterval must be at least 8 days more than minInterval, so that a window lies between")


def read_policy(policy):
    """What the policy says and what the operator froze."""
    said = {parameter.name: parameter.value for parameter in policy.parameters}
    frozen = frozen_days()
    if said.get("weekday") not in WEEKDAYS:
        raise invalid("weekday must be the English name of a day, as in sunday")
    hour = whole_number(said.get("hour", ""))
    if hour is None or hour > 23:
        raise invalid("hour must be 0 to 23")
    uses = whole_number(said.get("uses", ""))
    if uses is None:
        raise invalid("uses must be a whole number; 0 for no limit")
    return frozen, WEEKDAYS.index(said["weekday"]), hour, uses


def whole_number(text):
    return int(text) if re.fullmatch("[0-9]{1,15}", text) else None


def frozen_days():
    """First and last days, counted from 1970-01-01, of the setting `freeze`."""
    ranges = []
    for part in (config.get("freeze") or "").split(","):
        text = part.strip(" ")
        if text == "":
            continue
        days = [day_of(end) for end in text.split("..")]
        if None in days or len(days) > 2 or days[0] > days[-1]:
            raise invalid(
                f'freeze: "{text}" is neither a date as 2026-12-24 nor a range as 2026-12-24..2027-01-01'
            )
        ranges.append((days[0], days[-1]))
    return ranges


def day_of(text):
    if not re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        return None
    try:
        days = (date.fromisoformat(text) - EPOCH) // timedelta(days=1)
    except ValueError:
        return None
    return days if days >= 0 else None


def next_window(frozen, weekday, hour, calendar, earliest, latest):
    """The first window from `earliest` on that is not frozen; `latest` when there is none before it."""
    today = (earliest + offset_at(calendar, earliest)) // DAY
    # 1970-01-01 was a Thursday, 4 in WEEKDAYS.
    day = today + (weekday - (today + 4)) % 7
    while True:
        at = to_utc(calendar, day * DAY + hour * HOUR)
        if at >= latest:
            return latest
        if at >= earliest and not any(first <= day <= last for first, last in frozen):
            return at
        day += 7


def offset_at(calendar, at):
    """Milliseconds that the zone is east of UTC."""
    seconds = calendar.offset_seconds
    for transition in calendar.transitions:
        if transition.at <= at:
            seconds = transition.offset_seconds
    return seconds * 1000


def to_utc(calendar, local):
    """The time at which clocks of the zone show `local`: the first of two where they are put back;
    as much later as they are put forward where they skip it."""
    before = offset_at(calendar, local - DAY)
    after = offset_at(calendar, local + DAY)
    if offset_at(calendar, local - before) != before and offset_at(calendar, local - after) == after:
        return local - after
    return local - before
