import pytest

from uae.evaluation.judges.json_replies import no_verdict, object_in_reply


@pytest.mark.parametrize(
    "reply",
    ['{"a": 1}', '```json\n{"a": 1}\n```', 'I say {"a": 1}, surely.', '{"a": 1}\n'],
)
def test_what_stands_around_an_object_does_no_harm(reply):
    assert object_in_reply(reply) == {"a": 1}


def test_line_breaks_within_a_text_are_read():
    assert object_in_reply('{"a": "one\ntwo"}') == {"a": "one\ntwo"}


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        ("", "no JSON object"),
        ("} {", "no JSON object"),
        ('{"a": 1', "no JSON object"),
        ("{a: 1}", "property name"),
        ('{"a": 1} {"a": 0}', "Extra data"),
        ('{"a": 1, "a": 0}', r"a key stands twice: \['a', 'a'\]"),
        ('{"b": {"a": 1, "a": 1}}', "a key stands twice"),
        ('{"a": ' + "[" * 100_000 + "}", "recursion|Expecting"),
    ],
)
def test_what_is_no_object_is_told(reply, told):
    with pytest.raises(ValueError, match=told):
        object_in_reply(reply)


def test_the_beginning_of_a_long_reply_is_shown():
    assert no_verdict("why", "x") == "the reply is no verdict (why): 'x'"
    assert no_verdict("why", "x" * 201) == f"the reply is no verdict (why): '{'x' * 200} ...'"
    assert no_verdict("why", "x" * 200).endswith(f"'{'x' * 200}'")
