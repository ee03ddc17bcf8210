import numpy as np
import pytest

from uae.errors import ModelError
from uae.evaluation.systems.base import CaptionRequest, PictureRequest
from uae.evaluation.systems.bundle import BundleSystem
from uae.models.tiny import tiny_recipe

TEXTS = ["a red cat", 'a blue dog at the top left, the word "SUN"', ""]


def requests(texts, seeds, **options):
    return [PictureRequest(t, s, "a/b.png", **options) for t, s in zip(texts, seeds, strict=True)]


@pytest.fixture(scope="module")
def system(weights):
    return BundleSystem.of_run(weights / "autoencoder", tiny_recipe().evaluation)


def test_a_picture_depends_on_its_own_text_and_seed_only(system):
    together = system.generate(requests(TEXTS, [1, 2, 3]))
    (alone,) = system.generate(requests(TEXTS[1:2], [2]))
    assert abs(together[1].astype(int) - alone).max() <= 1  # a value may round the other way
    (other,) = system.generate(requests(TEXTS[1:2], [3]))
    assert abs(other.astype(int) - alone).max() > 1
    assert {picture.shape for picture in together} == {(32, 32, 3)}


def test_greedy_captions_depend_on_no_seed_and_pictures_may_have_any_size(system):
    small = system.generate(requests(TEXTS, [1, 2, 3]))
    large = [np.repeat(np.repeat(picture, 3, axis=0), 3, axis=1) for picture in small]
    captions = [
        system.caption([CaptionRequest(picture, seed, "a/b") for picture in pictures])
        for pictures, seed in ((small, 0), (small, 9), (large, 0))
    ]
    assert captions[0] == captions[1]
    assert all(len(found) == 3 for found in captions)


def test_an_overlong_own_caption_is_cut(system):
    long = "x " * 400
    (picture,) = system.generate(requests([long], [0], overlong="truncate"))
    assert picture.shape == (32, 32, 3)


def test_identity_is_known_before_the_weights_are_read(weights, tmp_path):
    system = BundleSystem.of_run(weights / "autoencoder", tiny_recipe().evaluation)
    assert (system.identity["kind"], len(system.identity["sha256"])) == ("uae", 64)
    broken = BundleSystem.of_run(tmp_path, tiny_recipe().evaluation)
    with pytest.raises(ModelError):
        broken.generate(requests(TEXTS, [1, 2, 3]))


def test_weights_are_let_go_and_read_again(system):
    before = system.generate(requests(TEXTS, [1, 2, 3]))
    system.close()
    after = system.generate(requests(TEXTS, [1, 2, 3]))
    assert all((a == b).all() for a, b in zip(before, after, strict=True))


def test_no_request_is_no_answer(system):
    assert system.generate([]) == system.caption([]) == []
