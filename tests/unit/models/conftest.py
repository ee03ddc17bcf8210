from pathlib import Path

import pytest
import torch
from torch import Tensor

from uae.models.autoencoder import AutoEncoder
from uae.models.tiny import tiny_bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("models") / "bundle")


@pytest.fixture
def model(bundle: Path) -> AutoEncoder:
    return AutoEncoder.load(bundle)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
