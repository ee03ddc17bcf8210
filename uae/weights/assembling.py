"""Published models become a bundle: encoder and decoder as they are, and a random connector.

Weight files are linked or copied, not loaded. Only SD3's two CLIP encoders compute something.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLConfig

from uae.errors import ModelError
from uae.models.bundle import BundleInfo, loading, write_json
from uae.models.connector import Connector
from uae.models.image_processor import FILE_NAME as PROCESSOR_FILE
from uae.models.image_processor import ImageProcessor
from uae.replacement import replaced_atomically
from uae.rewards.scorer_files import CONFIG_FILE, WEIGHTS_FILE
from uae.seeds import derive_seed
from uae.weights.architecture import POOLED, POOLED_FILE, check_class, read_config
from uae.weights.headers import read_folder
from uae.weights.licences import recognised
from uae.weights.places import Place, is_licence, open_place, wanted
from uae.weights.pooled import ENCODERS, pooled_embedding
from uae.weights.recording import OURS, Origin, read_tensors, record, weights_folder_of

if TYPE_CHECKING:
    from uae.store.s3 import Store

_ENCODER_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", PROCESSOR_FILE)
_CHAT_TEMPLATE = "chat_template.jinja"
_DECODER_PARTS = ("transformer", "vae", "scheduler")
_DECODER_FILES = ("transformer/config.json", "vae/config.json", "scheduler/scheduler_config.json")


@dataclass(frozen=True)
class Choices:
    """What a bundle has that no published model says."""

    seed: int  # of the connector
    connector_width: int
    condition_tokens: int
    image_size: int
    max_pixels: int  # that the encoder sees of a picture
    encoder_licence: str | None = None  # None: known by the configuration
    decoder_licence: str | None = None


def assemble(
    encoder: str, decoder: str, out: Path, choices: Choices, *, store: Store | None = None
) -> str:
    """Make a base bundle of Qwen2.5-VL and SD3, and write it into its weights folder's manifest.

    Args:
        encoder: Qwen2.5-VL as transformers saves it: a folder, s3://... or hub:org/name@revision.
        decoder: SD3 as diffusers saves it, with its CLIP encoders; the same.
        out: The bundle's folder, which must not exist.
        choices: The rest.
        store: Any bucket of the store, for s3://; None opens AWS_ENDPOINT_URL.

    Returns:
        The manifest's sha256.

    Raises:
        ModelError: If a source is not there, gated, cut off or of another architecture, or a
            licence is not known.
        StoreError: If store or hub fails.
    """
    if out.exists():
        raise ModelError(f"{out} exists: name a new folder, or remove it")
    sources = {"encoder": open_place(encoder, store), "decoder": open_place(decoder, store)}
    with replaced_atomically(out) as folder:
        origins = _take_encoder(sources["encoder"], folder, choices)
        origins |= _take_decoder(sources["decoder"], folder, choices)
        origins |= _make_rest(folder, choices)
        _take_licences(sources, folder)
        origins["LICENSES"] = Origin("with the sources", None, OURS)
        read_tensors(folder)  # here, so that nothing is left of what does not fit
    root = weights_folder_of(out)
    return record(root, {out.absolute(): origins})


def add_model(
    source: str, out: Path, *, licence: str | None = None, store: Store | None = None
) -> str:
    """Take a scorer, detector or judge into a weights folder and its manifest.

    Args:
        source: As transformers saves it, or open_clip's local-dir layout: a folder, s3://... or
            hub:org/name@revision.
        out: Its folder, such as weights/scorers/dinov2-large; it must not exist.
        licence: Its licence's name; None where the configuration tells it.
        store: Any bucket of the store, for s3://; None opens AWS_ENDPOINT_URL.

    Returns:
        The manifest's sha256.

    Raises:
        ModelError: If the source is not there, gated, cut off or in no such layout, or its licence
            is not known.
        StoreError: If store or hub fails.
    """
    if out.exists():
        raise ModelError(f"{out} exists: name a new folder, or remove it")
    place = open_place(source, store)
    names = _model_files(place)
    with replaced_atomically(out) as folder:
        _take(place, folder, names)
        config = folder / (CONFIG_FILE if CONFIG_FILE in names else "config.json")
        found = _licence_of(licence, read_config(config), place, "--licence")
        read_tensors(folder)
    root = weights_folder_of(out)
    return record(root, {out.absolute(): {"": Origin(place.address, place.revision, found)}})


def _model_files(place: Place) -> list[str]:
    """Return the names of a model's files, in one of the two formats."""
    names = [name for name in place.sizes() if wanted(name) and "/" not in name]
    if CONFIG_FILE in names:  # such repositories hold transformers' format of the model as well
        names = [
            n for n in names if n == WEIGHTS_FILE or not n.endswith((".safetensors", "index.json"))
        ]
        names = [n for n in names if n != "config.json"]
    elif "config.json" not in names:
        raise ModelError(
            f"{place.address} has neither config.json nor {CONFIG_FILE}: give a model "
            "as transformers saves it, or open_clip's local-dir layout; pickles are never taken"
        )
    if not any(name.endswith(".safetensors") for name in names):
        raise ModelError(f"{place.address} has no .safetensors: pickled weights are never taken")
    return names


