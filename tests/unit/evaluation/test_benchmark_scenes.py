import json
import shutil

import pytest

from uae.errors import DataError, EvaluationError
from uae.evaluation import benchmark_scenes
from uae.evaluation.benchmark_scenes import load_benchmark_scenes, scene_picture


def test_the_data_sets_own_benchmark_split_comes_first(data, scenes):
    benchmark = load_benchmark_scenes(data)
    assert benchmark.source == "data"
    assert [facts for _, facts in benchmark.scenes] == scenes
    assert scene_picture(scenes[0]).shape == (64, 64, 3)


def test_data_without_benchmark_scenes_is_judged_on_the_shipped_ones(
    data, scenes, tmp_path, monkeypatch
):
    shipped = tmp_path / "shipped"
    shutil.copytree(data / "benchmark", shipped)
    rows = [json.loads(line) for line in (shipped / "captions.jsonl").read_text().splitlines()]
    rows[0]["split"] = "train"
    (shipped / "captions.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    monkeypatch.setattr(benchmark_scenes, "STARTER_DATA", shipped)
    benchmark = load_benchmark_scenes(tmp_path / "photographs")
    assert benchmark.source == "starter"
    assert [facts for _, facts in benchmark.scenes] == scenes[1:]


def test_a_sample_without_facts_is_named(data, tmp_path):
    own = tmp_path / "data" / "benchmark"
    shutil.copytree(data / "benchmark", own)
    rows = [json.loads(line) for line in (own / "captions.jsonl").read_text().splitlines()]
    del rows[2]["facts"]
    (own / "captions.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    with pytest.raises(EvaluationError, match="benchmark-2"):
        load_benchmark_scenes(tmp_path / "data")
    (own / "captions.jsonl").write_text("")
    with pytest.raises(DataError):
        load_benchmark_scenes(tmp_path / "data")
