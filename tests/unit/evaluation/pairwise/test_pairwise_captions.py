import json

import numpy as np
import pytest
from PIL import Image

from uae.errors import EvaluationError
from uae.evaluation.pairwise.captions import read_pairs
from uae.evaluation.results import read_result, read_samples, write_results

ALL = ["good", "fair", "poor"]


def test_captions_of_one_picture_stand_together(folder_of):
    a, b = folder_of("one", ALL), folder_of("two", ALL[::-1])
    pairs = read_pairs(a, b)
    assert [(pair.sample_id, pair.captions) for pair in pairs.pairs] == [
        ("p0", ("good", "poor")),
        ("p1", ("fair", "fair")),
        ("p2", ("poor", "good")),
    ]
    assert all(pair.missing == "" for pair in pairs.pairs)
    assert pairs.system["name"] == "one vs two"
    assert (pairs.system["a"], pairs.system["b_sha256"]) == ("one", "t" * 64)
    assert len(read_pairs(a, b, num_samples=2).pairs) == 2


def test_other_captions_are_another_system(folder_of):
    b = folder_of("two", ALL)
    before = read_pairs(folder_of("one", ALL), b).system
    after = read_pairs(folder_of("one", ["good", "fair", "fair"]), b).system
    assert before["a_captions"] != after["a_captions"]
    assert before["sha256"] != after["sha256"]


def test_a_caption_that_was_not_written_is_missing_an_empty_one_is_not(folder_of):
    a, b = folder_of("one", ["good", None, ""]), folder_of("two", [None, None, "good"])
    missing = [pair.missing for pair in read_pairs(a, b).pairs]
    assert missing == [
        "B has no caption: no caption: refused",
        "A has no caption: no caption: refused; B has no caption: no caption: refused",
        "",
    ]


def test_results_of_other_pictures_are_refused(folder_of):
    a = folder_of("one", ALL)
    with pytest.raises(EvaluationError, match=r"not of the same pictures: .*'555.*'666"):
        read_pairs(a, folder_of("hash", ALL, sha256="6" * 64))
    with pytest.raises(EvaluationError, match=r"3 and 2 samples; only in the first \['p2'\]"):
        read_pairs(a, folder_of("fewer", ALL[:2]))
    with pytest.raises(EvaluationError, match=r"first \['p0'\], only in the second \['q'\]"):
        read_pairs(a, folder_of("ids", ALL, ids=["q", "p1", "p2"]))
    with pytest.raises(EvaluationError, match="the order differs"):
        read_pairs(a, folder_of("order", ALL, ids=["p1", "p0", "p2"]))
    with pytest.raises(EvaluationError, match=r"'p0' is not the same picture: .*4 x 4"):
        read_pairs(a, folder_of("pixels", ALL, shift=1))


def test_the_same_picture_in_other_bytes_is_the_same(folder_of):
    a, b = folder_of("one", ALL), folder_of("two", ALL)
    path = b / "images" / "original" / "1.png"
    Image.fromarray(np.full((4, 4, 3), 10, dtype=np.uint8)).save(path, compress_level=0)
    assert path.read_bytes() != (a / "images" / "original" / "1.png").read_bytes()
    assert len(read_pairs(a, b).pairs) == 3


def test_results_of_another_benchmark_or_none_are_refused(folder_of, tmp_path):
    a = folder_of("one", ALL)
    with pytest.raises(EvaluationError, match="is a result of geneval, not unified_bench"):
        read_pairs(a, folder_of("other", ALL, benchmark="geneval"))
    with pytest.raises(EvaluationError, match="no results at"):
        read_pairs(a, tmp_path / "absent")


@pytest.mark.parametrize("place", [None, "images/original/absent.png", "../one/results.json"])
def test_an_original_must_stand_in_its_folder(place, folder_of):
    a, b = folder_of("one", ALL), folder_of("two", ALL)
    samples = read_samples(b)
    images = {} if place is None else {"original": place}
    samples[1] = samples[1].model_copy(update={"images": images})
    write_results(b, read_result(b), samples)
    with pytest.raises(EvaluationError, match=f"'p1' has no original picture {place or ''!r}"):
        read_pairs(a, b)
    assert json.loads((a / "results.json").read_text())["benchmark"] == "unified_bench"
