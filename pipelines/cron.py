"""Cron expressions as Kubeflow Pipelines reads them: with seconds first, in UTC.

The server takes five fields too, and reads them as second, minute, hour, day and month: what looks
like two o'clock every night would run at two minutes past every hour. So five fields are taken as
cron has them, and sent with a leading 0.
Source: github.com/robfig/cron v1, which the server parses with.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
FIELDS = (  # name, first, last
    ("second", 0, 59),
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day of month", 1, 31),
    ("month", 1, 12),
    ("day of week", 0, 6),
)
NAMES = {
    "month": {name: number for number, name in enumerate(MONTHS, start=1)},
    "day of week": {name: number for number, name in enumerate(WEEKDAYS)},
}
ANY = ("*", "?")
YEARS_AHEAD = 5  # as far as the server looks


@dataclass(frozen=True)
class Cron:
    """When a schedule starts runs."""

    text: str  # six fields
    values: tuple[frozenset[int], ...]  # allowed, by field

    @classmethod
    def parse(cls, text: str) -> Cron:
        """Read five or six fields.

        Raises:
            ValueError: Saying which field is wrong and what it may be.
        """
        fields = text.split()
        if len(fields) == 5:
            fields = ["0", *fields]
        if len(fields) != len(FIELDS):
            raise ValueError(
                f"cron {text!r} has {len(fields)} fields: write five (minute hour day month "
                'weekday) or six, with seconds first, such as "0 0 2 * * *" for 02:00 UTC every day'
            )
        if not fields[0].isdecimal():
            raise ValueError(f"cron {text!r}: the first of six fields is the second, a number")
        values = tuple(
            _allowed(field, *limits) for field, limits in zip(fields, FIELDS, strict=True)
        )
        cron = cls(" ".join(fields), values)
        if cron.after(datetime.now(UTC)) is None:
            raise ValueError(f"cron {text!r} names a day that never comes")
        return cron

    def after(self, moment: datetime) -> datetime | None:
        """Return the next time after a moment (UTC), None if none comes in five years."""
        second, minutes, hours = min(self.values[0]), self.values[1], self.values[2]
        for day in _days(moment):
            if not self._is_on(day):
                continue
            for hour in sorted(hours):
                for minute in sorted(minutes):
                    found = day.replace(hour=hour, minute=minute, second=second)
                    if found > moment:
                        return found
        return None

    def _is_on(self, day: datetime) -> bool:
        """Whether it runs on a day: where both days are restricted, either may fit."""
        _, _, _, days, months, weekdays = self.values
        _, _, _, day_text, _, weekday_text = self.text.split()
        in_month, in_week = day.day in days, (day.weekday() + 1) % 7 in weekdays
        either = not _is_any(day_text) and not _is_any(weekday_text)
        fits = in_month or in_week if either else in_month and in_week
        return day.month in months and fits


def _days(moment: datetime) -> Iterator[datetime]:
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return (midnight + timedelta(days=number) for number in range(366 * YEARS_AHEAD))


def _is_any(field: str) -> bool:
    return any(part.startswith(ANY) for part in field.split(","))


def _allowed(field: str, name: str, first: int, last: int) -> frozenset[int]:
    found: set[int] = set()
    for part in field.split(","):
        span, slash, step_text = part.partition("/")
        low_text, dash, high_text = span.partition("-")
        if span in ANY:
            low, high = first, last
        else:
            low = _number(low_text, field, name)
            high = _number(high_text, field, name) if dash else last if slash else low
        step = _number(step_text, field, name) if slash else 1
        if not (first <= low <= high <= last and step > 0):
            raise ValueError(f"cron: {name} {field!r} must lie within {first} to {last}")
        found |= set(range(low, high + 1, step))
    return frozenset(found)


def _number(text: str, field: str, name: str) -> int:
    known = NAMES.get(name, {})
    if text.upper() in known:
        return known[text.upper()]
    if not text.isdecimal():
        names = f" or one of {', '.join(known)}" if known else ""
        raise ValueError(f"cron: {name} {field!r} is made of numbers{names}, *, ?, -, / and commas")
    return int(text)
