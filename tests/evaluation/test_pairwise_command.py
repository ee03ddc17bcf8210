"""Two systems' captions, out of their Unified-Bench results, before judges: `uae pairwise`."""

import pytest
import yaml
from caption_judges import better, first_lover, oracle, quality, shown
from openai_server import openai_server

from uae.cli import main
from uae.evaluation.results import read_result, read_samples

CAPTIONING = {"prompt": "Describe the image.", "max_new_tokens": 6, "temperature": 0.0}


def prefers_long(pictures, text):
    """Judge as a reader who likes more words; on the known photographs, one who knows."""
    first, second = shown(text)
    if quality(first) != quality(second):
        return oracle(pictures, text)
    return better("first" if len(first) > len(second) else "second")


@pytest.fixture(scope="module")
def servers():
    with (
        openai_server(lambda *_: "a cat", lambda *_: b"no picture") as terse,
        openai_server(lambda *_: "a red cat that sits", lambda *_: b"no picture") as wordy,
        openai_server(prefers_long) as judge,
        openai_server(first_lover) as biased,
    ):
        yield {"terse": terse, "wordy": wordy, "judge": judge, "biased": biased}


def address(server):
    return {
        "base_url": server.url, "api_key_env": None, "timeout_seconds": 20.0, "max_attempts": 1,
        "backoff_seconds": 0.0, "concurrency": 2,
    }  # fmt: skip


def judges(path, *servers):
    judged = {
        f"judge {number}": {"kind": "server", "server": address(server), "model": f"m{number}",
                            "max_new_tokens": 50, "log_probs": False}
        for number, server in enumerate(servers)
    }  # fmt: skip
    values = {"name": "mine", "seed": 0, "num_threads": 1, "batch_size": 4, "num_samples": None}
    values |= {"bootstrap_resamples": 50, "min_self_test_accuracy": 1.0, "judges": judged}
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.fixture(scope="module")
def benches(servers, make_suite, tmp_path_factory):
    """Two systems that paint nothing: their round trips are missing, their words are there."""
    root = tmp_path_factory.mktemp("benches")
    for name in ("terse", "wordy"):
        system = {"kind": "server", "name": name, "chat_model": "chat", "image_model": "images",
                  "captioning": CAPTIONING, "image_size": "64x64", "send_seed": False,
                  "server": address(servers[name])}  # fmt: skip
        path = root / f"{name}.yaml"
        path.write_text(yaml.safe_dump(system))
        command = [
            "evaluate",
            "--suite",
            str(make_suite(slots={"dinov2": "ssl"})),
            "--system",
            str(path),
        ]
        assert main([*command, "--out", str(root / name), "--benchmarks", "unified_bench"]) == 3
        assert read_result(root / name / "unified_bench").states["missing"] == 3
    return {name: str(root / name / "unified_bench") for name in ("terse", "wordy")}


def test_captions_of_two_systems_are_judged_by_one_command(benches, servers, tmp_path, capsys):
    path, out = judges(tmp_path / "judges.yaml", servers["judge"]), tmp_path / "out"
    command = ["pairwise", benches["wordy"], benches["terse"], "--judges", str(path)]
    assert main([*command, "--out", str(out)]) == 0
    assert "pairwise: 1.0000" in capsys.readouterr().out
    result, samples = read_result(out), read_samples(out)
    assert result.system["name"] == "wordy vs terse"
    assert result.parts["judge 0"].score == 1
    assert len(samples) == 3
    assert len(samples[0].evidence["verdicts"]) == 2  # both orders


def test_a_judge_that_prefers_what_stands_first_may_not_judge(benches, servers, tmp_path, capsys):
    path = judges(tmp_path / "judges.yaml", servers["judge"], servers["biased"])
    command = ["pairwise", benches["wordy"], benches["terse"], "--judges", str(path)]
    assert main([*command, "--out", str(tmp_path / "out")]) == 2
    assert "self-test failed" in capsys.readouterr().err
    assert not (tmp_path / "out" / "results.json").exists()
