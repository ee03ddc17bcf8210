import pytest

from uae.evaluation.text_fidelity.words import (
    edit_similarity,
    fold_words,
    same_words,
    word_accuracy,
)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["STOP"], ["stop"]),
        (["Open all day!", "(24h)"], ["open", "all", "day", "24h"]),
        (["★", "--", " "], []),
        (["don't"], ["don't"]),
        (["\uff23\uff21\uff26\uff25"], ["cafe"]),  # full-width letters
        (["你好"], ["你", "好"]),
        (["Straße"], ["strasse"]),
    ],
)
def test_words_are_compared_without_case_and_punctuation(texts, words):
    assert fold_words(texts) == words


def test_accuracy_is_the_share_of_asked_words_and_each_read_word_serves_once():
    assert word_accuracy(["Open all day"], ["DAY", "open"]) == pytest.approx(2 / 3)
    assert word_accuracy(["ha ha"], ["ha"]) == 0.5
    assert word_accuracy(["STOP"], []) == 0
    assert word_accuracy(["STOP"], ["★", "4", "stop."]) == 1  # more may stand there


def test_the_same_words_are_those_and_no_others():
    assert same_words(["STOP", "GO"], ["go", "stop"])
    assert same_words(["STOP"], ["stop", "★"])
    assert not same_words(["STOP"], ["stop", "4"])
    assert not same_words(["ha ha"], ["ha"])


def test_similarity_worked_by_hand():
    # "park" and "pork" differ in one of four letters; "book" has no partner
    assert edit_similarity(["PARK", "BOOK"], ["pork"]) == pytest.approx((3 / 4 + 0) / 2)
    # "stop" to "st0pp": one letter changed and one put in, of five
    assert edit_similarity(["stop"], ["st0pp"]) == pytest.approx(1 - 2 / 5)
    assert edit_similarity(["stop"], []) == 0
    assert edit_similarity(["stop", "go"], ["go", "stop"]) == 1


def test_words_are_paired_for_the_largest_sum():
    # first come first served would give "sun" its twin and leave "sum" with nothing alike
    assert edit_similarity(["sum", "sun"], ["sun", "tum"]) == pytest.approx((2 / 3 + 1) / 2)


@pytest.mark.parametrize("measure", [word_accuracy, same_words, edit_similarity])
def test_nothing_asked_for_cannot_be_measured(measure):
    with pytest.raises(ValueError, match="no word is asked for"):
        measure(["!"], ["a"])
