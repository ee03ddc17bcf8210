"""Judges that GenEval 2 can ask: a model of transformers, and one behind a server."""

import json

import numpy as np
import pytest
import torch
from openai_server import openai_server
from PIL import Image
from vision_families import FAMILIES

from uae.errors import EvaluationError
from uae.evaluation.geneval_2.answers import Question, ask, atom_question
from uae.evaluation.geneval_2.prompts import Atom
from uae.evaluation.geneval_2.run import run
from uae.evaluation.judges.answers import p_first_token
from uae.evaluation.judges.base import JudgeError
from uae.evaluation.judges.server import ServerJudge
from uae.evaluation.judges.vlm import VlmJudge
from uae.evaluation.systems.base import Capabilities
from uae.recipe import Geneval2Recipe, ServerJudgeRecipe, VlmJudgeRecipe

ATOMS = (
    Atom("Are there any cats in the image?", "Yes", "object"),
    Atom("How many cats are in the image?", "two", "count"),
)
TOLERANCE = 1e-6  # of a probability; the worst seen is 3e-9


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights") / "judge"
    FAMILIES["qwen3_vl"](folder)
    return folder


@pytest.fixture(scope="module")
def vlm(folder):
    recipe = {"kind": "vlm", "path": "judge", "dtype": "float32", "max_new_tokens": 6}
    return VlmJudge.load(VlmJudgeRecipe.model_validate(recipe), folder, torch.device("cpu"))


@pytest.fixture
def pictures():
    return list(np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8))


@torch.no_grad()
def published(model, processor, picture, question, forms):
    """The published evaluation: the sum over the first tokens of all forms."""
    content = [{"type": "image", "image": Image.fromarray(picture)}]
    content.append({"type": "text", "text": question})
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        tokenize=True,
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
    )
    shares = model(**inputs).logits[0, -1].softmax(dim=-1)
    first = {processor.tokenizer.encode(form)[0] for form in forms}
    return sum(shares[token].item() for token in first)


def test_a_vision_language_model_answers_as_the_published_script_asks(vlm, pictures):
    questions = [atom_question(picture, atom) for picture in (0, 1) for atom in ATOMS]
    found = ask(vlm, pictures, questions, batch_size=3)
    model = vlm._model
    for question, p in zip(questions, found, strict=True):
        picture = pictures[question.picture]
        right = published(model.model, model.processor, picture, question.text, question.forms)
        assert p == pytest.approx(right, abs=TOLERANCE)
        assert 0 < p < 1


def test_no_question_needs_no_model(vlm):
    assert vlm.answer_probabilities([], [], [], []) == []


def test_a_token_that_begins_two_forms_counts_once():
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.2]]))
    assert p_first_token(logits, [[0, 2]]) == [pytest.approx(0.7)]


def test_broken_logits_are_no_answer():
    with pytest.raises(EvaluationError, match="NaN"):
        p_first_token(torch.tensor([[0.0, float("nan")]]), [[0]])


def server_recipe(url, *, log_probs=True):
    server = {
        "base_url": url,
        "api_key_env": None,
        "timeout_seconds": 5.0,
        "max_attempts": 1,
        "backoff_seconds": 0.0,
        "concurrency": 2,
    }
    fields = {"kind": "server", "server": server, "model": "judge-1", "max_new_tokens": 5}
    return ServerJudgeRecipe.model_validate(fields | {"log_probs": log_probs})


def test_a_servers_likeliest_tokens_are_added_up(pictures):
    chances = {"two": 0.4, " Two": 0.1, "2": 0.2, "three": 0.2, "twofold": 0.05, "TWO": 0.05}
    with openai_server(answer=lambda pictures, text: chances) as server:
        judge = ServerJudge(server_recipe(server.url))
        asked = [atom_question(0, ATOMS[1]), Question(1, "Any?", ("Yes", "yes"))]
        assert ask(judge, pictures, asked, batch_size=2) == [pytest.approx(0.7), 0.0]
        texts = {came.body["messages"][0]["content"][1]["text"] for came in server.requests}
    assert texts == {"How many cats are in the image? Answer in one word.", "Any?"}


def test_a_servers_fault_is_an_error_of_the_judge(pictures):
    with openai_server(answer=lambda pictures, text: {"Yes": 1.0}) as server:
        server.misbehave("500")
        judge = ServerJudge(server_recipe(server.url))
        (found,) = ask(judge, pictures, [atom_question(0, ATOMS[0])], batch_size=1)
    assert isinstance(found, JudgeError)


def test_a_server_without_log_probabilities_is_refused(pictures):
    with openai_server() as server:
        judge = ServerJudge(server_recipe(server.url, log_probs=False))
        with pytest.raises(EvaluationError, match="set log_probs to true"):
            ask(judge, pictures, [atom_question(0, ATOMS[0])], batch_size=1)
        server.log_probs = False
        judge = ServerJudge(server_recipe(server.url))
        with pytest.raises(EvaluationError, match="gives no log-probabilities"):
            ask(judge, pictures, [atom_question(0, ATOMS[0])], batch_size=1)


class Grey:
    """A system that paints everything grey."""

    def __init__(self):
        self.identity = {"name": "grey", "kind": "test", "sha256": "0" * 64}
        self.capabilities = Capabilities(captions=False, pictures=True)
        self.settings = {}

    def caption(self, requests):
        raise NotImplementedError

    def generate(self, requests):
        return [np.full((32, 32, 3), 128, np.uint8) for _ in requests]

    def close(self):
        pass


def test_a_whole_evaluation_with_a_model(folder, context, tmp_path):
    row = {
        "prompt": "two cats",
        "atom_count": 2,
        "vqa_list": [[atom.question, atom.answer] for atom in ATOMS],
        "skills": [atom.skill for atom in ATOMS],
    }
    (tmp_path / "prompts.jsonl").write_text(json.dumps(row))
    recipe = {
        "prompts": {"source": str(tmp_path / "prompts.jsonl"), "sha256": None},
        "num_prompts": None,
        "judge": {"kind": "vlm", "path": str(folder), "dtype": "float32", "max_new_tokens": 6},
    }
    settings = Geneval2Recipe.model_validate(recipe)
    result = run(settings, context(), Grey(), tmp_path / "out")
    assert 0 < result.score < result.metrics["soft_tifa_am"].score < 1
    assert result.judges["answers"]["model"] == "Qwen3VLForConditionalGeneration"
