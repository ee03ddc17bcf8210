"""One command, every kind of system, every benchmark, one leaderboard of them all."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from openai_server import openai_server

from uae.cli import main
from uae.evaluation.results import read_result, read_samples
from uae.evaluation.systems.tiny_composed import tiny_sana, tiny_vlm
from uae.evaluation.systems.tiny_native import tiny_chameleon, tiny_emu3, tiny_janus

CAPTIONING = {"prompt": "Describe the image.", "max_new_tokens": 6, "temperature": 0.0}
NUM_SAMPLES = {"unified_bench": 3, "geneval": 6, "dpg_bench": 2}


@pytest.fixture(scope="module")
def suite(make_suite):
    return make_suite(slots={"clip": "clip", "dinov2": "ssl"})  # which are loaded soon


@pytest.fixture(scope="module")
def systems(tmp_path_factory):
    """A file for each system; the server answers while the module's tests run."""
    root = tmp_path_factory.mktemp("systems")
    native = {"dtype": "float32", "captioning": CAPTIONING}
    described = {
        "starter": yaml.safe_load(
            (Path(__file__).parents[2] / "uae/recipes/systems/starter.yaml").read_text()
        ),
        "janus": native | {
            "kind": "janus", "name": "tiny Janus", "path": str(tiny_janus(root / "janus")),
            "guidance_scale": 2.0, "image_temperature": 1.0,
        },
        "emu3": native | {
            "kind": "emu3", "name": "tiny Emu3", "chat_path": str(tiny_emu3(root / "emu3")),
            "generation_path": str(root / "emu3"), "guidance_scale": 2.0, "image_size": 32,
            "top_k": 8,
        },
        "composed": native | {
            "kind": "composed", "name": "tiny VLM + Sana", "captioner": str(tiny_vlm(root / "vlm")),
            "painter": str(tiny_sana(root / "sana")), "num_steps": 2, "guidance_scale": 2.0,
            "image_size": 32,
        },
    }  # fmt: skip
    with openai_server(lambda *_: "a red cat on white", paint) as server:
        described["server"] = {
            "kind": "server", "name": "loopback server", "chat_model": "chat",
            "image_model": "images", "captioning": CAPTIONING, "image_size": "64x64",
            "send_seed": True,
            "server": {
                "base_url": server.url, "api_key_env": None, "timeout_seconds": 20.0,
                "max_attempts": 3, "backoff_seconds": 0.01, "concurrency": 2,
            },
        }  # fmt: skip
        for name, values in described.items():
            (root / f"{name}.yaml").write_text(yaml.safe_dump(values))
        yield root


def paint(prompt, seed):
    rng = np.random.default_rng([len(prompt), seed or 0])
    return rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)


def evaluate(suite, system, out, *more):
    return main(["evaluate", "--suite", str(suite), "--system", str(system), "--out", str(out),
                 *more])  # fmt: skip


@pytest.fixture(scope="module")
def results(suite, systems, tmp_path_factory):
    """Results of every system: <system>/<benchmark>/."""
    root = tmp_path_factory.mktemp("results")
    for name in ("starter", "janus", "emu3", "composed", "server"):
        assert evaluate(suite, systems / f"{name}.yaml", root / name) == 0, name
    return root


@pytest.mark.parametrize("system", ["starter", "janus", "emu3", "composed", "server"])
def test_every_sample_has_its_verdict_and_its_evidence(results, system):
    for benchmark in NUM_SAMPLES:
        folder = results / system / benchmark
        result, samples = read_result(folder), read_samples(folder)
        assert result.complete
        assert result.score is not None
        assert len(samples) == result.num_samples == NUM_SAMPLES[benchmark]
        for sample in samples:
            assert all((folder / image).is_file() for image in sample.images.values())
            assert sample.evidence


def test_results_of_all_systems_can_be_compared(results):
    for benchmark in NUM_SAMPLES:
        found = [read_result(folder / benchmark) for folder in sorted(results.iterdir())]
        assert len({result.prompts.sha256 for result in found}) == 1
        assert len({str(result.judges) for result in found}) == 1
        assert len({result.system["name"] for result in found}) == 5
        assert len({result.key for result in found}) == 5


def test_the_leaderboard_shows_them_all(results, tmp_path, capsys):
    page = tmp_path / "leaderboard.html"
    assert main(["leaderboard", str(results), "--out", str(page)]) == 0
    assert str(page) in capsys.readouterr().out
    text = page.read_text(encoding="utf-8")
    for name in ("starter base", "tiny Janus", "tiny Emu3", "tiny VLM + Sana", "loopback server"):
        assert name in text
    assert "GPT-4o-Image" in text  # reported
    assert "<script src" not in text
    assert 'href="http' not in text


def test_a_system_that_only_writes_is_refused_before_anything_is_done(
    suite, systems, tmp_path, capsys
):
    path = tmp_path / "chameleon.yaml"
    weights = str(tiny_chameleon(tmp_path / "weights"))
    values = {"kind": "chameleon", "name": "tiny Chameleon", "dtype": "float32"}
    values |= {"path": weights, "captioning": CAPTIONING}
    path.write_text(yaml.safe_dump(values))
    assert evaluate(suite, path, tmp_path / "out") == 2
    assert "can paint pictures: 'tiny Chameleon' cannot" in capsys.readouterr().err
    assert not list((tmp_path / "out").rglob("*.png"))


def test_the_pictures_of_one_evaluation_are_a_folder_for_another(results, suite, tmp_path):
    """What was painted is scored again from the official layouts, to the same scores."""
    made = tmp_path / "made"
    for benchmark in NUM_SAMPLES:
        shutil.copytree(results / "starter" / benchmark / "images", made / benchmark)
    bench = made / "unified_bench"
    shutil.rmtree(bench / "original")
    lines = [
        json.dumps({"image_id": sample.sample_id, "caption": sample.caption})
        for sample in read_samples(results / "starter" / "unified_bench")
    ]
    (bench / "captions.jsonl").write_text("\n".join(lines))
    path = tmp_path / "folder.yaml"
    path.write_text(yaml.safe_dump(
        {"kind": "folder", "name": "made before", "path": str(made), "missing": "refuse"}
    ))  # fmt: skip
    assert evaluate(suite, path, tmp_path / "out") == 0
    for benchmark in NUM_SAMPLES:
        again, first = (read_result(r / benchmark) for r in (tmp_path / "out", results / "starter"))
        assert again.score == pytest.approx(first.score, abs=1e-4)
        assert again.parts.keys() == first.parts.keys()
