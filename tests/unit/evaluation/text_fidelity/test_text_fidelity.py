import json

import pytest

from uae.data.starter.captions import complete_caption
from uae.errors import EvaluationError
from uae.evaluation.benchmark_scenes import scene_picture
from uae.evaluation.journal import Shard, Unfinished
from uae.evaluation.results import check_comparable, read_samples
from uae.evaluation.systems.base import Capabilities, Failure
from uae.evaluation.text_fidelity.rendering import render
from uae.evaluation.text_fidelity.run import evaluate, run
from uae.recipe import PromptFile, TextFidelityRecipe

NUM = 5  # batches of 4: two of them


def settings(prompts="scenes", count=NUM):
    return TextFidelityRecipe(prompts=prompts, num_prompts=count, upscale_to=256)


@pytest.fixture(scope="module")
def worded(scenes):
    return [facts for facts in scenes if facts.word][:NUM]


@pytest.fixture
def system(painter, scenes):
    """Make a system that paints every scene rightly; `instead` paints others."""

    def make(instead=None, **changes):
        scene_of_text = {complete_caption(facts): facts for facts in scenes}
        scene_of_text |= {complete_caption(a): b for a, b in (instead or {}).items()}
        return painter(scene_of_text, scenes, **changes)

    return make


@pytest.fixture
def judge(scenes):
    """Judge by a reader that knows the scenes: OCR takes half a second for each picture."""
    words = {scene_picture(facts).tobytes(): [facts.word or ""] for facts in scenes}

    class Lookup:
        def read(self, picture):
            return words[picture.tobytes()]

    def make(asked, its_context, system, out):
        return evaluate(asked, its_context, system, out, lambda upscale_to: Lookup())

    return make


def content(folder):
    files = [p for p in folder.rglob("*") if p.suffix in (".png", ".parquet") or p.parent == folder]
    return {str(p.relative_to(folder)): p.read_bytes() for p in files if p.is_file()}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return tmp_path_factory.mktemp("plain")


def test_a_perfect_system_reaches_the_ceiling(context, system, tmp_path, worded):
    result = run(settings(count=3), context(), system(), tmp_path)
    assert result.score == result.metrics["ocr_ceiling"].score == 1
    assert result.metrics["transcription"].score == 1
    assert result.metrics["transcription_exact"].score == 1
    assert result.metrics["edit_similarity"].score == 1
    assert result.metrics["exact_match"].score == result.metrics["ocr_ceiling_exact"].score
    assert (result.protocol, result.unit, result.num_samples) == ("text-fidelity", "share", 3)
    assert result.judges["reader"]["kind"] == "rapidocr"
    assert result.self_test["accuracy"] == 1
    for sample, facts in zip(read_samples(tmp_path), worded[:3], strict=True):
        assert sample.evidence["words"]["asked"] == [facts.word]
        assert facts.word in sample.evidence["words"]["read"]
        assert sample.caption == complete_caption(facts)
        assert all((tmp_path / path).is_file() for path in sample.images.values())
        assert set(sample.images) == {"generated", "original"}


def test_wrong_words_are_counted_by_hand(context, judge, system, tmp_path, worded):
    """The first picture carries another word; nothing else changes."""
    other = next(facts for facts in worded if facts.word != worded[0].word)
    result = judge(settings(), context(), system({worded[0]: other}), tmp_path)
    assert result.score == pytest.approx((NUM - 1) / NUM)
    first, *rest = read_samples(tmp_path)
    assert (first.score, first.state) == (0, "scored")
    assert 0 <= first.model_extra["edit_similarity"] < 1
    assert [sample.score for sample in rest] == [1] * (NUM - 1)
    assert result.metrics["ocr_ceiling"].score == 1


def test_wrong_transcriptions_do_not_touch_the_score(context, judge, system, tmp_path, worded):
    liar = system()
    write = liar.caption
    liar.caption = lambda requests: [
        caption.replace(worded[0].word, worded[0].word.lower()) for caption in write(requests)
    ]
    result = judge(settings(), context(), liar, tmp_path)
    same = sum(facts.word == worded[0].word for facts in worded)
    assert result.score == 1
    assert result.metrics["transcription"].score == 1  # case does not count among words
    assert result.metrics["transcription_exact"].score == pytest.approx((NUM - same) / NUM)


def test_who_only_paints_has_no_transcription(context, judge, system, tmp_path):
    mute = system()
    mute.capabilities = Capabilities(captions=False, pictures=True)
    result = judge(settings(), context(), mute, tmp_path)
    assert (result.score, result.states["scored"]) == (1, NUM)
    assert result.metrics["transcription"].model_dump() == {
        "score": None,
        "interval": None,
        "num_samples": 0,
    }


