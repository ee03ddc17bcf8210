import sys

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont

from uae.data.facts import SceneFacts
from uae.errors import ModelError
from uae.rewards.texts import TextReader, texts_from_facts


def picture_of(word):
    picture = Image.new("RGB", (64, 64), "white")
    ImageDraw.Draw(picture).text((6, 20), word, fill="black", font=ImageFont.load_default(22))
    return torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1) / 255


def test_facts_tell_no_text_from_unknown_text():
    scenes = [SceneFacts((), "blue", "STOP"), SceneFacts((), "blue", None), None]
    assert texts_from_facts(scenes) == [["STOP"], [], None]


def test_reader_reads_small_pictures():
    pytest.importorskip("rapidocr")
    blank = torch.full((3, 64, 64), 0.5)
    assert TextReader().read(torch.stack([picture_of("TOP"), blank])) == [["TOP"], []]


def test_reader_without_its_package_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    with pytest.raises(ModelError, match=r"needs rapidocr: .*pip install -c .*'\.\[ocr\]'"):
        TextReader()
