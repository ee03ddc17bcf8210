"""Builds the images that `make test-images` looks at. Needs root, buildah and debootstrap."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from built_images.index_settings import index_options
from built_images.sandbox import Sandbox, opened
from built_images.storage import provide_base, use_own_storage

from uae_images.contents import IMAGE_NAMES
from uae_images.references import ImageReferences

ROOT = Path(__file__).parents[2]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option with which what an earlier run built is used again."""
    parser.addoption(
        "--keep",
        action="store_true",
        help="build on what an earlier run left; figures of sizes and times are not written then",
    )


@pytest.fixture(scope="session")
def keep(request: pytest.FixtureRequest) -> bool:
    """Whether what an earlier run built is used again; nothing is measured then."""
    return bool(request.config.getoption("--keep"))


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory, keep: bool) -> Iterator[dict[str, Sandbox]]:
    """All images by reference, built and mounted."""
    use_own_storage(keep=keep)
    references = ImageReferences.read()
    base = references.bases.debian
    provide_base(str(base), base.tag.partition("-")[0])
    options = index_options(tmp_path_factory.mktemp("index"))
    command = [sys.executable, "-m", "uae_images.build", "--engine", "buildah", *options]
    subprocess.run(command, cwd=ROOT, check=True)
    with ExitStack() as stack:
        yield {
            references.image(name): stack.enter_context(opened(reference.tagged))
            for name, reference in references.images
        }


@pytest.fixture(params=IMAGE_NAMES)
def image(images: dict[str, Sandbox], request: pytest.FixtureRequest) -> Sandbox:
    """Each image in turn."""
    return images[ImageReferences.read().image(request.param)]
