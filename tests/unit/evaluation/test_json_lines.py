import pytest

from uae.errors import EvaluationError
from uae.evaluation.json_lines import parse_object, read_json_lines


def read(text, parse=lambda row: row["a"], **options):
    return read_json_lines(text, parse, source="p.jsonl", what="a row", **options)


def test_blank_lines_are_skipped_and_the_order_is_kept():
    assert read('\n{"a": 2}\n \n{"a": 1}\n') == [2, 1]
    assert read("\n") == []


def test_only_a_line_feed_ends_a_line():
    """U+2028 and U+0085 may stand in a JSON text as they are; str.splitlines would cut there."""
    assert read('{"a": "x\u2028y\u0085z"}\n{"a": ""}') == ["x\u2028y\u0085z", ""]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "Expecting"),
        ("[1]", "got list"),
        ("null", "got NoneType"),
        ('{"a": 1, "a": 1}', "keys stand twice: a"),
        ('{"a": {"b": 1, "c": 2, "b": 3}}', "keys stand twice: b"),
        ('{"a": NaN}', "not JSON compliant"),
        ('{"a": "\\ud800"}', "surrogates not allowed"),
        ("[" * 100_000, "recursion"),
        ('{"b": 1}', "KeyError"),
    ],
)
def test_a_wrong_line_is_named(line, says):
    with pytest.raises(EvaluationError, match=rf"^p\.jsonl:3: not a row: .*{says}"):
        read(f'{{"a": 0}}\n\n{line}')


@pytest.mark.parametrize("error", [ValueError, KeyError, TypeError, AttributeError])
def test_what_a_reader_refuses_is_named_with_its_reason(error):
    def refuse(row):
        raise error("too red")

    with pytest.raises(EvaluationError, match=r"p\.jsonl:1: not a row: .*too red"):
        read('{"a": 1}', refuse)


def test_rows_that_say_the_same_are_named_with_the_first():
    with pytest.raises(EvaluationError, match=r"^p\.jsonl:3: repeats line 1$"):
        read('{"a": 1}\n{"a": 2}\n{"a": 1}')
    with pytest.raises(EvaluationError, match=r"p\.jsonl:2: repeats line 1"):
        read('{"a": "x"}\n{"a": "X"}', same=str.casefold)


def test_several_faults_are_named_and_many_counted():
    with pytest.raises(EvaluationError) as caught:
        read("\n".join(["x"] * 7))
    said = str(caught.value)
    assert [f"p.jsonl:{number}:" in said for number in range(1, 8)] == [True] * 5 + [False] * 2
    assert said.endswith("; and 2 more wrong lines")


def test_one_object_is_read():
    assert parse_object(' {"a": [1]}\n') == {"a": [1]}
    with pytest.raises(ValueError, match="Extra data"):
        parse_object('{"a": 1}\n{"a": 2}')
