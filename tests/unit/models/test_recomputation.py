"""Recomputed blocks: the same gradients to the bit, less memory, the adapters of the first pass."""

import pytest
import torch

from uae.models.autoencoder import AutoEncoder
from uae.models.captioning import score_captions
from uae.models.precision import compute_lowered, encoder_blocks, lower
from uae.models.recomputation import recompute_blocks
from uae.planning.trace import trace
from uae.recipe import LoraRecipe, SamplerRecipe

LORA = LoraRecipe(rank=2, alpha=4)


def prepared(bundle, *, recomputed, lowered=False):
    model = AutoEncoder.load(bundle)
    if recomputed:
        recompute_blocks(model)
    if lowered:
        lower(encoder_blocks(model).blocks)
        compute_lowered(encoder_blocks(model).blocks)
    generator = torch.Generator().manual_seed(0)
    for host in (model.encoder, model.decoder):
        host.add_lora("x", LORA, seed=0)
        for parameter in host.lora_parameters("x").values():
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
    model.connector.requires_grad_(True)
    return model


def gradients(model, loss):
    loss.backward()
    found = {
        **{f"e/{n}": p.grad for n, p in model.encoder.lora_parameters("x").items()},
        **{f"d/{n}": p.grad for n, p in model.decoder.lora_parameters("x").items()},
        **{f"c/{n}": p.grad for n, p in model.connector.named_parameters()},
    }
    return {name: grad for name, grad in found.items() if grad is not None}


def scored(model, images, length=5):
    """The log-probs of two captions of each image, which share the cached prompt."""
    prompts = model.encoder.caption_prompt(images)
    with torch.no_grad():
        features = model.encoder.image_features(prompts)
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(256, 300, (2 * len(images), length), generator=generator)
    scores = score_captions(
        model.encoder, prompts, features, ids, torch.ones(ids.shape), temperature=1.0
    )
    return scores.log_probs_NL.mean()


def drawn(model, images):
    """A picture through the whole sampler, whose steps are recomputed as well."""
    condition = model.condition_from_captions(["a red apple"] * len(images))
    noise = torch.ones(len(images), *model.decoder.latent_shape(32))
    sampler = SamplerRecipe(num_steps=3, guidance_scale=1.0)
    return model.generate_from_condition(condition, noise, sampler, checkpoint=True).mean()


@pytest.mark.parametrize("loss", [scored, drawn, lambda m, i: scored(m, i, length=1)])
@pytest.mark.parametrize("lowered", [False, True])
def test_gradients_are_those_without_it_to_the_bit(bundle, images, loss, lowered):
    models = [prepared(bundle, recomputed=r, lowered=lowered) for r in (False, True)]
    kept, recomputed = (gradients(model, loss(model, images)) for model in models)
    assert kept.keys() == recomputed.keys()
    assert len(kept) > 0
    assert [name for name in kept if not torch.equal(kept[name], recomputed[name])] == []
    assert max(grad.abs().max() for grad in kept.values()) > 0


def test_less_is_kept_for_the_backward_pass(bundle, images):
    models = [prepared(bundle, recomputed=r) for r in (False, True)]
    kept, recomputed = (
        trace(lambda model=model: scored(model, images, 40).backward()) for model in models
    )
    # Of two blocks of each model one is there at a time; logits, which stay, are most of the rest.
    assert recomputed.peak_bytes < 0.75 * kept.peak_bytes
    assert recomputed.flops > kept.flops


def test_a_recomputed_block_has_the_adapters_of_its_forward_pass(bundle, images):
    def read_without(model):
        with model.encoder.disabled("x"):
            hidden, _ = model.encoder.hidden_states(["a red apple"])
        return model.connector(hidden * scale).mean()

    scale = torch.ones(1, requires_grad=True)
    found = []
    for recomputed in (False, True):
        model = prepared(bundle, recomputed=recomputed)
        embedding = model.encoder.model.model.language_model.embed_tokens.requires_grad_(True)
        gradients(model, read_without(model))
        found.append(embedding.weight.grad)
        assert model.encoder.active == ("x",)
    assert torch.equal(*found)


def test_nothing_is_recomputed_where_no_gradient_is_recorded(bundle, images):
    models = [prepared(bundle, recomputed=r) for r in (False, True)]
    with torch.no_grad():
        costs = [trace(lambda model=model: scored(model, images)) for model in models]
    assert costs[0] == costs[1]
