"""The connector: from the encoder's hidden states to the decoder's condition."""

from pathlib import Path
from typing import Self

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from uae.errors import ModelError
from uae.models.bundle import read_json, read_tensors, write_json


class Connector(nn.Module):
    """Linear - GELU - Linear on every token, without normalisation, as in arXiv:2509.09666."""

    def __init__(self, in_features: int, hidden_features: int, out_features: int) -> None:
        super().__init__()
        self.sizes = {
            "in_features": in_features,
            "hidden_features": hidden_features,
            "out_features": out_features,
        }
        self.inner = nn.Linear(in_features, hidden_features)
        self.outer = nn.Linear(hidden_features, out_features)

    def forward(self, hidden_BTD: Tensor) -> Tensor:
        """Map hidden states (B, T, in) to conditions (B, T, out)."""
        condition: Tensor = self.outer(nn.functional.gelu(self.inner(hidden_BTD)))
        return condition

    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """Write config.json and connector.safetensors."""
        folder.mkdir(parents=True)
        write_json(folder / "config.json", self.sizes)
        state = {name: t.to(dtype).contiguous() for name, t in self.state_dict().items()}
        save_file(state, folder / "connector.safetensors")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a connector, frozen, in float32.

        Raises:
            ModelError: If a file or tensor is missing, unexpected or of another shape.
        """
        sizes = read_json(folder / "config.json")
        try:
            connector = cls(**sizes)
        except TypeError as error:
            raise ModelError(f"{folder / 'config.json'} is not a connector's: {error}") from error
        shapes = {name: tuple(t.shape) for name, t in connector.state_dict().items()}
        connector.load_state_dict(read_tensors(folder / "connector.safetensors", shapes))
        return connector.requires_grad_(False).eval()
