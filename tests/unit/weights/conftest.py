import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
from published_models import publish_decoder, publish_encoder

from uae.models.autoencoder import AutoEncoder
from uae.models.bundle import STARTER_WEIGHTS
from uae.models.tiny import CONDITION_TOKENS, IMAGE_SIZE, tiny_autoencoder, tiny_recipe
from uae.recipe import Recipe
from uae.weights.assembling import Choices, add_model, assemble
from uae.weights.recording import record_all

CHOICES = Choices(
    seed=0,
    connector_width=64,
    condition_tokens=CONDITION_TOKENS,
    image_size=IMAGE_SIZE,
    max_pixels=IMAGE_SIZE**2,
    encoder_licence="qwen-research",
    decoder_licence="stabilityai-ai-community",
)
LICENCES = ["qwen-research", "stabilityai-ai-community"]


class Published(NamedTuple):
    """A model, and the folders that it was published in."""

    model: AutoEncoder
    encoder: Path
    decoder: Path


class Folder(NamedTuple):
    """A weights folder, and the recipe that starts from it."""

    root: Path
    bundle: Path
    recipe: Recipe


@pytest.fixture(scope="session")
def published(tmp_path_factory) -> Published:
    folder = tmp_path_factory.mktemp("published")
    model = tiny_autoencoder(seed=3)
    return Published(
        model, publish_encoder(model, folder / "qwen"), publish_decoder(model, folder / "sd3")
    )


@pytest.fixture(scope="session")
def assembled(published, tmp_path_factory) -> Folder:
    """A whole weights folder: an assembled bundle, and the starter's scorers and judges."""
    root = tmp_path_factory.mktemp("weights")
    for name in ("scorers", "detector", "judge"):
        shutil.copytree(STARTER_WEIGHTS / name, root / name)
    shutil.rmtree(root / "scorers" / "clip")
    add_model(str(STARTER_WEIGHTS / "scorers/clip"), root / "scorers" / "clip", licence="mit")
    bundle = root / "published"
    assemble(str(published.encoder), str(published.decoder), bundle, CHOICES)
    others = {f"scorers/{path.name}": "mit" for path in (root / "scorers").iterdir()}
    sha256 = record_all(root, {**others, "detector": "mit", "judge": "mit"})
    return Folder(root, bundle, recipe_of(bundle, sha256))


@pytest.fixture
def copied(assembled, tmp_path) -> Folder:
    """A weights folder to spoil."""
    root = Path(shutil.copytree(assembled.root, tmp_path / "weights"))
    bundle = root / "published"
    return Folder(root, bundle, recipe_of(bundle, assembled.recipe.models.manifest))


def recipe_of(base: Path | str, manifest: str | None, licences: list[str] = LICENCES) -> Recipe:
    models = {"base": str(base), "manifest": manifest, "accepted_licences": licences}
    return tiny_recipe(models=models)
