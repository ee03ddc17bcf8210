"""Promotion and rollback by hand, on a real embedded store."""

import shlex
import threading
from pathlib import Path

import pytest
from example_run import write_bench, write_json
from model_registry_server import running_registry

from uae import cli
from uae.commands import champion as champion_commands
from uae.errors import RunError, StoreError
from uae.export.gate import Check, Decision
from uae.export.hand import promote_by_hand, roll_back
from uae.export.registry import (
    ChampionIdentity,
    promote_if_current,
    read_champion,
    read_history,
)
from uae.store.embedded import EmbeddedStore

BENCH = "artifacts/evaluate_unified_bench/understanding_for_generation/results"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with EmbeddedStore(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def store(server, monkeypatch):
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    opened = server.store()
    yield opened
    for key in opened.list(""):
        opened.delete(key)


@pytest.fixture
def exported(store, tmp_path):
    """Leave in the bucket what a run leaves there, and say what its gate had decided."""

    def export(run_id, *, passed=True, opponent=None, stage=3):
        folder = tmp_path / run_id
        lineage = {
            "format": 1, "run_id": run_id, "recipe_name": "starter", "recipe_sha256": "0",
            "seed": 0, "base": "starter", "bundle_sha256": "1", "data_source": "starter",
            "data_revision": "r", "data_licences": {"MIT": 1}, "parent": None,
            "code_version": "0.1.0",
        }  # fmt: skip
        write_json(folder / "model" / "lineage.json", lineage)
        Decision((Check(passed, "overall 71.00, required 70.00"),), opponent).write(
            folder / "model"
        )
        (folder / "bench").mkdir()
        write_bench(folder / "bench", stage=stage, num_samples=2)
        store.put_folder(folder / "model", f"models/{run_id}")
        store.put_folder(folder / "bench", f"runs/{run_id}/{BENCH}")
        return run_id

    return export


def history(store):
    return [(entry.run_id, entry.action, entry.parent) for entry in read_history(store)]


def test_model_that_passed_is_promoted_and_stays(store, exported):
    champion = promote_by_hand(store, exported("a"))
    assert champion == read_champion(store)
    assert (champion.action, champion.reason, champion.parent) == ("hand", None, None)
    assert champion.model_prefix == "models/a"
    assert champion.unified_bench.num_samples == 2
    assert promote_by_hand(store, "a", reason="again") == champion
    assert history(store) == [("a", "hand", None)]


def test_rejected_model_needs_force_and_a_reason(store, exported):
    exported("a", passed=False)
    with pytest.raises(RunError, match=r"the gate rejected it: overall 71\.00, required 70\.00;"):
        promote_by_hand(store, "a")
    with pytest.raises(RunError, match="say why with --reason"):
        promote_by_hand(store, "a", force=True)
    assert read_champion(store) is None
    champion = promote_by_hand(store, "a", force=True, reason="the benchmark is wrong")
    assert (champion.action, champion.reason) == ("force", "the benchmark is wrong")


def test_decision_against_another_champion_needs_force(store, exported):
    promote_by_hand(store, exported("a"))
    exported("b", opponent=None)
    with pytest.raises(RunError, match="stale: the gate compared with champion none, by now"):
        promote_by_hand(store, "b")
    assert promote_by_hand(store, "b", force=True, reason="seen by eye").parent == "a"
    exported("c", opponent=read_champion(store).identity)
    assert promote_by_hand(store, "c", force=True, reason="not needed").action == "hand"
    exported("d", opponent=ChampionIdentity("a", "long ago"))
    with pytest.raises(RunError, match="stale"):
        promote_by_hand(store, "d")


def test_run_without_a_model_or_scores_is_told(store, exported):
    exported("a")
    with pytest.raises(
        RunError, match="'b' has no complete model at s3://uae/models/b: there is a"
    ):
        promote_by_hand(store, "b")
    with pytest.raises(StoreError, match="bad object key"):
        promote_by_hand(store, "../a")
    store.delete("models/a/MANIFEST.json")
    with pytest.raises(RunError, match="no complete model"):
        promote_by_hand(store, "a")
    exported("c")
    store.delete("runs/c")
    with pytest.raises(RunError, match=r"c has no scores: there is no results\.json"):
        promote_by_hand(store, "c")


def test_rolling_back_walks_to_the_first_and_forward_again(store, exported):
    for run_id in "abc":
        now = read_champion(store)
        promote_by_hand(store, exported(run_id, opponent=now.identity if now else None))
    assert roll_back(store, reason="c draws no cats").run_id == "b"
    assert roll_back(store).run_id == "a"
    with pytest.raises(RunError, match="champion a replaced none"):
        roll_back(store)
    assert roll_back(store, "c").run_id == "c"
    with pytest.raises(RunError, match="c is the champion already"):
        roll_back(store, "c")
    with pytest.raises(RunError, match="'d' was never champion, the history has a, b, c"):
        roll_back(store, "d")
    assert history(store) == [
        ("a", "hand", None), ("b", "hand", "a"), ("c", "hand", "b"),
        ("b", "rollback", "c"), ("a", "rollback", "b"), ("c", "rollback", "a"),
    ]  # fmt: skip
    assert read_history(store)[3].reason == "c draws no cats"


def test_nothing_to_go_back_to(store, exported):
    with pytest.raises(RunError, match="nothing was ever promoted in uae"):
        roll_back(store)
    promote_by_hand(store, exported("a"))
    promote_by_hand(store, exported("b", opponent=read_champion(store).identity))
    store.delete("models/a")
    with pytest.raises(RunError, match="'a' has no complete model"):
        roll_back(store)
    assert read_champion(store).run_id == "b"


def test_scores_of_a_run_that_was_cleaned_up_come_from_the_history(store, exported):
    promote_by_hand(store, exported("a"))
    promote_by_hand(store, exported("b", opponent=read_champion(store).identity))
    store.delete("runs/a")
    again = promote_by_hand(store, "a", force=True, reason="as good")
    assert again.unified_bench.num_samples == 2


def test_many_at_once_lose_nothing(server, store, exported):
    champion = promote_by_hand(store, exported("a"))
    runs = [champion.model_copy(update={"run_id": f"b{number}"}) for number in range(8)]
    told = {}

    def go(entry):
        told[entry.run_id] = promote_if_current(server.store(), entry, champion.identity)

    threads = [threading.Thread(target=go, args=(entry,)) for entry in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [run_id for run_id, refusal in told.items() if refusal is None]
    assert all("stale" in refusal for run_id, refusal in told.items() if run_id != winner)
    assert [entry.run_id for entry in read_history(store)] == ["a", winner]


def test_commands(server, store, exported, capsys):
    def uae(*arguments):
        return cli.main([*arguments, "--endpoint", server.endpoint])

    assert uae("champion") == 0
    assert capsys.readouterr().out == "no champion in uae: nothing was promoted yet\n"
    exported("a")
    exported("b", passed=False)
    assert uae("promote", "a") == 0
    assert "champion: a (promoted 20" in capsys.readouterr().out
    assert uae("promote", "b") == 2
    assert "--force with --reason" in capsys.readouterr().err
    assert uae("promote", "b", "--force", "--reason", "because\nof") == 0
    assert uae("rollback") == 0
    capsys.readouterr()
    assert uae("champion") == 0
    first, head, *lines = capsys.readouterr().out.splitlines()
    assert first == "champion: s3://uae/models/a"
    assert head.split() == [
        "PROMOTED", "(UTC)", "RUN", "BY", "UNIFIED-BENCH", "REPLACED", "REASON",
    ]  # fmt: skip
    assert len(lines) == 3
    assert lines[0].startswith("* 20")
    assert " a    rollback " in lines[0]
    assert lines[1].endswith("because of")
    registry = ["--model-registry", "http://127.0.0.1:9"]  # nobody answers there
    assert uae("rollback", "--to", "b", "--reason", "better after all", *registry) == 2
    shown = capsys.readouterr()
    assert "champion: b" in shown.out
    assert "b is champion, but not registered: no connection" in shown.err
    assert read_champion(store).run_id == "b"


def test_commands_of_the_documentation(server, store, exported, capsys):
    """As they stand in docs/schedules.md, but for addresses."""
    page = (Path(__file__).parents[3] / "docs" / "schedules.md").read_text(encoding="utf-8")
    lines = [
        shlex.split(line) for line in page.splitlines() if line.startswith("    .venv/bin/uae ")
    ]
    commands = [words[1:] for words in lines if "--host" not in words]
    promote_by_hand(store, exported("before"))
    exported("RUN_ID", opponent=read_champion(store).identity)
    assert len(commands) >= 6
    with running_registry() as registry:
        there = {"http://localhost:8333": server.endpoint, "http://localhost:8081": registry.url}
        for words in commands:
            assert cli.main([there.get(word, word) for word in words]) == 0, words
        assert len(registry.entities["artifacts"]) == 1
    assert history(store) == [
        ("before", "hand", None), ("RUN_ID", "hand", "before"),
        ("before", "rollback", "RUN_ID"), ("RUN_ID", "rollback", "before"),
    ]  # fmt: skip


def test_embedded_store_of_the_runs_is_the_default(tmp_path, capsys):
    from uae_pipelines.commands import STORE_FOLDER

    assert champion_commands.STORE_FOLDER == STORE_FOLDER
    assert cli.main(["champion", "--run-root", str(tmp_path)]) == 2
    assert "no embedded store at" in capsys.readouterr().err
    (tmp_path / STORE_FOLDER).mkdir()
    assert cli.main(["champion", "--run-root", str(tmp_path)]) == 0
    assert "no champion in uae" in capsys.readouterr().out