def test_who_only_writes_is_judged_by_that_under_a_protocol_of_its_own(
    context, judge, system, tmp_path, monkeypatch
):
    monkeypatch.setitem(__import__("sys").modules, "rapidocr", None)  # nothing is read
    blind = system()
    blind.capabilities = Capabilities(captions=True, pictures=False)
    result = judge(settings(), context(), blind, tmp_path / "writes")
    assert (result.score, result.protocol) == (1, "text-fidelity/transcription")
    assert (result.judges, result.self_test) == ({}, None)
    assert result.metrics["ocr_ceiling"].score is None
    words = read_samples(tmp_path / "writes")[0].evidence["words"]
    assert words["read"] == words["asked"]
    monkeypatch.undo()
    other = judge(settings(count=1), context(), system(), tmp_path / "both")
    with pytest.raises(EvaluationError, match="protocol"):
        check_comparable(result, other)


def test_who_can_do_neither_is_refused(context, judge, system, tmp_path):
    stone = system()
    stone.capabilities = Capabilities(captions=False, pictures=False)
    with pytest.raises(EvaluationError, match="write captions"):
        judge(settings(), context(), stone, tmp_path)


def test_failures_leave_the_score_open(context, judge, system, tmp_path, worded):
    result = judge(settings(), context(), system(failing=[complete_caption(worded[1])]), tmp_path)
    assert (result.score, result.states["missing"]) == (None, 1)
    assert result.bounds == pytest.approx(((NUM - 1) / NUM, 1))
    sample = read_samples(tmp_path)[1]
    assert (sample.state, sample.reason) == ("missing", "no picture: refused")
    assert sample.caption  # what there is stays as evidence
    assert set(sample.images) == {"original"}


def test_a_caption_that_fails_is_missing_too(context, judge, system, tmp_path):
    quiet = system()
    quiet.caption = lambda requests: [Failure("timeout")] * len(requests)
    result = judge(settings(count=2), context(), quiet, tmp_path)
    assert (result.score, result.states["missing"]) == (None, 2)
    assert read_samples(tmp_path)[0].reason == "no caption: timeout"
    assert result.metrics["transcription"].num_samples == 0


@pytest.mark.parametrize("dies_after", [2, 9])
def test_a_killed_evaluation_ends_in_the_same_bytes(
    context, judge, system, tmp_path, plain, dies_after
):
    if not any(plain.iterdir()):
        judge(settings(), context(), system(), plain)
    with pytest.raises(RuntimeError, match="killed"):
        judge(settings(), context(), system(dies_after=dies_after), tmp_path)
    judge(settings(), context(), system(), tmp_path)
    assert content(tmp_path) == content(plain)


def test_shards_give_the_same_bytes(context, judge, system, tmp_path, plain):
    if not any(plain.iterdir()):
        judge(settings(), context(), system(), plain)
    with pytest.raises(Unfinished):
        judge(settings(), context(shard=Shard(1, 2)), system(), tmp_path)
    judge(settings(), context(shard=Shard(0, 2)), system(), tmp_path)
    assert content(tmp_path) == content(plain)
    again = system()
    judge(settings(), context(shard=Shard(0, 2)), again, tmp_path)
    assert again.num_requests == 0


class Signwriter:
    """Paints the quoted words with a font, and reads nothing."""

    identity = {"name": "signwriter", "kind": "test", "sha256": "0"}  # noqa: RUF012
    settings = {}  # noqa: RUF012
    capabilities = Capabilities(captions=False, pictures=True)

    def generate(self, requests):
        return [render([request.text.split('"')[1]]) for request in requests]

    def close(self):
        pass


def test_a_prompt_file_is_judged(context, tmp_path):
    texts = ["Open all day", "Happy birthday Anna"]
    rows = [json.dumps({"prompt": f'A sign "{text}"'}) for text in texts]
    (tmp_path / "prompts.jsonl").write_text("\n".join(rows))
    file = PromptFile(source=str(tmp_path / "prompts.jsonl"), sha256=None)
    result = run(settings(file, None), context(), Signwriter(), tmp_path / "out")
    assert (result.score, result.metrics["ocr_ceiling"].score) == (1, 1)
    decides = (tmp_path / "out" / "evaluation.json").read_text()
    assert str(tmp_path) not in decides


def test_words_that_no_font_has_are_painted_but_not_transcribed(context, system, tmp_path, worded):
    text = 'A sign "你好"'
    (tmp_path / "prompts.jsonl").write_text(json.dumps({"prompt": text}))
    file = PromptFile(source=str(tmp_path / "prompts.jsonl"), sha256=None)
    both = system()
    both.scene_of_text[text] = worded[0]
    result = run(settings(file, None), context(), both, tmp_path / "out")
    assert (result.score, result.num_samples) == (0, 1)
    assert result.metrics["transcription"].num_samples == 0
    assert result.metrics["ocr_ceiling"].score is None
    blind = system()
    blind.capabilities = Capabilities(captions=True, pictures=False)
    with pytest.raises(EvaluationError, match=r"only writes, and 1 prompts .* no font"):
        run(settings(file, None), context(), blind, tmp_path / "blind")


def test_the_scene_itself_is_what_is_transcribed(context, judge, system, tmp_path, worded):
    seen = []
    looking = system()
    write = looking.caption

    def caption(requests):
        seen.extend(requests)
        return write(requests)

    looking.caption = caption
    judge(settings(count=2), context(), looking, tmp_path)
    assert (seen[0].picture == scene_picture(worded[0])).all()
    assert seen[0].place.startswith("text_fidelity/benchmark-")
