import pytest
from dict_store import DictStore
from example_run import write_bench

from uae.errors import StoreError
from uae.export.registry import (
    CHAMPION_KEY,
    Champion,
    outdated,
    promote,
    promote_if_current,
    read_champion,
    read_history,
    read_opponent,
)
from uae.export.scores import read_unified_bench
from uae.store.conditional import ChangedObject, UnconditionalStore


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
    promote(store, other)
    kept = store.objects.pop("registry/history/2026-03-06T050607Z-run-2.json")
    assert read_history(store) == [champion, other], "cut off once the champion was written"
    promote(store, other)
    assert store.objects["registry/history/2026-03-06T050607Z-run-2.json"] == kept
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


def later(champion, run_id, day, **more):
    moment = f"2026-03-{day:02d}T05:06:07+00:00"
    return champion.model_copy(update={"run_id": run_id, "promoted_at": moment, **more})


def test_promotion_is_overtaken_by_one_that_came_between(champion):
    store = DictStore()
    promote(store, champion)
    mine, other = later(champion, "mine", 5), later(champion, "other", 6, parent="run-1")
    store.overtaken = False

    class Overtaken(DictStore):
        def replace_json(self, key, value, *, replaces):
            if not store.overtaken:
                store.overtaken = True
                promote(store, other)
            super().replace_json(key, value, replaces=replaces)

    slow = Overtaken()
    slow.objects = store.objects
    refusal = promote_if_current(slow, mine, champion.identity)
    assert refusal.startswith("stale: the gate compared with champion run-1 (promoted")
    assert [entry.run_id for entry in read_history(store)] == ["run-1", "other"]

    store.overtaken = False
    other = later(champion, "third", 7, parent="other")
    promote(slow, mine)  # by hand: whoever is champion
    history = [entry.run_id for entry in read_history(store)]
    assert sorted(history) == ["mine", "other", "run-1", "third"], "nothing is lost"
    assert history[-1] == "mine"


def test_promotion_whose_answer_was_lost_is_not_made_twice(champion):
    class Lossy(DictStore):
        def replace_json(self, key, value, *, replaces):
            super().replace_json(key, value, replaces=replaces)
            raise ChangedObject(key)  # what the second try of a write that worked is told

    store = Lossy()
    promote(store, champion)
    assert read_history(store) == [champion]
    assert promote_if_current(store, champion, None) is None


def test_registry_that_changes_all_the_time_is_told(champion):
    class Busy(DictStore):
        def replace_json(self, key, value, *, replaces):
            raise ChangedObject(key)

    with pytest.raises(StoreError, match="10 times in a row"):
        promote(Busy(), champion)


def test_store_without_conditional_writes_still_keeps_every_promotion(champion, capsys):
    class Plain(DictStore):
        def replace_json(self, key, value, *, replaces):
            raise UnconditionalStore("the store cannot replace champion.json conditionally")

    store = Plain()
    promote(store, champion)
    promote(store, later(champion, "run-2", 6, parent="run-1"))
    assert [entry.run_id for entry in read_history(store)] == ["run-1", "run-2"]
    assert "of two promotions at the same moment the later one stays" in capsys.readouterr().out


def test_entries_of_format_1_are_read_and_followed(champion):
    store = DictStore()
    old = champion.model_dump(mode="json", exclude={"action", "reason"}) | {"format": 1}
    store.objects[CHAMPION_KEY] = old
    assert read_champion(store).action == "gate"
    promote(store, champion)
    assert store.objects == {CHAMPION_KEY: old} | {
        "registry/history/2026-03-04T050607Z-run-1.json": champion.model_dump(mode="json")
    }, "the same model: no new promotion"
    promote(store, later(champion, "run-2", 6, parent="run-1", action="hand", reason="why"))
    assert [(entry.run_id, entry.reason) for entry in read_history(store)] == [
        ("run-1", None), ("run-2", "why"),
    ]  # fmt: skip


def test_opponent_of_a_run_that_was_rolled_back_to_is_its_own(champion):
    store = DictStore()
    for run_id, day, parent, action in (
        ("a", 5, None, "gate"), ("b", 6, "a", "gate"), ("c", 7, "b", "gate"),
        ("b", 8, "c", "rollback"),
    ):  # fmt: skip
        promote(store, later(champion, run_id, day, parent=parent, action=action))
    assert read_champion(store).run_id == "b"
    assert read_opponent(store, "b").run_id == "a"
    assert read_opponent(store, "c").run_id == "b"
