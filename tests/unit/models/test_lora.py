import json

import pytest
import torch

from uae.errors import ModelError
from uae.models.autoencoder import AutoEncoder
from uae.recipe import LoraRecipe

LORA = LoraRecipe(rank=2, alpha=4)


def randomise(host, name, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for parameter in host.lora_parameters(name).values():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2


def read(model):
    return model.encoder.hidden_states(["a large red apple"])[0]


def draw(model):
    return model.decoder.velocity(torch.ones(1, 4, 4, 4), 0.5, torch.ones(1, 32, 32))


def test_a_new_adapter_changes_nothing_and_is_trainable(model):
    before = read(model)
    model.encoder.add_lora("new", LORA, seed=0)
    parameters = model.encoder.lora_parameters("new")
    assert torch.equal(read(model), before)
    assert len(parameters) == 2 * 2 * 7  # A and B, two layers, seven linear layers in each
    trainable = {id(p) for p in model.encoder.model.parameters() if p.requires_grad}
    assert trainable == {id(p) for p in parameters.values()}


def test_initialisation_depends_on_seed_and_name_only(bundle):
    def drawn(seed, name):
        model = AutoEncoder.load(bundle)
        model.encoder.add_lora(name, LORA, seed=seed)
        return torch.cat([p.flatten() for p in model.encoder.lora_parameters(name).values()])

    first = drawn(0, "a")
    torch.manual_seed(5)
    assert torch.equal(drawn(0, "a"), first)
    assert not torch.equal(drawn(1, "a"), first)
    assert not torch.equal(drawn(0, "b"), first)
    assert first[first != 0].std().item() == pytest.approx(1 / LORA.rank, rel=0.1)


def test_several_adapters_switch_independently(model):
    base = read(model)
    model.encoder.add_lora("first", LORA, seed=0)
    randomise(model.encoder, "first", 0)
    first = read(model)
    model.encoder.add_lora("second", LORA, seed=0)
    randomise(model.encoder, "second", 1)
    both = read(model)
    with model.encoder.disabled("second"):
        assert torch.equal(read(model), first)
    with model.encoder.use_adapters([]):
        assert torch.equal(read(model), base)
    assert torch.equal(read(model), both)
    assert not torch.equal(first, base)
    assert not torch.equal(first, both)


def test_adapters_come_back_after_an_error(model):
    model.encoder.add_lora("new", LORA, seed=0)
    randomise(model.encoder, "new")
    before = read(model)
    with pytest.raises(RuntimeError), model.encoder.disabled("new"):
        raise RuntimeError
    assert torch.equal(read(model), before)


def test_switching_keeps_gradients(model):
    model.encoder.add_lora("new", LORA, seed=0)
    randomise(model.encoder, "new")
    loss = read(model).square().sum()
    with model.encoder.disabled("new"), torch.no_grad():
        read(model)
    loss.backward()
    grads = [p.grad for p in model.encoder.lora_parameters("new").values()]
    assert all(grad is not None and grad.abs().sum() > 0 for grad in grads)


def test_a_copy_is_frozen_inactive_and_equal(model):
    model.decoder.add_lora("policy", LORA, seed=0)
    randomise(model.decoder, "policy")
    before = draw(model)
    model.decoder.copy_lora("policy", "old")
    assert torch.equal(draw(model), before)
    for name, value in model.decoder.lora_parameters("old").items():
        assert torch.equal(value, model.decoder.lora_parameters("policy")[name])
        assert not value.requires_grad
        assert model.decoder.lora_parameters("policy")[name].requires_grad


def test_merging_keeps_the_function_and_removes_the_adapter(model):
    keys = set(model.encoder.model.state_dict())
    model.encoder.add_lora("new", LORA, seed=0)
    randomise(model.encoder, "new")
    before = read(model)
    model.encoder.merge_lora("new")
    torch.testing.assert_close(read(model), before, atol=1e-5, rtol=1e-5)
    assert set(model.encoder.model.state_dict()) == keys
    assert model.encoder.adapters == ()


def test_merging_one_of_two_leaves_the_other(model):
    for seed, name in enumerate(("kept", "merged")):
        model.encoder.add_lora(name, LORA, seed=0)
        randomise(model.encoder, name, seed)
    before = read(model)
    model.encoder.merge_lora("merged")
    assert model.encoder.adapters == ("kept",)
    torch.testing.assert_close(read(model), before, atol=1e-5, rtol=1e-5)


def test_removing_restores_the_model_to_the_bit(model):
    before = read(model)
    model.encoder.add_lora("new", LORA, seed=0)
    randomise(model.encoder, "new")
    model.encoder.remove_lora("new")
    assert torch.equal(read(model), before)


def test_folding_keeps_the_function_and_the_weights(model):
    model.encoder.add_lora("new", LORA, seed=0)
    randomise(model.encoder, "new")
    before = read(model)
    with model.encoder.folded():
        torch.testing.assert_close(read(model), before, atol=1e-5, rtol=1e-5)
    assert torch.equal(read(model), before)


def test_decoder_adapters_sit_on_the_joint_attention(model):
    model.decoder.add_lora("new", LORA, seed=0)
    names = {name.rpartition(".lora_")[0] for name in model.decoder.lora_parameters("new")}
    first = {name.removeprefix("transformer_blocks.0.") for name in names if ".0." in name[:22]}
    projections = ("to_q", "to_k", "to_v", "to_out.0", "to_add_out")
    added = ("add_q_proj", "add_k_proj", "add_v_proj")
    assert first == {f"attn.{name}" for name in (*projections, *added)}


def test_names_are_checked(model):
    model.encoder.add_lora("taken", LORA, seed=0)
    with pytest.raises(ModelError, match="'taken' already"):
        model.encoder.add_lora("taken", LORA, seed=0)
    with pytest.raises(ModelError, match="no adapter 'absent'; adapters: taken"):
        model.encoder.merge_lora("absent")


def test_saved_adapters_reload_to_the_bit(model, bundle, tmp_path):
    model.encoder.add_lora("new", LORA, seed=0)
    randomise(model.encoder, "new")
    model.encoder.save_lora("new", tmp_path / "0")
    again = AutoEncoder.load(bundle)
    again.encoder.load_lora("other", tmp_path / "0")
    assert torch.equal(read(again), read(model))
    assert not any(p.requires_grad for p in again.encoder.model.parameters())


def test_adapters_load_strictly(model, tmp_path):
    from safetensors.torch import load_file, save_file

    model.encoder.add_lora("new", LORA, seed=0)
    model.encoder.save_lora("new", tmp_path / "0")
    weights = tmp_path / "0" / "adapter_model.safetensors"
    tensors = load_file(weights)
    lost = sorted(tensors)[0]
    save_file({k: v for k, v in tensors.items() if k != lost}, weights)
    with pytest.raises(ModelError, match=f"missing: {lost}"):
        model.encoder.load_lora("other", tmp_path / "0")
    config = json.loads((tmp_path / "0" / "adapter_config.json").read_text())
    config["target_modules"] = ["q_proj"]
    (tmp_path / "0" / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="is not a LoRA on"):
        model.encoder.load_lora("third", tmp_path / "0")
