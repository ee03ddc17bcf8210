"""Cron expressions: what the server will make of them."""

from datetime import UTC, datetime

import pytest

from uae_pipelines.cron import Cron

MONDAY = datetime(2026, 3, 2, 1, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "sent", "after"),
    [
        ("0 2 * * *", "0 0 2 * * *", datetime(2026, 3, 2, 2)),
        ("0 0 2 * * *", "0 0 2 * * *", datetime(2026, 3, 2, 2)),
        ("30 0 1 * * *", "30 0 1 * * *", datetime(2026, 3, 3, 1, 0, 30)),  # this second is over
        ("31 0 1 * * ?", "31 0 1 * * ?", datetime(2026, 3, 2, 1, 0, 31)),
        ("*/20 * * * *", "0 */20 * * * *", datetime(2026, 3, 2, 1, 20)),
        ("0 5/6 * * MON-FRI", "0 0 5/6 * * MON-FRI", datetime(2026, 3, 2, 5)),
        ("0 2 * * sun", "0 0 2 * * sun", datetime(2026, 3, 8, 2)),
        ("0 2 1,15 * *", "0 0 2 1,15 * *", datetime(2026, 3, 15, 2)),
        ("0 2 15 * WED", "0 0 2 15 * WED", datetime(2026, 3, 4, 2)),  # either day
        ("0 2 15 * *", "0 0 2 15 * *", datetime(2026, 3, 15, 2)),  # only the restricted one
        ("0 2 29 FEB *", "0 0 2 29 FEB *", datetime(2028, 2, 29, 2)),
    ],
)
def test_next_time(text, sent, after):
    cron = Cron.parse(text)
    assert cron.text == sent
    assert cron.after(MONDAY) == after.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("@daily", "has 1 fields"),
        ("0 0 2 * * * *", "has 7 fields"),
        ("* 0 2 * * *", "the second, a number"),
        ("0 60 2 * * *", "minute '60' must lie within 0 to 59"),
        ("0 0 24 * * *", "hour '24' must lie within 0 to 23"),
        ("0 0 2 0 * *", "day of month '0' must lie within 1 to 31"),
        ("0 0 2 * * 7", "day of week '7' must lie within 0 to 6"),
        ("0 0 5-2 * * *", "hour '5-2' must lie"),
        ("0 0 */0 * * *", "hour '*/0' must lie"),
        ("0 0 2 * MAI *", "month 'MAI' is made of numbers or one of JAN"),
        ("0 0 -2 * * *", "hour '-2' is made of numbers"),
        ("0 0 2 30 2 *", "names a day that never comes"),
    ],
)
def test_wrong_expressions_say_what_is_allowed(text, words):
    with pytest.raises(ValueError, match=words.replace("*", r"\*")):
        Cron.parse(text)
