import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor, BlipForQuestionAnswering

from uae.errors import EvaluationError, ModelError
from uae.evaluation.judges.base import JudgeError
from uae.evaluation.judges.blip import BlipJudge
from uae.evaluation.judges.loading import load_yes_no_judge
from uae.evaluation.systems.tiny_composed import tiny_blip, tiny_vlm
from uae.recipe.judges import BlipJudgeRecipe

CPU = torch.device("cpu")
QUESTIONS = ["Is there a cat?", "Is there a large red cat at the top left?", "Is it?"] * 14
PICTURE_OF = [index % 2 for index in range(len(QUESTIONS))]  # more than one forward pass
TOLERANCE = 1e-5  # of a probability; the worst seen is 3e-7


def recipe(dtype="float32", path="judge"):
    return BlipJudgeRecipe(kind="blip_vqa", path=path, dtype=dtype)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("weights")
    tiny_blip(root / "judge")
    return root


@pytest.fixture(scope="module")
def judge(root):
    return BlipJudge.load(recipe(), root / "judge", CPU)


@pytest.fixture(scope="module")
def pictures():
    shapes = ((32, 32, 3), (40, 70, 3))
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]


def test_probabilities_equal_those_of_generate_for_each_question(root, judge, pictures):
    model = BlipForQuestionAnswering.from_pretrained(root / "judge").eval()
    processor = AutoProcessor.from_pretrained(root / "judge")
    found = judge.probabilities(pictures, QUESTIONS, PICTURE_OF)
    yes, no = processor.tokenizer.convert_tokens_to_ids(["yes", "no"])
    for question, index, p_yes in list(zip(QUESTIONS, PICTURE_OF, found, strict=True))[:6]:
        inputs = processor(Image.fromarray(pictures[index]), question, return_tensors="pt")
        out = model.generate(
            **inputs, max_new_tokens=1, output_logits=True, return_dict_in_generate=True
        )
        p = out.logits[0][0].softmax(dim=-1)
        assert p_yes == pytest.approx((p[yes] / (p[yes] + p[no])).item(), abs=TOLERANCE)
    assert len({round(p, 4) for p in found[:6]}) == 6


def test_a_batch_of_questions_equals_one_by_one(judge, pictures):
    together = judge.probabilities(pictures, QUESTIONS, PICTURE_OF)
    alone = [
        judge.probabilities([pictures[index]], [question], [0])[0]
        for question, index in zip(QUESTIONS, PICTURE_OF, strict=True)
    ]
    assert together == pytest.approx(alone, abs=TOLERANCE)


def test_every_picture_is_encoded_once(judge, pictures):
    seen = []
    hook = judge._model.vision_model.register_forward_hook(
        lambda module, args, output: seen.append(len(output.last_hidden_state))
    )
    judge.probabilities(pictures, QUESTIONS, PICTURE_OF)
    hook.remove()
    assert seen == [2]


def test_nothing_asked_is_nothing_answered(judge, pictures):
    assert judge.probabilities(pictures, [], []) == []
    with pytest.raises(ValueError, match="2 indices"):
        judge.probabilities(pictures, QUESTIONS[:1], [0, 1])


def test_a_question_that_is_too_long_has_no_answer_and_the_others_have_theirs(judge, pictures):
    found = judge.probabilities(pictures, [QUESTIONS[0], "cat " * 400, QUESTIONS[1]], [0, 0, 1])
    assert isinstance(found[1], JudgeError)
    assert "takes a question of 128 tokens, not of 4" in found[1].reason
    assert found[::2] == pytest.approx(judge.probabilities(pictures, QUESTIONS[:2], [0, 1]))


def test_broken_weights_are_never_a_no(root, pictures):
    judge = BlipJudge.load(recipe(), root / "judge", CPU)
    judge._model.text_decoder.cls.predictions.decoder.weight.data.fill_(float("nan"))
    with pytest.raises(EvaluationError, match="NaN"):
        judge.probabilities(pictures, QUESTIONS[:1], [0])


def test_identity_and_precision(root, judge, pictures):
    assert set(judge.identity) == {"kind", "sha256", "dtype"}
    half = load_yes_no_judge(recipe("bfloat16"), root, CPU)
    assert half.identity["dtype"] == "bfloat16"
    found = half.probabilities(pictures, QUESTIONS[:4], PICTURE_OF[:4])
    exact = judge.probabilities(pictures, QUESTIONS[:4], PICTURE_OF[:4])
    assert found == pytest.approx(exact, abs=0.1)
    assert found != exact


def test_what_is_no_blip_vqa_is_refused(root, tmp_path):
    with pytest.raises(ModelError, match="no judge"):
        BlipJudge.load(recipe(), tmp_path, CPU)
    with pytest.raises(ModelError, match="not BlipForQuestionAnswering"):
        BlipJudge.load(recipe(), tiny_vlm(tmp_path / "vlm"), CPU)

    bare = shutil.copytree(root / "judge", tmp_path / "bare")
    for name in ("processor_config.json", "tokenizer.json", "tokenizer_config.json"):
        (bare / name).unlink()
    with pytest.raises(ModelError, match="bare"):
        BlipJudge.load(recipe(), bare, CPU)

    pickled = shutil.copytree(root / "judge", tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot be loaded"):
        BlipJudge.load(recipe(), pickled, CPU)
