"""The model bundle: the folder that passes from stage to stage.

    model.json           what the bundle is and which bundle it was trained from
    encoder/             Qwen2.5-VL, tokenizer and image processor, as transformers saves them
    caption_adapters/0/  LoRA that is active only while captions are written; none or more
    connector/           config.json, connector.safetensors
    transformer/ vae/ scheduler/                    as diffusers saves them
    pooled_projection.safetensors                   the decoder's constant pooled embedding

Weights are safetensors in 16 or 32 bit and are loaded in float32. Loading is strict: a missing,
unexpected or misshapen tensor is an error that names it.

Finding and checking a bundle needs no torch; it is imported when tensors are read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError

from uae.errors import ModelError
from uae.fingerprints import folder_sha256
from uae.store.caches import caches_folder

if TYPE_CHECKING:
    from torch import Tensor

STARTER_WEIGHTS = Path(__file__).parents[1] / "assets" / "starter" / "weights"
BUCKET, HUB = "s3://", "hub:"
REQUIRED = (
    "model.json",
    "encoder/config.json",
    "encoder/tokenizer.json",
    "encoder/preprocessor_config.json",
    "connector/config.json",
    "connector/connector.safetensors",
    "transformer/config.json",
    "vae/config.json",
    "scheduler/scheduler_config.json",
    "pooled_projection.safetensors",
)

Stage = Literal[
    "base",
    "pretrain_decoder",
    "cold_start",
    "generation_for_understanding",
    "understanding_for_generation",
]


class BundleInfo(BaseModel):
    """The content of model.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    stage: Stage
    condition_source: Literal["reencode_text", "in_context"]
    condition_tokens: Annotated[int, Field(gt=0)]  # length of every condition, padding included
    image_size: Annotated[int, Field(gt=0)]  # side of a picture in pixels
    parent: str | None  # `bundle_sha` of the bundle that this one was trained from


def is_remote(address: str) -> bool:
    """Return whether weights lie in a bucket or on a hub, not on this machine."""
    return address.startswith((BUCKET, HUB))


def fetched_folder(manifest: str) -> Path:
    """Return where this machine keeps the weights folder with a manifest of this sha256.

    On a cluster it ends with the pod.
    """
    return caches_folder() / f"uae-weights-{os.getuid()}" / manifest


def resolve_base(base: str, manifest: str | None = None) -> Path:
    """Return the bundle that a recipe's `models.base` names: "starter", or a folder.

    Args:
        base: `models.base`. One in a bucket or on a hub must have been fetched
            (`uae.weights.fetching`).
        manifest: `models.manifest`.

    Raises:
        ModelError: If there is no bundle.
    """
    if is_remote(base):
        if manifest is None:
            raise ModelError(f"models.base {base!r} lies elsewhere and needs models.manifest")
        path = fetched_folder(manifest) / base.rstrip("/").rpartition("/")[2]
    else:
        path = STARTER_WEIGHTS / "autoencoder" if base == "starter" else Path(base)
    if not (path / "model.json").is_file():
        raise ModelError(
            f"models.base {base!r}: no model bundle at {path} (it has no model.json); give "
            '"starter", or a folder in the bundle layout, also as s3://... or hub:...'
        )
    return path


def weights_root(base: str, manifest: str | None = None) -> Path:
    """Return the folder that holds scorers/, detector/ and judge/ beside the base bundle.

    Of a base in a bucket or on a hub it is where they are fetched to.
    """
    if is_remote(base) and manifest is not None:
        return fetched_folder(manifest)
    return resolve_base(base, manifest).parent


def read_info(bundle: Path) -> BundleInfo:
    """Read model.json and check that the bundle has every file.

    Raises:
        ModelError: Naming the missing files, or what is wrong in model.json.
    """
    missing = [name for name in REQUIRED if not (bundle / name).is_file()]
    if missing:
        raise ModelError(f"{bundle} is not a model bundle: {', '.join(missing)} missing")
    try:
        return BundleInfo.model_validate_json((bundle / "model.json").read_text("utf-8"))
    except ValidationError as error:
        raise ModelError(f"{bundle / 'model.json'} is not valid: {error}") from error


def bundle_sha(bundle: Path) -> str:
    """Return the sha256 over the names and bytes of all files: a bundle's identity."""
    return folder_sha256(bundle)


@contextmanager
def loading(folder: Path) -> Iterator[None]:
    """Turn the libraries' loading errors into a ModelError that names the folder."""
    from huggingface_hub.errors import StrictDataclassError  # transformers' of a configuration

    faults = (OSError, RuntimeError, ValueError, KeyError, TypeError)
    try:
        yield
    except (*faults, SafetensorError, StrictDataclassError) as error:
        raise ModelError(f"{folder} cannot be loaded: {type(error).__name__}: {error}") from error


def check_loading_info(folder: Path, info: Mapping[str, Any]) -> None:
    """Refuse what transformers and diffusers would only warn about.

    Raises:
        ModelError: Naming every missing and unexpected tensor.
    """
    faults = [
        f"{kind}: {', '.join(sorted(map(str, info[f'{kind}_keys'])))}"
        for kind in ("missing", "unexpected", "mismatched")
        if info.get(f"{kind}_keys")
    ]
    if faults:
        raise ModelError(f"{folder} does not fit its configuration; tensors {'; '.join(faults)}")


def load_transformers(kind: Any, folder: Path) -> Any:
    """Read a transformers model from a local folder, strictly: float32, frozen, in eval mode.

    Raises:
        ModelError: If it cannot be read (pickled weights never are), or a tensor is missing,
            unexpected or of another shape.
    """
    with loading(folder):
        model, info = kind.from_pretrained(
            folder,
            dtype="float32",
            ignore_mismatched_sizes=True,  # so that they are named below
            output_loading_info=True,
            local_files_only=True,
            use_safetensors=True,
        )
    check_loading_info(folder, info)
    return model.requires_grad_(False).eval()


def read_tensors(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Read a safetensors file that must hold exactly the named shapes; float32.

    Raises:
        ModelError: Naming every tensor that is missing, unexpected or of another shape.
    """
    from safetensors.torch import load_file

    with loading(path):
        tensors = load_file(path)
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    check_loading_info(
        path,
        {
            "missing_keys": shapes.keys() - found.keys(),
            "unexpected_keys": found.keys() - shapes.keys(),
            "mismatched_keys": [
                f"{name} {found[name]} instead of {shape}"
                for name, shape in shapes.items()
                if name in found and found[name] != tuple(shape)
            ],
        },
    )
    return {name: tensor.float() for name, tensor in tensors.items()}


def read_json(path: Path) -> Any:
    """Read a JSON file of a bundle.

    Raises:
        ModelError: If it is missing or not JSON.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from error


def write_json(path: Path, value: Any) -> None:
    """Write readable JSON."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
