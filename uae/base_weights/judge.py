"""The starter judge: a small Qwen2.5-VL that answers yes or no, trained on claims about scenes.

Questions come from `uae.evaluation.claims` and are put through `uae.evaluation.judges.starter`, so
that the judge is asked in evaluation what it was taught here, in the same form. Half of the answers
are yes. Of the false claims, half say something wrong about a class that is there, half are true of
another scene. It starts from the captioner as it was before it learnt to be terse: that one sees
everything, so its vision tower stays frozen and only the answering is learnt, helped by a head that
is thrown away afterwards (`claim_subjects`).
"""

import json
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers.models.qwen2.tokenization_qwen2 import Qwen2Tokenizer
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLForConditionalGeneration

from uae.base_weights import encoder as encoder_weights
from uae.base_weights.claim_subjects import SubjectHead, subject_truths
from uae.base_weights.clip_batches import augment
from uae.base_weights.pixels import to_pixels
from uae.base_weights.scenes_pool import scene_pool
from uae.base_weights.trainer import TrainerSettings, load_trained, run_training
from uae.data.facts import SceneFacts
from uae.evaluation.claims import VALUES, Claim, false_claims, true_claims
from uae.evaluation.judges.base import INSTRUCTION
from uae.evaluation.judges.starter import (
    StarterJudge,
    answer_ids,
    answer_logits,
    build_questions,
)
from uae.evaluation.pictures import Pixels
from uae.evaluation.pictures import to_pixels as to_bytes
from uae.models.encoder import Encoder
from uae.models.image_processor import ImageProcessor
from uae.models.tokenizer import SPECIAL_TOKENS, train_tokenizer
from uae.replacement import replaced_atomically
from uae.seeds import derive_seed, make_generator

NAME = "judge"
SEED = 51
POOL_SIZE = 30_000
NUM_PICTURES = 16  # in a batch
QUESTIONS_PER_PICTURE = 8
VOCAB_SIZE = 448
ENDS = {"bos": "<|endoftext|>", "eos": "<|im_end|>", "pad": "<|endoftext|>"}
PLACEHOLDERS = {
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
}
SUBJECT_WEIGHT = 3.0
NUM_LAYERS = 3  # of the captioner's 4
SETTINGS = TrainerSettings(
    num_steps=2_400, learning_rate=1e-3, warmup_steps=50, ema_decay=0.995, bf16=False
)
REFINE = replace(SETTINGS, num_steps=2_000, learning_rate=7e-4)
COUNT = replace(SETTINGS, num_steps=700, learning_rate=5e-4, warmup_steps=20)


class Questions(NamedTuple):
    """Claims about pictures, with their answers."""

    pictures: list[Pixels]
    claims: list[Claim]
    picture_of: list[int]
    truth: list[bool]
    subjects: list[list[float]]  # see `claim_subjects`


def build_judge() -> tuple[Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer, ImageProcessor]:
    """Return the untrained model, its tokenizer and its image processor."""
    tokenizer = train_tokenizer(_tokenizer_texts(), VOCAB_SIZE)
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in SPECIAL_TOKENS}
    seeing = encoder_weights.build_encoder()
    config = Qwen2_5_VLConfig(**seeing.model.config.to_dict())
    config.text_config.update(
        {"vocab_size": len(tokenizer), "num_hidden_layers": NUM_LAYERS}
        | {f"{name}_token_id": ids[token] for name, token in ENDS.items()}
    )
    config.text_config.layer_types = config.text_config.layer_types[:NUM_LAYERS]
    for name, token in PLACEHOLDERS.items():
        setattr(config, name, ids[token])
    torch.manual_seed(SEED)
    return Qwen2_5_VLForConditionalGeneration(config), tokenizer, seeing.image_processor


def learn_from(judge: Any, tokenizer: Qwen2Tokenizer, encoder: Encoder) -> None:
    """Copy the captioner's vision tower (frozen), first layers, and embeddings of shared tokens."""
    judge.model.visual.load_state_dict(encoder.model.model.visual.state_dict())
    judge.model.visual.requires_grad_(False)
    source, target = encoder.model.model.language_model, judge.model.language_model
    for own, other in zip(target.layers, source.layers, strict=False):
        own.load_state_dict(other.state_dict())
    target.norm.load_state_dict(source.norm.state_dict())
    known = encoder.tokenizer.get_vocab()
    with torch.no_grad():
        for token, index in tokenizer.get_vocab().items():
            if token in known:
                target.embed_tokens.weight[index] = source.embed_tokens.weight[known[token]]


