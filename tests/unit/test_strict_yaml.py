import pytest
import yaml

from uae.strict_yaml import read_yaml, write_yaml


def test_overriding_a_merged_key_is_no_repetition():
    text = """
    base: &base {rate: 1.0e-4, decay: 0.9}
    nested: {first: &first {<<: *base, rate: 0.5}}
    second: {<<: *first, decay: null}
    """
    values = read_yaml(text)
    assert values["nested"]["first"] == {"rate": 0.5, "decay": 0.9}
    assert values["second"] == {"rate": 0.5, "decay": None}


def test_every_repeated_key_is_named_with_its_line():
    text = "a: 1\nb:\n  - c: 1\n    c: 2\na: 3\n"
    with pytest.raises(yaml.YAMLError) as error:
        read_yaml(text)
    assert str(error.value).splitlines()[1:] == [
        "  a: in line 5, and in line 1 before",
        "  b.c: in line 4, and in line 3 before",
    ]


def test_text_and_number_are_different_keys():
    assert read_yaml("1: a\n'1': b") == {1: "a", "1": "b"}


def test_alias_to_itself_ends():
    values = read_yaml("a: &a [*a]")
    assert values["a"][0] is values["a"]


@pytest.mark.parametrize("text", ["1e-4", "-2E+3", "1.5e7", "a", "0.5", "yes", "null", ""])
def test_texts_and_numbers_survive_writing(text):
    values = {"text": text, "number": 1e-5, "none": None, "list": [1, 2.0, True]}
    assert read_yaml(write_yaml(values)) == values


@pytest.mark.parametrize("text", ["a: [", "a: 1\n--- \nb: 2", "!!python/object:os.system {}"])
def test_what_is_not_one_plain_document_is_refused(text):
    with pytest.raises(yaml.YAMLError):
        read_yaml(text)
