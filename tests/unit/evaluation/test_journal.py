import json
import os
import subprocess
import sys

import pytest

from uae.errors import EvaluationError
from uae.evaluation.journal import WHOLE, Journal, Shard

DECIDES = {"benchmark": "example", "seed": 0}


class Worker:
    """Squares numbers; `dies_after` batches it breaks down."""

    def __init__(self, dies_after=None):
        self.done = []
        self.left = dies_after

    def __call__(self, batch, before):
        if self.left == 0:
            raise RuntimeError("killed")
        self.left = None if self.left is None else self.left - 1
        self.done.append(list(batch))
        return [{"value": n * n, "before": len(before)} for n in batch]


def squares(out, worker, *, shard=WHOLE, count=7):
    journal = Journal.open(out, DECIDES, shard)
    return journal.map("squares", range(count), worker, batch_size=3, show=False)


def test_rows_come_in_the_order_of_the_units(tmp_path):
    worker = Worker()
    rows = squares(tmp_path, worker)
    assert [row["value"] for row in rows] == [0, 1, 4, 9, 16, 25, 36]
    assert worker.done == [[0, 1, 2], [3, 4, 5], [6]]


def test_what_was_whole_when_it_was_killed_is_not_done_again(tmp_path):
    with pytest.raises(RuntimeError, match="killed"):
        squares(tmp_path, Worker(dies_after=1))
    again = Worker()
    assert [row["value"] for row in squares(tmp_path, again)] == [0, 1, 4, 9, 16, 25, 36]
    assert again.done == [[3, 4, 5], [6]]  # the same batches: the same numbers to the last bit


def test_shards_share_the_batches_and_the_last_one_sees_all(tmp_path):
    first, second = Worker(), Worker()
    assert squares(tmp_path, first, shard=Shard(0, 2)) is None
    rows = squares(tmp_path, second, shard=Shard(1, 2))
    assert first.done == [[0, 1, 2], [6]]
    assert second.done == [[3, 4, 5]]
    assert [row["value"] for row in rows] == [0, 1, 4, 9, 16, 25, 36]


def test_a_phase_gets_the_rows_of_the_one_before(tmp_path):
    journal = Journal.open(tmp_path, DECIDES)
    journal.map("first", range(4), Worker(), batch_size=3, show=False)
    rows = journal.map("second", range(4), Worker(), batch_size=3, after="first", show=False)
    assert [row["before"] for row in rows] == [3, 3, 3, 1]


def test_another_evaluation_in_the_folder_is_refused_naming_what_differs(tmp_path):
    Journal.open(tmp_path, DECIDES)
    with pytest.raises(EvaluationError, match=r"Differences: judge: None before, 'b' now; seed: 0"):
        Journal.open(tmp_path, DECIDES | {"seed": 1, "judge": "b"})


def test_key_covers_everything_that_decides(tmp_path):
    keys = {Journal.open(tmp_path / str(seed), DECIDES | {"seed": seed}).key for seed in (0, 1, 2)}
    assert len(keys) == 3


def test_two_processes_on_one_shard_are_refused(tmp_path):
    code = (
        "import sys; from uae.evaluation.journal import Journal\n"
        f"journal = Journal.open(__import__('pathlib').Path({str(tmp_path)!r}), {DECIDES!r})\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(EvaluationError, match=r"another process evaluates shard 0/1"):
            Journal.open(tmp_path, DECIDES)
        other.kill()
        other.wait()
    Journal.open(tmp_path, DECIDES)  # however it ended, the lock is free


def test_a_batch_that_was_half_written_counts_as_not_done(tmp_path):
    squares(tmp_path, Worker())
    path = tmp_path / "journal" / "squares" / "0000003.json"
    os.replace(path, path.with_name(f".{path.name}.123.partial"))
    again = Worker()
    squares(tmp_path, again)
    assert again.done == [[3, 4, 5]]


def test_failures_are_done_again_and_nothing_else(tmp_path):
    """4 was not painted; 5 was painted and could not be judged."""
    asked, judged = [], []

    def paint(batch, before):
        asked.extend(batch)
        again = len(asked) > 7
        return [{"state": "missing" if n == 4 and not again else "painted"} for n in batch]

    def judge(batch, before):
        judged.extend(batch)
        again = len(judged) > 7
        return [
            {"state": "missing" if row["state"] == "missing"
             else "judge_error" if n == 5 and not again else "scored", "n": n}
            for n, row in zip(batch, before, strict=True)
        ]  # fmt: skip

    def run(**options):
        journal = Journal.open(tmp_path, DECIDES, **options)
        journal.map("pictures", range(7), paint, batch_size=3, show=False)
        return journal.map("judged", range(7), judge, batch_size=3, after="pictures", show=False)

    first = run()
    assert [row["state"] for row in first][4:6] == ["missing", "judge_error"]
    assert run() == first  # without being told, they stay
    assert (len(asked), len(judged)) == (7, 7)
    again = run(retry_failures=True)
    assert asked[7:] == [4]  # 5 keeps its picture, 3 its verdict
    assert judged[7:] == [4, 5]
    assert [row["n"] for row in again] == list(range(7))
    assert {row["state"] for row in again} == {"scored"}


def test_a_folder_of_another_evaluation_is_refused_before_failures_are_dropped(tmp_path):
    def fails(batch, before):
        return [{"state": "missing"} for _ in batch]

    Journal.open(tmp_path, DECIDES).map("pictures", range(2), fails, batch_size=2, show=False)
    path = tmp_path / "journal" / "pictures" / "0000000.json"
    before = path.read_text()
    with pytest.raises(EvaluationError, match="holds another evaluation"):
        Journal.open(tmp_path, DECIDES | {"seed": 1}, retry_failures=True)
    assert path.read_text() == before


def test_the_first_shard_s_self_test_is_everyone_s(tmp_path):
    first, second = (Journal.open(tmp_path, DECIDES, Shard(number, 2)) for number in (0, 1))
    assert first.once("self_test", lambda: {"accuracy": 1.0}) == {"accuracy": 1.0}
    assert second.once("self_test", lambda: {"accuracy": 0.5}) == {"accuracy": 1.0}


def test_work_done_once_is_kept(tmp_path):
    journal = Journal.open(tmp_path, DECIDES)
    assert journal.once("self_test", lambda: {"accuracy": 1.0}) == {"accuracy": 1.0}
    assert journal.once("self_test", lambda: 1 / 0) == {"accuracy": 1.0}


def test_rows_that_are_no_json_or_too_few_are_our_own_bug(tmp_path):
    journal = Journal.open(tmp_path, DECIDES)
    with pytest.raises(ValueError, match="1 rows for 3 units"):
        journal.map("few", range(3), lambda batch, _: [{}], batch_size=3, show=False)
    with pytest.raises(ValueError, match="JSON"):
        journal.map("nan", range(1), lambda *_: [{"a": float("nan")}], batch_size=1, show=False)
    assert not list(tmp_path.glob("journal/*/*.json"))


@pytest.mark.parametrize("text", ["2/2", "1", "a/b", "-1/2", "0/0"])
def test_wrong_shards_are_refused(text):
    with pytest.raises(EvaluationError, match="give NUMBER/COUNT"):
        Shard.parse(text)


def test_decides_stands_beside_the_results(tmp_path):
    Journal.open(tmp_path, DECIDES)
    assert json.loads((tmp_path / "evaluation.json").read_text()) == DECIDES
    assert Shard.parse("1/4") == Shard(1, 4)
