import pytest
import torch

from uae.errors import ModelError
from uae.models.captioning import score_captions, write_captions

SPECIAL = "<|image_pad|>"


def write(model, images, **changes):
    settings = {"group_size": 2, "max_new_tokens": 6, "temperature": 1.0} | changes
    prompts = model.encoder.caption_prompt(images)
    features = model.encoder.image_features(prompts)
    generator = torch.Generator().manual_seed(3)
    written = write_captions(model.encoder, prompts, features, generator=generator, **settings)
    return written, prompts, features


def test_prompts_are_one_tensor_of_equal_length(model, images):
    prompts = model.encoder.caption_prompt(images)
    image_token = model.encoder.model.config.image_token_id
    assert (prompts.input_ids == image_token).sum(dim=1).tolist() == [16, 16, 16]
    assert prompts.attention_mask.all()
    assert prompts.pixel_values.shape == (3 * 64, 3 * 2 * 4 * 4)
    assert prompts.image_grid_thw.tolist() == [[1, 8, 8]] * 3


@pytest.mark.parametrize("bad", [torch.zeros(2, 32, 32), [torch.zeros(3, 32, 32)]])
def test_other_than_one_tensor_of_images_is_refused(model, bad):
    with pytest.raises(ModelError, match="equal sizes"):
        model.encoder.caption_prompt(bad)


def test_texts_are_taken_literally(model):
    _, mask = model.encoder.hidden_states([SPECIAL, ""])
    assert mask.sum(dim=1).tolist()[1] == model.encoder.num_template_tokens
    assert mask[0].sum() > model.encoder.num_template_tokens + 5  # not one special token


def test_hidden_states_do_not_depend_on_batch_mates(model):
    alone, _ = model.encoder.hidden_states(["a red apple"])
    together, mask = model.encoder.hidden_states(["a red apple", "a small blue cat at the top"])
    torch.testing.assert_close(together[:1, : alone.shape[1]], alone, atol=1e-6, rtol=1e-5)
    assert mask[0].sum() == alone.shape[1]


def test_a_long_text_is_refused_or_cut(model):
    room = model.encoder.num_template_tokens + 3
    text = "a large red apple and a small blue cat"
    with pytest.raises(ModelError, match="too long: the condition holds 3"):
        model.encoder.hidden_states([text], max_tokens=room)
    cut, _ = model.encoder.hidden_states([text], max_tokens=room, overlong="truncate")
    tokenizer = model.encoder.tokenizer
    kept = tokenizer.decode(tokenizer(text).input_ids[:3])
    short, _ = model.encoder.hidden_states([kept], max_tokens=room)
    assert torch.equal(cut, short)


def test_special_tokens_and_unused_rows_are_suppressed(model):
    logits = model.encoder.logits(torch.zeros(1, model.encoder.width))
    tokenizer = model.encoder.tokenizer
    suppressed = set((logits[0] < -1e29).nonzero().flatten().tolist())
    assert suppressed == set(tokenizer.all_special_ids) - {tokenizer.eos_token_id}


def test_captions_end_once_and_are_padded(model, images):
    written, *_ = write(model, images, group_size=16, max_new_tokens=40, temperature=3.0)
    eos, pad = model.encoder.tokenizer.eos_token_id, model.encoder.tokenizer.pad_token_id
    assert written.completion_ids_NL.shape[0] == 48
    num_ended = 0
    for ids, mask in zip(written.completion_ids_NL, written.mask_NL, strict=True):
        length = int(mask.sum())
        assert mask[:length].all()
        assert (ids[length:] == pad).all()
        assert eos not in ids[: length - 1]
        num_ended += int(ids[length - 1] == eos)
    assert 0 < num_ended <= 48
    assert not (written.completion_ids_NL == model.encoder.model.config.image_token_id).any()


def test_scores_are_those_of_the_sampling(model, images):
    for temperature in (1.0, 0.7, 2.5):
        written, prompts, features = write(
            model, images, group_size=8, max_new_tokens=24, temperature=temperature
        )
        ids, mask, log_probs, _ = written
        scores = score_captions(
            model.encoder, prompts, features, ids, mask, temperature=temperature
        )
        torch.testing.assert_close(scores.log_probs_NL, log_probs, atol=1e-5, rtol=0)
        assert (scores.entropy_NL >= 0).all()


def test_entropy_of_a_uniform_policy(model, images):
    written, prompts, features = write(model, images)
    model.encoder.model.lm_head.weight.data.zero_()
    ids, mask = written.completion_ids_NL, written.mask_NL
    scores = score_captions(model.encoder, prompts, features, ids, mask, temperature=1.0)
    allowed = len(model.encoder.tokenizer) - len(model.encoder.tokenizer.all_special_ids) + 1
    expected = torch.log(torch.tensor(float(allowed))) * mask
    torch.testing.assert_close(scores.entropy_NL, expected)
    torch.testing.assert_close(scores.log_probs_NL, -expected)


def test_sampling_follows_the_distribution(model, images):
    written, prompts, features = write(model, images[:1], group_size=4000, max_new_tokens=1)
    counts = torch.bincount(written.completion_ids_NL[:, 0], minlength=400) / 4000
    state = model.encoder.read_prompts(prompts, features)
    probs = model.encoder.logits(state.last_hidden_PD).softmax(dim=-1)[0]
    # Half the sum of absolute differences of 4,000 draws over about 330 tokens is about 0.1.
    assert (counts[: len(probs)] - probs).abs().sum() / 2 < 0.15


def test_same_generator_same_captions(model, images):
    assert write(model, images)[0].texts == write(model, images)[0].texts


def test_sampling_needs_a_generator(model, images):
    prompts = model.encoder.caption_prompt(images)
    features = model.encoder.image_features(prompts)
    with pytest.raises(ValueError, match="needs a generator"):
        write_captions(
            model.encoder, prompts, features, group_size=1, max_new_tokens=2, temperature=1.0
        )


def test_captions_must_be_shared_out_evenly(model, images):
    written, prompts, features = write(model, images)
    with pytest.raises(ValueError, match="5 captions cannot be shared out among 3 images"):
        score_captions(
            model.encoder, prompts, features, written[0][:5], written[1][:5], temperature=1.0
        )
