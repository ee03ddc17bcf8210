"""What ships with the library stays small enough to clone and to install."""

import numpy as np
from safetensors import safe_open

from uae.data.starter.vocabulary import STARTER_WEIGHTS

MOST_BYTES = 30_000_000


def test_artwork_data_and_weights_take_at_most_30_mb():
    files = [path for path in STARTER_WEIGHTS.parent.rglob("*") if path.is_file()]
    assert len(files) > 50
    assert sum(path.stat().st_size for path in files) <= MOST_BYTES


def test_weights_are_16_bit_safetensors():
    for path in STARTER_WEIGHTS.rglob("*.safetensors"):
        with safe_open(path, "np") as file:
            for name in file.keys():  # noqa: SIM118 - the file is no mapping
                tensor = file.get_slice(name)
                counter = tensor.get_dtype() == "I64" and np.prod(tensor.get_shape()) == 1
                assert tensor.get_dtype() in ("F16", "BF16") or counter, (path, name)
