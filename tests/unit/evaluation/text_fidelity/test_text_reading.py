import numpy as np
import pytest

from uae.errors import EvaluationError, ModelError
from uae.evaluation.text_fidelity.prompts import TextPrompt
from uae.evaluation.text_fidelity.reading import (
    MIN_UPSCALE,
    PictureReader,
    check_reader,
    enlarge,
    reader_identity,
)
from uae.evaluation.text_fidelity.rendering import render
from uae.rewards import texts


class Says:
    """A reader that says the same of every picture, or what `of` makes of it."""

    def __init__(self, of):
        self.read = of


def prompt(*asked, known=True):
    picture = (lambda: render(asked)) if known else None
    return TextPrompt("p", f'"{asked[0]}"', asked, picture, {})


def test_small_pictures_are_enlarged_and_large_ones_left():
    assert enlarge(np.zeros((64, 128, 3), dtype=np.uint8), 256).shape == (256, 512, 3)
    large = np.zeros((300, 400, 3), dtype=np.uint8)
    assert enlarge(large, 256) is large


def test_the_reader_enlarges_at_least_as_far_by_itself():
    assert MIN_UPSCALE == texts._MIN_SIDE_PIXELS
    with pytest.raises(EvaluationError, match="upscale_to is 128"):
        reader_identity(128)


def test_identity_changes_with_the_enlargement():
    one, two = reader_identity(256), reader_identity(512)
    assert one["kind"] == "rapidocr"
    assert one["version"]
    assert (one["sha256"], len(one["sha256"])) == (two["sha256"], 64)
    assert one != two


def test_without_its_package_there_is_no_reader(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "rapidocr", None)
    with pytest.raises(ModelError, match="needs rapidocr"):
        reader_identity(256)


def test_the_packaged_reader_reads_what_is_drawn():
    reader = PictureReader(256)
    found = check_reader(reader, [prompt("OPEN"), prompt("Coffee to go")], 1.0)
    assert found == {"accuracy": 1.0, "groups": {"words/yes": "2/2", "words/no": "2/2"}}
    assert reader.read(render(["STOP"])) == ["STOP"]


def test_plain_words_serve_where_no_font_has_the_prompts():
    reader = Says(lambda picture: [])
    with pytest.raises(EvaluationError, match=r"'words/yes': '0/6'.*'words/no': '6/6'"):
        check_reader(reader, [prompt("你好", known=False)], 0.9)


def test_a_reader_that_reads_everything_everywhere_is_refused():
    reader = Says(lambda picture: ["OPEN", "Coffee"])
    with pytest.raises(EvaluationError, match=r"'words/yes': '2/2'.*'words/no': '0/2'"):
        check_reader(reader, [prompt("OPEN"), prompt("Coffee")], 0.9)
