import numpy as np
import pytest
from openai_server import openai_server

from uae.evaluation.pairwise.run import judge_pairs
from uae.evaluation.pictures import write_png
from uae.evaluation.results import PromptSet, Result, Sample, count_states, write_results
from uae.recipe.pairwise import PairwiseRecipe


@pytest.fixture
def folder_of(tmp_path):
    """Write a finished result of Unified-Bench: one sample for each caption, None for missing."""

    def make(name, captions, *, shift=0, ids=None, sha256="5" * 64, benchmark="unified_bench"):
        folder, samples = tmp_path / name, []
        for index, caption in enumerate(captions):
            place = f"images/original/{index}.png"
            picture = np.full((4, 4, 3), 10 * index + shift, dtype=np.uint8)
            write_png(picture, folder / place)
            samples.append(
                Sample(
                    sample_id=ids[index] if ids else f"p{index}",
                    part="",
                    state="missing" if caption is None else "scored",
                    score=None if caption is None else 80.0,
                    reason="no caption: refused" if caption is None else "",
                    prompt="",
                    caption=caption or "",
                    seed=0,
                    images={"original": place},
                    evidence={},
                )
            )
        result = Result(
            benchmark=benchmark,
            protocol="unified-bench",
            version=2,
            unit="points",
            score=None,
            interval=None,
            bounds=None,
            num_samples=len(samples),
            states=count_states(samples),
            parts={},
            metrics={},
            prompts=PromptSet(name="heldout", source="here", sha256=sha256, count=len(samples)),
            system={"name": name, "kind": "test", "sha256": name[0] * 64},
            generation={"temperature": 0.0},
            judges={},
            settings={},
            self_test=None,
            key="0" * 64,
        )
        write_results(folder, result, samples)
        return folder

    return make


@pytest.fixture
def serve():
    """Start a server that answers by a function; it ends with the test."""
    running = []

    def start(answer):
        manager = openai_server(answer)
        running.append(manager)
        return manager.__enter__()

    yield start
    for manager in running:
        manager.__exit__(None, None, None)


@pytest.fixture
def judge(serve, tmp_path):
    """Compare two result folders by judges behind servers: name -> function or running server."""

    def compare(a, b, judges, *, out="out", shard=None, retry_failures=False, **changes):
        servers = {n: serve(given) if callable(given) else given for n, given in judges.items()}
        recipes = {name: server_recipe(server.url, name) for name, server in servers.items()}
        given = {
            "name": "test",
            "seed": 0,
            "num_threads": 1,
            "batch_size": 2,
            "bootstrap_resamples": 50,
            "min_self_test_accuracy": 0.0,
            "num_samples": None,
            "judges": recipes,
        }
        recipe = PairwiseRecipe.model_validate(given | changes)
        options = {"show_progress": False, "retry_failures": retry_failures}
        options |= {"shard": shard} if shard else {}
        return judge_pairs(a, b, recipe, tmp_path, tmp_path / out, **options)

    return compare


def server_recipe(url, model):
    server = {
        "base_url": url,
        "api_key_env": None,
        "timeout_seconds": 5.0,
        "max_attempts": 1,
        "backoff_seconds": 0.0,
        "concurrency": 4,
    }
    return {
        "kind": "server",
        "server": server,
        "model": model,
        "max_new_tokens": 60,
        "log_probs": False,
    }
