import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

from uae.errors import ModelError
from uae.evaluation.judges.base import ChatRequest, JudgeError
from uae.evaluation.judges.loading import load_chat_judge, load_yes_no_judge
from uae.evaluation.judges.vlm import VlmJudge
from uae.evaluation.systems.tiny_composed import tiny_vlm
from uae.models.tokenizer import train_tokenizer
from uae.recipe.judges import VlmJudgeRecipe

CPU = torch.device("cpu")
QUESTIONS = ["Is there a cat?", "Is there a large red cat at the top left?", "Is it?"] * 4
PICTURE_OF = [0, 1, 0, 1, 0, 1, 1, 1, 0, 0, 1, 1]
TOLERANCE = 1e-5  # of a probability; the worst seen is 1e-7


def recipe(**changes):
    fields = {"kind": "vlm", "path": "judge", "dtype": "float32", "max_new_tokens": 6}
    return VlmJudgeRecipe(**(fields | changes))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("weights")
    tiny_vlm(root / "judge")
    return root


@pytest.fixture(scope="module")
def judge(root):
    return VlmJudge.load(recipe(), root / "judge", CPU)


@pytest.fixture(scope="module")
def pictures():
    return list(np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8))


@torch.no_grad()
def test_probabilities_equal_those_of_the_plain_class_for_each_question(root, judge, pictures):
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(root / "judge").eval()
    processor = AutoProcessor.from_pretrained(root / "judge")
    yes, no = ([" " * n + w for n in (0, 1) for w in words] for words in WORDS)
    found = judge.probabilities(pictures, QUESTIONS, PICTURE_OF)
    for question, index, p_yes in zip(QUESTIONS, PICTURE_OF, found, strict=True):
        text = f"{question} Answer with yes or no."
        content = [
            {"type": "image", "image": Image.fromarray(pictures[index])},
            {"type": "text", "text": text},
        ]
        inputs = processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
        p = model(**inputs).logits[0, -1].softmax(dim=-1)
        a, b = (sum(p[i] for i in single(processor.tokenizer, words)) for words in (yes, no))
        assert p_yes == pytest.approx((a / (a + b)).item(), abs=TOLERANCE)
    assert len({round(p, 4) for p in found}) > 5


WORDS = (("yes", "Yes", "YES"), ("no", "No", "NO"))


def single(tokenizer, words):
    ids = [tokenizer(word, add_special_tokens=False)["input_ids"] for word in words]
    return {tokens[0] for tokens in ids if len(tokens) == 1}


def test_a_batch_of_questions_equals_one_by_one(judge, pictures):
    together = judge.probabilities(pictures, QUESTIONS, PICTURE_OF)
    alone = [
        judge.probabilities([pictures[index]], [question], [0])[0]
        for question, index in zip(QUESTIONS, PICTURE_OF, strict=True)
    ]
    assert together == pytest.approx(alone, abs=TOLERANCE)
    assert judge.probabilities(pictures, [], []) == []
    with pytest.raises(ValueError, match="zip"):
        judge.probabilities(pictures, QUESTIONS, [0])


def test_it_answers_in_words_and_an_empty_answer_is_no_verdict(judge, pictures, root, tmp_path):
    requests = [ChatRequest((pictures[0], pictures[1]), "Which?", "You judge."),
                ChatRequest((pictures[0],), "What is it?")]  # fmt: skip
    replies = judge.answer(requests)
    assert all(isinstance(reply, str) and reply for reply in replies)
    assert judge.answer(requests[1:]) == replies[1:]

    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(root / "judge")
    model.generation_config.eos_token_id = list(range(model.config.text_config.vocab_size))
    silent = shutil.copytree(root / "judge", tmp_path / "silent")
    model.save_pretrained(silent)
    model = VlmJudge.load(recipe(max_new_tokens=1), silent, CPU)
    model._model.processor.tokenizer.batch_decode = lambda ids, **_: [" "] * len(ids)
    assert model.answer(requests[1:]) == [JudgeError("the model wrote nothing")]


def test_identity_says_what_answers(judge, root):
    assert judge.identity == {
        "kind": "vlm",
        "sha256": judge.identity["sha256"],
        "model": "Qwen2_5_VLForConditionalGeneration",
        "dtype": "float32",
        "instruction": "Answer with yes or no.",
        "max_new_tokens": "6",
    }
    assert len(judge.identity["sha256"]) == 64
    other = VlmJudge.load(recipe(dtype="bfloat16"), root / "judge", CPU)
    assert other.identity != judge.identity


def test_it_is_what_a_recipe_of_its_kind_loads(root, pictures):
    for load in (load_yes_no_judge, load_chat_judge):
        assert isinstance(load(recipe(), root, CPU), VlmJudge)
        assert isinstance(load(recipe(path=str(root / "judge")), root, CPU), VlmJudge)
        with pytest.raises(ModelError, match="no vision-language model"):
            load(recipe(path="absent"), root, CPU)


def test_a_tokenizer_without_whole_answers_is_refused(root, tmp_path):
    folder = shutil.copytree(root / "judge", tmp_path / "mute")
    train_tokenizer(["a cat"], vocab_size=264).save_pretrained(folder)
    with pytest.raises(ModelError, match="no single token for 'yes' and 'no'"):
        VlmJudge.load(recipe(), folder, CPU)
