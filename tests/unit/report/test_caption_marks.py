from uae.data.facts import ObjectFact, SceneFacts
from uae.report.captions import Piece, mark_new_words

FACTS = SceneFacts((ObjectFact("cat", "red", "small", "top left", (0, 0, 9, 9)),), "tan", "SUN")


def test_first_caption_has_nothing_new():
    assert mark_new_words("a cat", None, FACTS) == [Piece("a cat", "old")]


def test_true_and_untrue_news_are_told_apart():
    assert mark_new_words("a blue cat on a tan background", "a cat", FACTS) == [
        Piece("a ", "old"), Piece("blue", "new"), Piece(" cat on a ", "old"),
        Piece("tan background", "true"),
    ]  # fmt: skip


def test_said_twice_is_new_the_second_time():
    pieces = mark_new_words("a cat, a cat", "a cat", FACTS)
    assert pieces == [Piece("a cat, a ", "old"), Piece("cat", "true")]


def test_without_truth_everything_new_is_just_new():
    assert mark_new_words("a dog", "a", None) == [Piece("a ", "old"), Piece("dog", "new")]


def test_no_character_is_lost():
    caption = 'a small red cat at the top left, the word "SUN", on a tan background!'
    pieces = mark_new_words(caption, "cats", FACTS)
    assert "".join(piece.text for piece in pieces) == caption
    assert Piece("SUN", "true") in pieces
