import pytest

from uae.evaluation.judges.base import JudgeError
from uae.evaluation.pairwise.verdicts import (
    Verdict,
    agreement,
    first_chosen,
    outcome,
    question,
    read_verdict,
)


def both(ab, ba):
    return Verdict("j", "ab", "", ab, ""), Verdict("j", "ba", "", ba, "")


@pytest.mark.parametrize(
    ("ab", "ba", "points", "agrees", "first"),
    [
        ("a", "a", 1.0, 1.0, 0.5),  # once it stood first, once second
        ("b", "b", 0.0, 1.0, 0.5),
        ("tie", "tie", 0.5, 1.0, None),
        ("a", "b", 0.5, 0.0, 1.0),  # what stood first, both times
        ("b", "a", 0.5, 0.0, 0.0),
        ("a", "tie", 0.5, 0.0, 1.0),  # a win needs both orders
        ("tie", "b", 0.5, 0.0, 1.0),
        ("tie", "a", 0.5, 0.0, 0.0),
        ("a", None, None, None, None),
        (None, "tie", None, None, None),
        (None, None, None, None, None),
    ],
)
def test_what_two_orders_amount_to(ab, ba, points, agrees, first):
    assert outcome(both(ab, ba)) == points
    assert agreement(both(ab, ba)) == agrees
    assert first_chosen(both(ab, ba)) == first


def test_first_and_second_mean_what_was_shown_there():
    assert read_verdict("j", "ab", '{"better": "first"}').choice == "a"
    assert read_verdict("j", "ba", '{"better": "first"}').choice == "b"
    assert read_verdict("j", "ab", '{"better": "second"}').choice == "b"
    assert read_verdict("j", "ba", '{"better": "second"}').choice == "a"
    assert read_verdict("j", "ba", '{"better": "tie", "reason": "alike"}').choice == "tie"


@pytest.mark.parametrize(
    "reply",
    [
        '```json\n{"better": "first", "reason": "it names the cat"}\n```',
        'I think so: {"better":"first"} That is all.',
        '{"reason": "a {brace} in it", "better": "first"}',
        '{"reason": "a line\nend", "better": "first"}',
    ],
)
def test_what_stands_around_the_verdict_does_no_harm(reply):
    verdict = read_verdict("j", "ab", reply)
    assert (verdict.choice, verdict.reply, verdict.failure) == ("a", reply, "")


@pytest.mark.parametrize(
    ("reply", "named"),
    [
        ("The first one.", "no JSON object"),
        ("", "no JSON object"),
        ("}{", "no JSON object"),
        ('{"better": "first"', "no JSON object"),
        ('{"better": "fir}', "Unterminated string"),
        ('{"better": "a"}', "better must be first, second or tie, got 'a'"),
        ('{"better": null}', "got None"),
        ('{"better": ["first"]}', "got"),
        ('{"best": "first"}', "got None"),
        ('{"better": "first"} {"better": "second"}', "Extra data"),
        ('{"better": "first", "better": "second"}', "a key stands twice"),
    ],
)
def test_anything_else_is_no_verdict_never_a_tie(reply, named):
    verdict = read_verdict("j", "ab", reply)
    assert verdict.choice is None
    assert "the reply is no verdict" in verdict.failure
    assert named in verdict.failure
    assert verdict.reply == reply


def test_a_judge_that_fails_says_why_and_long_replies_are_cut_in_the_reason():
    failed = read_verdict("j", "ba", JudgeError("timeout"))
    assert failed == Verdict("j", "ba", "", None, "timeout")
    long = read_verdict("j", "ab", "x" * 1000)
    assert len(long.failure) < 300
    assert len(long.reply) == 1000


def test_both_captions_are_shown_in_the_order_that_is_said():
    captions = ("a {red} cat", 'a dog, <second> "here"')
    ab, ba = (question(captions, order) for order in ("ab", "ba"))
    assert f"<first>\n{captions[0]}\n</first>" in ab
    assert f"<second>\n{captions[1]}\n</second>" in ab
    assert f"<first>\n{captions[1]}\n</first>" in ba
    assert f"<second>\n{captions[0]}\n</second>" in ba
    assert '{"better": "first", "second" or "tie"' in ab
