"""One notion of a word: as `str.split()`, but each Chinese or Japanese character is one."""

import random

import pytest

from uae.data.starter.captions import complete_caption, terse_caption
from uae.data.starter.scenes import sample_facts
from uae.data.words import count_words, split_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("  ", []),
        ("a red  cat.", ["a", "red", "cat."]),
        ("line\nbreak", ["line", "break"]),
        ("a - b", ["a", "-", "b"]),
        ("猫と犬", ["猫", "と", "犬"]),
        ("「猫」、犬。", ["猫", "犬"]),  # punctuation is no word
        ("red 猫!", ["red", "猫"]),
        ("两只cat, 3只dog。", ["两", "只", "cat", "3", "只", "dog"]),
        ("コーヒー・ｶｯﾌﾟ", [*"コーヒー", *"ｶｯﾌﾟ"]),
        ("人々 𠮷", ["人", "々", "𠮷"]),
        ("кошка 👩‍👩‍👧", ["кошка", "👩‍👩‍👧"]),
        ("고양이 두 마리", ["고양이", "두", "마리"]),
    ],
)
def test_words_of_a_text(text, words):
    assert split_words(text) == words
    assert count_words(text) == len(words)


def test_latin_captions_are_split_as_ever():
    rng = random.Random(0)
    for _ in range(50):
        facts = sample_facts(rng)
        for caption in (complete_caption(facts), terse_caption(facts, rng)):
            assert split_words(caption) == caption.split()
