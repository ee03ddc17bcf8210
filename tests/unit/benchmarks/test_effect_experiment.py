"""The whole experiment on random weights: what is shared, what is kept, what goes on."""

import importlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_run import write_data, write_recipe

from uae.training.loop import Run

ROOT = Path(__file__).parents[3]
ARMS, SEEDS = 4, 2
PIECES = 14  # for each seed: 2 stages shared by all arms, 2 + 1 + 0 + 2 of the arms; each judged


class PowerCut(BaseException):
    pass


@pytest.fixture(scope="module")
def effect():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        yield importlib.import_module("benchmarks.effect.__main__")


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    folder = tmp_path_factory.mktemp("effect")
    short = {"num_updates": 2, "batch_size": 1}
    recipe = write_recipe(
        folder,
        evaluation={"unified_bench": {"slots": {"clip": "clip", "longclip": "longclip"}}},
        pretrain_decoder={"num_updates": 1},
        cold_start={"num_updates": 1, "batch_size": 1},
        generation_for_understanding=short,
        understanding_for_generation=short,
    )
    # Base model "starter" of the tests' recipe has more slots, whose scorers take long to load.
    text = recipe.read_text().split("\n")
    recipe.write_text("\n".join(line for line in text if "dinov" not in line))
    data = write_data(folder / "pairs")
    given = ["--recipe", recipe, "--data", data, "--scenes", 3, "--seeds", "0,1"]
    return [str(word) for word in given]


@pytest.fixture(scope="module")
def finished(effect, options, tmp_path_factory):
    out = tmp_path_factory.mktemp("finished")
    assert effect.main([*options, "--out", str(out)]) == 0
    return out


def pieces(out):
    return sorted(path.parent for path in out.glob("pieces/*/piece.json"))


def content(out):
    return json.loads((out / "effect.json").read_text())


def test_arms_share_what_they_have_in_common(finished):
    made = pieces(finished)
    assert len(made) == SEEDS * PIECES
    kinds = [path.name.rpartition("-")[0] for path in made]
    assert kinds.count("pretrain_decoder") == kinds.count("cold_start") == SEEDS
    assert kinds.count("generation_for_understanding") == 2 * SEEDS
    assert kinds.count("understanding_for_generation") == 3 * SEEDS


def test_result_has_every_model_and_comparison(finished):
    found = content(finished)
    assert len(found["levels"]) == 4 + 3 + 3 + 4
    assert len(found["differences"]) == 4 + 3 + 1
    whole = found["differences"][0]
    assert whole["before"] == {"arm": "full", "stage": "pretrain_decoder"}
    assert whole["after"] == {"arm": "full", "stage": "understanding_for_generation"}
    overall = whole["measures"]["overall"]
    assert overall["num_scenes"] == 3
    assert sum(overall["by_seed"]) / SEEDS == pytest.approx(overall["difference"])
    low, high = overall["interval"]
    assert low <= overall["difference"] <= high
    assert found["settings"]["heldout_slots"] == ["longclip"]
    assert found["settings"]["num_code_versions"] == 1
    assert (finished / "effect.png").stat().st_size > 10_000
    assert "constant_length" in (finished / "effect.md").read_text()


def test_arms_without_a_stage_end_where_the_others_pass(finished):
    levels = {(row["arm"], row["stage"]): row["overall"] for row in content(finished)["levels"]}
    gfu = "generation_for_understanding"
    assert levels["no_ufg", gfu] == levels["full", gfu]
    assert levels["no_gfu", "cold_start"] == levels["constant_length", "cold_start"]


def test_judged_scenes_are_not_trained_on(finished):
    from uae.data.dataset import load_dataset

    (data,) = (path for path in (finished / "data").iterdir() if path.is_dir())
    judged, trained = (set(load_dataset(data / split).image_ids) for split in ("heldout", "train"))
    assert judged
    assert trained
    assert not judged & trained


