import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from uae.errors import ModelError
from uae.models.autoencoder import AutoEncoder
from uae.models.bundle import bundle_sha, read_info, resolve_base

WEIGHT_FILES = [
    "encoder/model.safetensors",
    "transformer/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
    "connector/connector.safetensors",
    "pooled_projection.safetensors",
]


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "copy"))


def test_tiny_bundle_is_small_and_deterministic(bundle, tmp_path):
    from uae.models.tiny import tiny_bundle

    assert sum(path.stat().st_size for path in bundle.rglob("*") if path.is_file()) < 1_000_000
    assert bundle_sha(tiny_bundle(tmp_path / "again")) == bundle_sha(bundle)


def test_sha_depends_on_names_and_bytes(copy):
    before = bundle_sha(copy)
    info = json.loads((copy / "model.json").read_text())
    (copy / "model.json").write_text(json.dumps(info | {"parent": "x"}))
    changed = bundle_sha(copy)
    (copy / "more").write_text("")
    assert len({before, changed, bundle_sha(copy)}) == 3


@pytest.mark.parametrize("name", WEIGHT_FILES)
def test_a_missing_tensor_is_named(copy, name):
    tensors = load_file(copy / name)
    lost = sorted(tensors)[-1]
    del tensors[lost]
    save_file(tensors, copy / name, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=f"missing.*{lost.rpartition('.')[2]}"):
        AutoEncoder.load(copy)


@pytest.mark.parametrize("name", WEIGHT_FILES)
def test_an_unexpected_tensor_is_named(copy, name):
    tensors = load_file(copy / name) | {"surplus.weight": torch.zeros(1)}
    save_file(tensors, copy / name, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"unexpected.*surplus\.weight"):
        AutoEncoder.load(copy)


@pytest.mark.parametrize("name", WEIGHT_FILES)
def test_a_misshapen_tensor_is_an_error(copy, name):
    tensors = load_file(copy / name)
    changed = sorted(tensors)[-1]
    tensors[changed] = torch.zeros(*tensors[changed].shape, 2)
    save_file(tensors, copy / name, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=changed.rpartition(".")[2]):
        AutoEncoder.load(copy)


@pytest.mark.parametrize("name", WEIGHT_FILES)
def test_a_broken_file_is_an_error(copy, name):
    (copy / name).write_bytes(b"not safetensors")
    with pytest.raises(ModelError, match=Path(name).parts[0]):
        AutoEncoder.load(copy)


def test_pickled_weights_are_not_read(copy):
    safe = copy / "encoder" / "model.safetensors"
    torch.save(load_file(safe), safe.with_name("pytorch_model.bin"))
    safe.unlink()
    with pytest.raises(ModelError, match=r"encoder cannot be loaded.*model\.safetensors"):
        AutoEncoder.load(copy)


def test_missing_files_are_named(copy):
    (copy / "connector" / "config.json").unlink()
    (copy / "encoder" / "tokenizer.json").unlink()
    with pytest.raises(
        ModelError, match=r"encoder/tokenizer\.json, connector/config\.json missing"
    ):
        read_info(copy)


def test_model_json_is_checked(copy):
    (copy / "model.json").write_text('{"format": 2}')
    with pytest.raises(ModelError, match=r"(?s)model\.json is not valid.*format"):
        read_info(copy)


def test_weights_in_16_bit_become_float32(bundle, copy):
    AutoEncoder.load(bundle).save(copy, stage="base", parent=None, dtype=torch.float16)
    assert {t.dtype for t in load_file(copy / WEIGHT_FILES[0]).values()} == {torch.half}
    model = AutoEncoder.load(copy)
    modules = (model.encoder.model, model.connector, model.decoder.transformer, model.decoder.vae)
    parameters = [p for module in modules for p in module.parameters()]
    assert {p.dtype for p in parameters} == {torch.float32}
    assert not any(p.requires_grad for p in parameters)


def test_save_and_load_keep_every_bit(bundle, tmp_path):
    AutoEncoder.load(bundle).save(tmp_path / "again", stage="base", parent=None)
    assert bundle_sha(tmp_path / "again") == bundle_sha(bundle)


def test_resolve_base(bundle, tmp_path):
    assert resolve_base(str(bundle)) == bundle
    with pytest.raises(ModelError, match=r"models\.base .*no model\.json"):
        resolve_base(str(tmp_path))