def _take_encoder(place: Place, folder: Path, choices: Choices) -> dict[str, Origin]:
    out = folder / "encoder"
    names = [name for name in place.sizes() if "/" not in name and wanted(name)]
    _require(place, names, _ENCODER_FILES)
    _take(place, out, [name for name in names if not is_licence(name)])
    has_template = "chat_template" in read_config(out / "tokenizer_config.json")
    if not has_template and not (out / _CHAT_TEMPLATE).is_file():
        raise ModelError(
            f"{place.address} has no chat template, in tokenizer_config.json or {_CHAT_TEMPLATE}"
        )
    config = read_config(out / "config.json")
    check_class("encoder", config, out / "config.json")
    licence = _licence_of(choices.encoder_licence, config, place, "--encoder-licence")
    read_folder(out)  # cut off or missing: before anything else is said of it
    with loading(out):
        Qwen2_5_VLConfig.from_dict(config).to_json_file(out / "config.json")
    processor = ImageProcessor.load(out)
    (out / PROCESSOR_FILE).unlink()
    replace(processor, max_pixels=choices.max_pixels).save(out)
    return {"encoder": Origin(place.address, place.revision, licence)}


def _take_decoder(place: Place, folder: Path, choices: Choices) -> dict[str, Origin]:
    names = [name for name in place.sizes() if wanted(name)]
    clip = [part for pair in ENCODERS for part in pair]
    _require(place, names, (*_DECODER_FILES, *(f"{pair[1]}/config.json" for pair in ENCODERS)))
    _take(place, folder, [n for n in names if n.partition("/")[0] in _DECODER_PARTS])
    for part in ("transformer", "vae"):
        path = folder / part / "config.json"
        check_class(part, read_config(path), path)
    config = read_config(folder / "transformer" / "config.json")
    licence = _licence_of(choices.decoder_licence, config, place, "--decoder-licence")
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        _take(place, Path(temporary), [n for n in names if n.partition("/")[0] in clip])
        pooled = pooled_embedding(Path(temporary))
    save_file({POOLED: pooled.contiguous()}, folder / POOLED_FILE)
    origin = Origin(place.address, place.revision, licence)
    return dict.fromkeys((*_DECODER_PARTS, POOLED_FILE), origin)


def _make_rest(folder: Path, choices: Choices) -> dict[str, Origin]:
    encoder = read_config(folder / "encoder" / "config.json")
    transformer = read_config(folder / "transformer" / "config.json")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(choices.seed, "connector"))
        connector = Connector(
            encoder["text_config"]["hidden_size"],
            choices.connector_width,
            transformer["joint_attention_dim"],
        )
    connector.save(folder / "connector")
    info = BundleInfo(
        stage="base",
        condition_source="reencode_text",
        condition_tokens=choices.condition_tokens,
        image_size=choices.image_size,
        parent=None,
    )
    write_json(folder / "model.json", info.model_dump(mode="json"))
    made = f"random weights of seed {choices.seed}"
    return {
        "connector": Origin(made, None, OURS),
        "model.json": Origin("uae weights assemble", None, OURS),
    }


def _take_licences(sources: dict[str, Place], folder: Path) -> None:
    """Keep the sources' licences, which an exported model takes along."""
    out = folder / "LICENSES"
    out.mkdir()
    for kind, place in sources.items():
        for name in place.sizes():
            if is_licence(name) and "/" not in name:
                place.fetch(name, out / f"{kind}-{name}")
    if not any(out.iterdir()):
        addresses = " and ".join(place.address for place in sources.values())
        text = f"No licence files came with {addresses}.\n"
        (out / "sources.txt").write_text(text, encoding="utf-8")


def _take(place: Place, folder: Path, names: Iterable[str]) -> None:
    for name in names:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        place.fetch(name, target)


def _require(place: Place, names: Iterable[str], needed: Iterable[str]) -> None:
    missing = sorted(set(needed) - set(names))
    if missing:
        raise ModelError(f"{place.address} lacks {', '.join(missing)}: is it the right model?")


def _licence_of(given: str | None, config: Mapping[str, Any], place: Place, option: str) -> str:
    found = recognised(config)
    if found and given not in (None, found):
        raise ModelError(f"{place.address} is under {found}, not {given}: leave {option} out")
    if licence := given or found:
        return licence
    raise ModelError(f"the licence of {place.address} is not known: give {option}, such as mit")