def test_second_call_makes_nothing_again(effect, options, finished, capsys):
    before = {path: (path / "piece.json").stat().st_mtime_ns for path in pieces(finished)}
    first = content(finished)
    assert effect.main([*options, "--out", str(finished)]) == 0
    assert {path: (path / "piece.json").stat().st_mtime_ns for path in pieces(finished)} == before
    assert content(finished) == first
    assert f"{SEEDS * PIECES} pieces, {SEEDS * PIECES} done; about 0 minutes" in (
        capsys.readouterr().out
    )


def test_dry_run_makes_nothing(effect, options, tmp_path, capsys):
    assert effect.main([*options, "--out", str(tmp_path / "out"), "--dry-run"]) == 0
    assert not (tmp_path / "out").exists()
    shown = capsys.readouterr().out
    assert "seed 1, constant_length: generation_for_understanding" in shown
    assert f"{SEEDS * PIECES} pieces, 0 done" in shown


def test_another_setting_is_another_piece(effect, options, finished, capsys):
    assert effect.main([*options, "--out", str(finished), "--scenes", "2", "--dry-run"]) == 0
    shown = capsys.readouterr().out.splitlines()
    judged = [line for line in shown if line.endswith("judged")]
    trained = [line for line in shown if line.startswith("done ")]
    assert len(judged) == SEEDS * PIECES / 2
    assert all(line.startswith("to do") for line in judged)
    assert len(trained) == SEEDS * PIECES / 2


def test_killed_experiment_goes_on_with_two_at_once_to_the_same_result(
    effect, options, finished, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    given = [*options, "--out", str(out), "--seeds", "0", "--arms", "full"]
    record = Run.record

    def cut(run, *arguments, **settings):
        if run.state.stage == "generation_for_understanding" and run.next_step == 1:
            raise PowerCut  # one update after the first checkpoint
        record(run, *arguments, **settings)

    monkeypatch.setattr(Run, "record", cut)
    with pytest.raises(PowerCut):
        effect.main(given)
    monkeypatch.undo()
    monkeypatch.syspath_prepend(str(ROOT))
    cut_off = [path.parent for path in out.glob("pieces/*/checkpoints")]
    assert len(cut_off) == 1
    assert not (out / "effect.json").exists()

    before = pieces(out)
    assert effect.main([*given, "--jobs", "2"]) == 0
    assert not list(out.glob("pieces/*/checkpoints"))
    made = set(pieces(out)) - set(before)
    assert len(made) >= 4  # two stages, and what they made judged
    for piece in made:
        whole = finished / "pieces" / piece.name
        for file in piece.glob("model/*/*.safetensors"):
            again, once = load_file(file), load_file(whole / file.relative_to(piece))
            assert all(torch.equal(once[tensor], again[tensor]) for tensor in once)
        ours, theirs = (
            json.loads((path / "piece.json").read_text())["summary"] for path in (piece, whole)
        )
        timed = {"seconds", "images_per_second", "tokens_per_second"}
        assert ours.keys() - timed
        assert all(ours[name] == theirs[name] for name in ours.keys() - timed)
    assert len(list(out.glob("pieces/*/model"))) == 4


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--scenes", "5"], "4 held-out scenes, 5 are to be judged"),
        (["--recipe", "nowhere"], "no recipe 'nowhere'"),
        (["--data", "nowhere"], "no data at nowhere"),
    ],
)
def test_wrong_input_is_named(effect, options, tmp_path, capsys, more, message):
    assert effect.main([*options, "--out", str(tmp_path), *more]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--arms", "no_such"], "unknown arm no_such"),
        (["--seeds", "0,-1"], "seeds are 0 or more, got 0,-1"),
        (["--scenes", "0"], "1 or more, got 0"),
    ],
)
def test_wrong_options_are_named(effect, capsys, words, message):
    with pytest.raises(SystemExit):
        effect.main(words)
    assert message in capsys.readouterr().err
