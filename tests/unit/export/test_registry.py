import pytest
from example_run import write_bench

from uae.errors import StoreError
from uae.export.registry import (
    CHAMPION_KEY,
    Champion,
    outdated,
    promote,
    read_champion,
    read_history,
    read_opponent,
)
from uae.export.scores import read_unified_bench


class DictStore:
    """The four calls that the registry makes, on a dictionary."""

    def __init__(self):
        self.objects = {}

    def exists(self, key):
        return key in self.objects

    def get_json(self, key):
        return self.objects[key]

    def put_json(self, key, value):
        self.objects[key] = value

    def list(self, prefix):
        return sorted(key for key in self.objects if key.startswith(prefix))


@pytest.fixture
def champion(tmp_path):
    bench = read_unified_bench(write_bench(tmp_path, stage=3, num_samples=2))
    return Champion(
        run_id="run-1", model_prefix="models/run-1", promoted_at="2026-03-04T05:06:07+00:00",
        recipe_name="starter", recipe_sha256="0", data_revision="r", code_version="0.1.0",
        parent=None, unified_bench=bench,
    )  # fmt: skip


def test_no_champion_at_first():
    assert read_champion(DictStore()) is None
    assert read_history(DictStore()) == []


def test_newest_promotion_is_champion_and_history_keeps_all(champion):
    store = DictStore()
    later = champion.model_copy(
        update={"run_id": "run-0", "parent": "run-1", "promoted_at": "2026-03-05T05:06:07+00:00"}
    )
    promote(store, champion)
    promote(store, later)
    assert read_champion(store) == later
    assert [entry.run_id for entry in read_history(store)] == ["run-1", "run-0"]


def test_opponent_is_the_champion_or_the_one_that_the_run_itself_replaced(champion):
    store = DictStore()
    assert read_opponent(store, "run-2") is None
    promote(store, champion)
    assert read_opponent(store, "run-1") is None
    assert read_opponent(store, "run-2") == champion
    promote(store, champion.model_copy(update={"run_id": "run-2", "parent": "run-1"}))
    assert read_opponent(store, "run-2") == champion


def test_decision_counts_while_its_champion_is_the_champion(champion):
    store = DictStore()
    assert outdated(store, "run-2", None) is None
    promote(store, champion)
    assert outdated(store, "run-2", champion.identity) is None
    assert outdated(store, "run-1", None) is None, "the run itself, cut off after its promotion"
    assert "compared with champion none, by now the champion is run-1 (promoted" in outdated(
        store, "run-2", None
    )
    update = {"promoted_at": "2026-03-06T05:06:07+00:00", "recipe_sha256": "another model"}
    promote(store, champion.model_copy(update=update))
    assert "promoted 2026-03-06" in outdated(store, "run-2", champion.identity)


def test_run_that_is_champion_twice_stands_twice_in_the_history(champion):
    store = DictStore()
    for day, run_id, parent in (("04", "a", None), ("05", "b", "a"), ("06", "a", "b")):
        moment = f"2026-03-{day}T05:06:07+00:00"
        update = {"run_id": run_id, "promoted_at": moment, "parent": parent}
        promote(store, champion.model_copy(update=update))
    assert [entry.run_id for entry in read_history(store)] == ["a", "b", "a"]
    assert read_history(store)[-1] == read_champion(store)
    assert "registry/history/2026-03-04T050607Z-a.json" in store.objects
    assert read_opponent(store, "a").run_id == "b"


def test_promotion_may_be_repeated(champion):
    store = DictStore()
    promote(store, champion)
    later = {"promoted_at": "2026-03-06T05:06:07+00:00"}
    promote(store, champion.model_copy(update=later))
    assert read_history(store) == [champion]

    other = champion.model_copy(update=later | {"run_id": "run-2", "parent": "run-1"})
    before = store.objects[CHAMPION_KEY]
    promote(store, other)
    store.put_json(CHAMPION_KEY, before)  # cut off before the champion was written
    assert read_history(store) == [champion]
    promote(store, other)
    assert read_history(store) == [champion, other]


def test_history_of_earlier_versions_is_read(champion):
    store = DictStore()
    later = {"run_id": "run-2", "parent": "run-1", "promoted_at": "2026-03-06T05:06:07+00:00"}
    for entry in (champion, champion.model_copy(update=later)):
        values = entry.model_dump(mode="json")
        store.objects |= {f"registry/history/{entry.run_id}.json": values, CHAMPION_KEY: values}
    assert read_opponent(store, "run-2") == champion
    assert [entry.run_id for entry in read_history(store)] == ["run-1", "run-2"]


def test_opponent_that_is_gone_is_named(champion):
    store = DictStore()
    promote(store, champion.model_copy(update={"parent": "run-0"}))
    with pytest.raises(StoreError, match="no entry of run-0, which champion run-1 replaced"):
        read_opponent(store, "run-1")


def test_broken_champion_is_an_error_not_no_champion():
    store = DictStore()
    store.put_json(CHAMPION_KEY, {"run_id": "x"})
    with pytest.raises(StoreError, match=r"registry/champion\.json is not a valid"):
        read_champion(store)
