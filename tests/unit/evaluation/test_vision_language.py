"""Five families of vision-language models, out of saved folders, against their plain classes."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor
from vision_families import FAMILIES, SIDE, tokenizer_with

from uae.errors import EvaluationError, ModelError
from uae.evaluation.judges.base import ChatRequest
from uae.evaluation.vision_language import CHUNK, VisionLanguageModel

TOLERANCE = 1e-5  # of a logit; the worst of the five families is 6e-7


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request, tmp_path_factory):
    return FAMILIES[request.param](tmp_path_factory.mktemp("family"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return FAMILIES["qwen2_5_vl"](tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def requests():
    """Texts of several lengths, pictures of several sizes, and several, one or no picture."""
    first, second = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)
    wide = np.full((40, 70, 3), 77, dtype=np.uint8)
    return [
        ChatRequest((first,), "Is there a cat?"),
        ChatRequest((second,), "Is there a large red cat?"),
        ChatRequest((wide,), "What?"),
        ChatRequest((first, wide), "Which?"),
        ChatRequest((), "Who?", system="You answer."),
    ]


def plain_inputs(folder, request):
    """One request alone, unpadded, as transformers' documentation shows it."""
    pictures = [{"type": "image", "image": Image.fromarray(p)} for p in request.pictures]
    turns = [{"role": "user", "content": [*pictures, {"type": "text", "text": request.text}]}]
    if request.system:
        turns.insert(0, {"role": "system", "content": [{"type": "text", "text": request.system}]})
    return AutoProcessor.from_pretrained(folder).apply_chat_template(
        turns, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )


@torch.no_grad()
def test_logits_of_a_padded_batch_equal_a_plain_forward_of_each_request(folder, requests):
    logits = VisionLanguageModel.load(folder, "float32", "cpu").next_logits(requests)
    plain = AutoModelForImageTextToText.from_pretrained(folder).eval()
    for request, logits_V in zip(requests, logits, strict=True):
        one = plain(**plain_inputs(folder, request)).logits[0, -1]
        torch.testing.assert_close(logits_V, one, atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_greedy_answers_are_the_likeliest_tokens_one_by_one(folder, requests):
    answers = VisionLanguageModel.load(folder, "float32", "cpu").write(requests, max_new_tokens=4)
    plain = AutoModelForImageTextToText.from_pretrained(folder).eval()
    tokenizer = AutoProcessor.from_pretrained(folder).tokenizer
    inputs = plain_inputs(folder, requests[4])  # no picture: the text alone may grow
    ids = inputs["input_ids"]
    for _ in range(4):
        likeliest = plain(input_ids=ids).logits[:, -1:].argmax(dim=-1)
        ids = torch.cat([ids, likeliest], dim=1)
        if likeliest.item() == tokenizer.eos_token_id:
            break
    own = tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert answers[4] == own.strip()
    assert len(answers) == len(requests)


def test_a_repetition_penalty_of_the_folder_does_not_change_greedy(tiny, requests, tmp_path):
    changed = shutil.copytree(tiny, tmp_path / "changed")
    model = AutoModelForImageTextToText.from_pretrained(changed)
    model.generation_config.repetition_penalty = 100.0
    model.save_pretrained(changed)
    plain, penal = (
        VisionLanguageModel.load(f, "float32", "cpu").write(requests, max_new_tokens=8)
        for f in (tiny, changed)
    )
    assert plain == penal


def test_drawn_answers_come_from_their_seeds_whatever_the_batch(tiny, requests):
    model = VisionLanguageModel.load(tiny, "float32", "cpu")
    settings = {"max_new_tokens": 8, "temperature": 1.0}
    state = torch.get_rng_state()
    together = model.write(requests, seeds=[1, 2, 3, 4, 5], **settings)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.write(requests[1:2], seeds=[2], **settings) == together[1:2]
    assert model.write(requests[1:2], seeds=[9], **settings) != together[1:2]
    with pytest.raises(ValueError, match="zip"):
        model.write(requests, seeds=[1], **settings)


def test_more_requests_than_fit_into_a_chunk_stay_in_order(tiny, requests):
    model = VisionLanguageModel.load(tiny, "float32", "cpu")
    many = [requests[i % 3] for i in range(2 * CHUNK + 1)]
    logits = model.next_logits(many)
    assert logits.shape[0] == len(many)
    torch.testing.assert_close(logits[:3], logits[9:12], atol=TOLERANCE, rtol=0)
    assert (logits[0] - logits[1]).abs().max() > 0.01


def test_weights_are_read_in_the_asked_precision(tiny):
    assert VisionLanguageModel.load(tiny, "bfloat16", "cpu").model.dtype == torch.bfloat16


def test_broken_weights_are_an_error(tiny, requests):
    model = VisionLanguageModel.load(tiny, "float32", "cpu")
    model.model.get_output_embeddings().weight.data.fill_(float("nan"))
    with pytest.raises(EvaluationError, match="NaN"):
        model.next_logits(requests[:1])


def test_a_template_that_refuses_a_system_turn_is_an_error(tiny, requests, tmp_path):
    folder = shutil.copytree(tiny, tmp_path / "strict")
    template = folder / "chat_template.jinja"
    refusal = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    )
    template.write_text(refusal + template.read_text())
    model = VisionLanguageModel.load(folder, "float32", "cpu")
    assert len(model.write(requests[:1], max_new_tokens=1)) == 1
    with pytest.raises(EvaluationError, match="no system"):
        model.write(requests[4:], max_new_tokens=1)


def test_what_is_missing_is_named(tiny, tmp_path):
    with pytest.raises(ModelError, match=r"no config\.json"):
        VisionLanguageModel.load(tmp_path, "float32", "cpu")

    silent = shutil.copytree(tiny, tmp_path / "silent")
    (silent / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match="no chat template"):
        VisionLanguageModel.load(silent, "float32", "cpu")

    blind = shutil.copytree(tiny, tmp_path / "blind")
    (blind / "processor_config.json").unlink()
    with pytest.raises(ModelError, match="blind"):
        VisionLanguageModel.load(blind, "float32", "cpu")

    pickled = shutil.copytree(tiny, tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot be loaded"):
        VisionLanguageModel.load(pickled, "float32", "cpu")


def test_a_model_of_text_alone_is_refused(weights, tmp_path):
    tokenizer_with().save_pretrained(tmp_path)
    shutil.copy(weights / "scorers" / "ssl" / "config.json", tmp_path)
    with pytest.raises(ModelError, match=str(tmp_path)):
        VisionLanguageModel.load(tmp_path, "float32", "cpu")