def ask(
    facts: SceneFacts, other: SceneFacts, num_questions: int, rng: random.Random
) -> list[Claim]:
    """Draw claims about a scene, half of them true; `other` lends claims that may be false."""
    true = true_claims(facts)
    wrong = false_claims(facts, rng)
    elsewhere = [claim for claim in true_claims(other) if not claim.holds(facts)]
    elsewhere.append(Claim("word", rng.choice([w for w in VALUES["word"] if w != facts.word])))
    half = num_questions // 2
    claims = _some(true, half, rng) + _some(wrong, half - half // 2, rng)
    return claims + _some(elsewhere, num_questions - len(claims), rng)


def ask_with_counts(
    facts: SceneFacts, other: SceneFacts, num_questions: int, rng: random.Random
) -> list[Claim]:
    """Draw claims as `ask` does, half of them about numbers where several of a class are there."""
    true = [claim for claim in true_claims(facts) if claim.kind == "count"]
    if not true:
        return ask(facts, other, num_questions, rng)
    names = sorted({thing.name for thing in facts.objects})
    false = [Claim("count", value, name) for value in VALUES["count"] for name in names]
    false = [claim for claim in false if not claim.holds(facts)]
    quarter = num_questions // 4
    counts = _some(true, quarter, rng) + _some(false, quarter, rng)
    return counts + ask(facts, other, num_questions - len(counts), rng)


def draw_questions(
    images: NDArray[np.uint8],
    facts: Sequence[SceneFacts],
    seed: int,
    step: int,
    several: Sequence[int] = (),
) -> Questions:
    """Draw the step's questions; half of its pictures out of `several`, where that is given."""
    rng = random.Random(derive_seed(seed, "judge-batch", step))
    chosen = rng.sample(several, NUM_PICTURES // 2) if several else []
    chosen += rng.sample(range(len(facts)), NUM_PICTURES - len(chosen))
    pixels = augment(to_pixels(images[chosen]), make_generator(seed, "judge-augment", step))
    claims: list[Claim] = []
    for index in chosen:
        other = facts[rng.randrange(len(facts))]
        draw = ask_with_counts if several else ask
        claims += draw(facts[index], other, QUESTIONS_PER_PICTURE, rng)
    picture_of = [n // QUESTIONS_PER_PICTURE for n in range(len(claims))]
    truth = [c.holds(facts[chosen[p]]) for c, p in zip(claims, picture_of, strict=True)]
    subjects = [
        subject_truths(c, facts[chosen[p]]) for c, p in zip(claims, picture_of, strict=True)
    ]
    return Questions(to_bytes(pixels), claims, picture_of, truth, subjects)


def train(work: Path) -> None:
    """Train, or continue, the judge in `work`."""
    images, facts = scene_pool(POOL_SIZE, SEED)
    model, tokenizer, processor = build_judge()
    learn_from(model, tokenizer, encoder_weights.load(work, "see"))
    head = SubjectHead(model, model.config.text_config.hidden_size)
    yes, no = answer_ids(tokenizer)

    several = [n for n, f in enumerate(facts) if any(c.kind == "count" for c in true_claims(f))]

    def loss_at(first: int, counting: bool, step: int) -> Tensor:
        asked = draw_questions(images, facts, SEED, first + step, several if counting else ())
        texts = [claim.question for claim in asked.claims]
        inputs = build_questions(tokenizer, processor, asked.pictures, texts, asked.picture_of)
        answers = torch.tensor([yes if true else no for true in asked.truth])
        loss = functional.cross_entropy(answer_logits(model, inputs), answers)
        return loss + SUBJECT_WEIGHT * head.loss(asked.subjects)

    first = 0
    for phase, settings in (("learn", SETTINGS), ("refine", REFINE), ("count", COUNT)):
        run_training(
            f"{NAME}/{phase}",
            work / NAME / phase,
            modules={"judge": model, "head": head},
            loss_fn=partial(loss_at, first, phase == "count"),
            settings=settings,
            checkpoint_every=300,
            validate=lambda: measure(StarterJudge(model, tokenizer, processor, identity={})),
        )
        first += settings.num_steps


def measure(judge: StarterJudge, *, num_scenes: int = 100, seed: int = 0) -> dict[str, float]:
    """Return the accuracy on held-out scenes by kind of claim, over true and false claims alike."""
    images, facts = scene_pool(num_scenes, seed, split="heldout")
    rng = random.Random(seed)
    right: dict[str, list[float]] = defaultdict(list)
    for index in range(0, num_scenes, 10):
        claims, picture_of, truth = [], [], []
        for offset, scene in enumerate(facts[index : index + 10]):
            asked = ask(scene, facts[rng.randrange(num_scenes)], 12, rng)
            claims += asked
            picture_of += [offset] * len(asked)
            truth += [claim.holds(scene) for claim in asked]
        questions = [claim.question for claim in claims]
        p_yes = judge.probabilities(list(images[index : index + 10]), questions, picture_of)
        said = torch.tensor(p_yes) > 0.5
        for claim, answer, true in zip(claims, said.tolist(), truth, strict=True):
            right[f"accuracy/{claim.kind}"].append(answer == true)
            right[f"accuracy/{'yes' if true else 'no'}"].append(answer == true)
            right["accuracy"].append(answer == true)
    return {name: float(np.mean(answers)) for name, answers in sorted(right.items())}


def publish(work: Path, weights: Path) -> dict[str, float]:
    """Write the latest checkpoint in 16 bit to `weights`/judge; return its held-out figures."""
    model, tokenizer, processor = build_judge()
    head = SubjectHead(model, model.config.text_config.hidden_size)
    load_trained(work / NAME / "count", {"judge": model, "head": head})
    with replaced_atomically(weights / NAME) as out:
        model.half().save_pretrained(out)
        tokenizer.save_pretrained(out)
        processor.save(out)
        figures = measure(StarterJudge.load(out), num_scenes=300)
        (out / "metrics.json").write_text(json.dumps(figures, indent=2), encoding="utf-8")
    return figures


def _some(claims: Sequence[Claim], number: int, rng: random.Random) -> list[Claim]:
    """Return that many claims, repeating only when there are too few."""
    claims = rng.sample(claims, len(claims))
    return [claims[n % len(claims)] for n in range(number)]


def _tokenizer_texts() -> list[str]:
    """Return every question that can be asked, in its turn, with both answers."""
    names = VALUES["entity"]
    claims: list[Claim] = []
    for kind, values in VALUES.items():
        about = [""] if kind in ("entity", "background", "word") else names
        claims += [Claim(kind, value, name) for value in values for name in about]
    texts = [f"user\n{claim.question} {INSTRUCTION}" for claim in claims]
    return texts + ["assistant\nyes", "assistant\nno"] * len(texts)
