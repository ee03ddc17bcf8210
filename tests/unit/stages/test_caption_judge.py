import dataclasses

import pytest
import torch
from stage_world import stage_recipe

from uae.models.captioning import WrittenCaptions
from uae.rollouts.captions import rollout_captions
from uae.stages.caption_book import write_book
from uae.stages.caption_judge import Judge
from uae.stages.setting import open_setting

GFU = "generation_for_understanding"


@pytest.fixture
def setting(world):
    recipe = stage_recipe(world, GFU, num_noises=2, rewards={"length": {"weight": 0.5}})
    with open_setting(GFU, recipe, world.data, world.bundle) as setting:
        yield setting


def written(setting, texts):
    ids = setting.model.encoder.tokenizer(texts, padding=True, return_tensors="pt")
    mask = ids.attention_mask.float()
    return WrittenCaptions(ids.input_ids, mask, torch.zeros_like(mask), texts)


def judge_of(setting, indices, base_words=100.0):
    return Judge(setting, setting.scorer("clip"), setting.train, indices, base_words)


def rewards(judge, setting, texts, indices):
    images = setting.images(setting.train, indices)
    return judge.rewards(written(setting, texts), indices, images, 0)


def test_equal_captions_of_a_picture_earn_the_same(setting):
    texts = ["a red car", "a blue car", "a red car", "a red car", "a cat", "a cat"]
    total = rewards(judge_of(setting, [3, 5]), setting, texts, [3, 5]).total_N
    assert total[0] == total[2]
    assert total[4] == total[5]
    assert len({total[0].item(), total[1].item(), total[3].item(), total[4].item()}) == 4


def test_rewards_belong_to_the_sample_and_not_to_its_place_in_the_batch(setting):
    judge = judge_of(setting, [3, 5])
    one = rewards(judge, setting, ["a red car", "a cat", "a sun", "a bus"], [3, 5]).total_N
    other = rewards(judge, setting, ["a sun", "a bus", "a red car", "a cat"], [5, 3]).total_N
    torch.testing.assert_close(one, other[[2, 3, 0, 1]], atol=1e-6, rtol=0)


def test_length_guard_compares_with_the_base_model(setting):
    texts = ["a red car with many many words", "a cat"]
    free = rewards(judge_of(setting, [0]), setting, texts, [0])
    dear = rewards(judge_of(setting, [0], base_words=0.5), setting, texts, [0])
    assert free.parts["length"].tolist() == [0, 0]
    # 7 and 2 words where 4 x 0.5 = 2 are free: 7 / 2 - 1 = 2.5
    assert dear.parts["length"].tolist() == [2.5, 0]
    torch.testing.assert_close(dear.total_N, free.total_N - torch.tensor([1.25, 0]))


@pytest.mark.parametrize("source", ["reencode_text", "in_context"])
def test_each_picture_is_seen_once_and_rewards_are_those_of_captions_alone(
    setting, monkeypatch, source
):
    setting.model.condition_source = source
    monkeypatch.setattr("uae.stages.setting.CHUNK", 3)  # a picture's captions in two chunks
    indices, encoder = [5, 3, 8], setting.model.encoder
    images = setting.images(setting.train, indices)
    section = setting.recipe.generation_for_understanding
    rollout = rollout_captions(encoder, images, section.rollout, setting.generator("captions"))
    judge, tower = judge_of(setting, indices), encoder.image_features
    seen = []
    monkeypatch.setattr(encoder, "image_features", lambda p: seen.append(1) or tower(p))
    judged = judge.rewards(rollout, indices, images, 0).parts["reconstruction"]
    assert seen == []  # the rollout has looked already
    alone = [one_reward(judge, rollout, n, indices, images) for n in range(len(rollout.texts))]
    torch.testing.assert_close(judged, torch.cat(alone), atol=1e-5, rtol=0)
    assert len(judged.unique()) > len(indices)


def one_reward(judge, rollout, n, indices, images):
    """The reward of caption n, its picture looked at anew for it alone."""
    picture = n // rollout.group_size
    rows = slice(n, n + 1)
    ids, mask = rollout.completion_ids_NL[rows], rollout.mask_NL[rows]
    caption = WrittenCaptions(ids, mask, torch.zeros_like(mask), rollout.texts[rows])
    rewards = judge.rewards(caption, [indices[picture]], images[picture : picture + 1], 0)
    return rewards.parts["reconstruction"]


def test_judge_reads_without_the_adapter_that_writes(setting):
    judge, texts = judge_of(setting, [0]), ["a red car", "a cat"]
    before = rewards(judge, setting, texts, [0]).total_N
    encoder = setting.model.encoder
    encoder.add_lora(GFU, setting.recipe.generation_for_understanding.lora, 0)
    for parameter in encoder.lora_parameters(GFU).values():
        parameter.data += 0.3
    assert not torch.equal(rewards(judge, setting, texts, [0]).total_N, before)
    setting.model.caption_adapters.append(GFU)
    torch.testing.assert_close(rewards(judge, setting, texts, [0]).total_N, before)


def test_book_holds_what_the_model_says(setting):
    indices = [7, 2, 4]
    book = write_book(setting, setting.train, indices, max_new_tokens=6)
    images = setting.images(setting.train, [4, 7])
    texts = setting.model.caption(images, max_new_tokens=6)
    assert book.of([4, 7]).texts == texts
    words = [len(text.split()) for text in book.of(indices).texts]
    assert book.mean_words() == pytest.approx(sum(words) / 3)


def test_heldout_samples_are_the_same_for_every_stage(setting):
    chosen = setting.some_heldout(3)
    assert chosen == dataclasses.replace(setting, stage="cold_start").some_heldout(3)
    assert setting.some_heldout(100) == list(range(len(setting.heldout)))
