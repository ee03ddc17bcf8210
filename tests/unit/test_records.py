"""Step records: what they say after success, failure and a resume, on a real embedded store."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from artifact_place import Place

from uae import records
from uae.errors import DataError, StoreError
from uae.launch.location import JOB_VARIABLE, RunLocation, run_location
from uae.records import step
from uae.store.embedded import EmbeddedStore
from uae.store.s3 import Store


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStore]:
    with EmbeddedStore(tmp_path_factory.mktemp("store")) as server:
        yield server


@pytest.fixture
def store(server: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> Store:
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return server.store()


@pytest.fixture
def run(
    server: EmbeddedStore, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> str:
    monkeypatch.setenv(JOB_VARIABLE, "1")
    name = re.sub(r"\W", "-", request.node.name)
    return run_location(name, server.endpoint, "uae")


def record_of(store: Store, run: str, name: str) -> dict[str, Any]:
    values: dict[str, Any] = store.get_json(f"{RunLocation.parse(run).prefix}/steps/{name}.json")
    return values


def again(run: str) -> str:
    """Return the run's location, from now on in another execution."""
    os.environ[JOB_VARIABLE] = "2"  # the fixture restores it
    return run


def train(run: str, folder: Path, calls: list[str], *, recipe: str = "a") -> Place:
    """A step that writes a folder and a page and counts how often it worked."""
    model, page, shown = (Place(str(folder / name)) for name in ("model", "page", "metrics"))
    outputs = {"model": model, "page": page}
    with step("train", run, inputs={"recipe": recipe}, outputs=outputs, metrics=shown) as work:
        if not work.restored:
            calls.append(recipe)
            Path(model.path).mkdir(parents=True)
            Path(model.path, "weights").write_text(f"weights of {recipe}")
            Path(page.path).write_text("<p>")
            print("one line\rthe same line, later\nlast line")
            work.log_metrics({"loss": 0.5, "nothing": None, "broken": float("nan")})
    return shown


def test_success_leaves_record_and_outputs(store: Store, run: str, tmp_path: Path) -> None:
    shown = train(run, tmp_path, [])
    record = record_of(store, run, "train")
    assert record["status"] == "succeeded"
    assert record["metrics"] == {"loss": 0.5} == shown.metadata
    assert record["log_tail"] == ["the same line, later", "last line"]
    assert record["seconds"] > 0
    assert record["peak_memory_bytes"] > 2**20
    assert record["error"] is None
    prefix = f"runs/{RunLocation.parse(run).run_id}/artifacts/train"
    assert record["artifacts"]["model"] == f"s3://uae/{prefix}/model"
    assert store.get_bytes(f"{prefix}/model/weights") == b"weights of a"
    assert store.get_bytes(f"{prefix}/page") == b"<p>"


def test_resume_restores_instead_of_working(store: Store, run: str, tmp_path: Path) -> None:
    calls: list[str] = []
    train(run, tmp_path / "first", calls)
    before = record_of(store, run, "train")
    shown = train(again(run), tmp_path / "second", calls)
    assert calls == ["a"]
    assert (tmp_path / "second/model/weights").read_text() == "weights of a"
    assert (tmp_path / "second/page").read_text() == "<p>"
    assert shown.metadata == {"loss": 0.5}
    assert record_of(store, run, "train") == before


def test_other_inputs_work_again(store: Store, run: str, tmp_path: Path) -> None:
    del store
    calls: list[str] = []
    train(run, tmp_path / "first", calls)
    train(run, tmp_path / "second", calls, recipe="b")
    assert calls == ["a", "b"]


def test_input_artifacts_count_by_content(store: Store, run: str, tmp_path: Path) -> None:
    del store
    restored = []
    for name, content in (("one", "x"), ("two", "x"), ("three", "y")):
        (tmp_path / name).write_text(content)
        inputs = {"data": Place(str(tmp_path / name))}
        with step("read", run, inputs=inputs, outputs={}) as work:
            restored.append(work.restored)
    assert restored == [False, True, False]


def fail(run: str, error: BaseException, page: Path, calls: list[int]) -> None:
    with step("fail", run, inputs={}, outputs={"page": Place(str(page))}):
        calls.append(1)
        page.write_text("what is wrong")
        raise error


def test_error_that_no_retry_cures_fails_at_once(store: Store, run: str, tmp_path: Path) -> None:
    calls: list[int] = []
    for _ in range(2):
        with pytest.raises(DataError, match=r"^picture 7 is broken$"):
            fail(run, DataError("picture 7 is broken"), tmp_path / "page", calls)
    assert calls == [1]
    record = record_of(store, run, "fail")
    assert record["status"] == "failed"
    error = {"type": "DataError", "message": "picture 7 is broken", "retryable": False}
    assert record["error"] == error
    assert (
        store.get_bytes(record["artifacts"]["page"].removeprefix("s3://uae/")) == b"what is wrong"
    )

    with pytest.raises(DataError):  # a resume is another execution: it tries again
        fail(again(run), DataError("picture 7 is broken"), tmp_path / "page", calls)
    assert calls == [1, 1]


@pytest.mark.parametrize("error", [StoreError("gone"), KeyboardInterrupt(), ConnectionError("x")])
def test_error_that_a_retry_may_cure_is_tried_again(
    store: Store, run: str, tmp_path: Path, error: BaseException
) -> None:
    calls: list[int] = []
    for _ in range(2):
        with pytest.raises(type(error)):
            fail(run, error, tmp_path / "page", calls)
    assert calls == [1, 1]
    record = record_of(store, run, "fail")
    assert record["attempt"] == 2
    assert record["error"]["retryable"] is True


def test_failure_of_the_store_does_not_hide_the_error(
    run: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise StoreError("the server is gone")

    with (  # noqa: PT012
        pytest.raises(DataError) as caught,
        step("fail", run, inputs={}, outputs={"page": Place(str(tmp_path))}),
    ):
        monkeypatch.setattr(Store, "put_json", refuse)
        raise DataError("picture 7 is broken")
    assert "the server is gone" in "".join(caught.value.__notes__)
    del store


def test_outputs_that_cannot_be_stored_do_not_keep_the_record_from_saying_why(
    run: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise StoreError("the bucket is full")

    monkeypatch.setattr(Store, "put_file", refuse)
    with pytest.raises(DataError) as caught:
        fail(run, DataError("picture 7 is broken"), tmp_path / "page", [])
    assert "the bucket is full" in "".join(caught.value.__notes__)
    record = record_of(store, run, "fail")
    assert record["status"] == "failed"
    assert record["error"]["message"] == "picture 7 is broken"


def test_other_version_works_again_without_the_old_checkpoints(
    store: Store, run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    checkpoint = f"{RunLocation.parse(run).prefix}/checkpoints/train/update-1/state.json"
    store.put_json(checkpoint, {})
    train(run, tmp_path / "first", calls)
    train(again(run), tmp_path / "second", calls)
    assert store.exists(checkpoint)
    assert calls == ["a"]
    monkeypatch.setattr(records, "version", lambda _: "99")
    train(again(run), tmp_path / "third", calls)
    assert calls == ["a", "a"]
    assert not store.exists(checkpoint)


def test_location_is_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(JOB_VARIABLE, "42")
    text = run_location("", "http://127.0.0.1:8333/", "bucket")
    assert text == "http://127.0.0.1:8333/bucket/runs/42"
    assert RunLocation.parse(text) == RunLocation("http://127.0.0.1:8333", "bucket", "42")


def test_run_without_any_id_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(JOB_VARIABLE, raising=False)
    with pytest.raises(StoreError, match="run_id"):
        run_location("", "http://127.0.0.1:8333", "bucket")


@pytest.mark.parametrize(
    ("run_id", "endpoint", "bucket"),
    [("a", "", "uae"), ("a", "http://h", ""), ("a/b", "http://h", "uae"), ("..", "http://h", "b")],
)
def test_bad_location_is_refused(run_id: str, endpoint: str, bucket: str) -> None:
    with pytest.raises(StoreError):
        run_location(run_id, endpoint, bucket)


def test_password_in_the_endpoint_is_not_told() -> None:
    with pytest.raises(StoreError) as caught:
        run_location("a", "https://key:hidden@h", "uae")
    assert "hidden" not in str(caught.value)
    assert caught.value.__context__ is None, "a traceback would show it"


def test_late_inputs_count_and_are_read_anew(store: Store, run: str) -> None:
    restored = []
    for champion in ("a", "a", "b"):
        store.put_json("champion", champion)
        with step(
            "gate",
            run,
            inputs={"recipe": "x"},
            outputs={},
            late_inputs=lambda store: {"champion": store.get_json("champion")},
        ) as work:
            restored.append(work.restored)
    assert restored == [False, True, False]


def test_record_is_json_without_nan(store: Store, run: str, tmp_path: Path) -> None:
    train(run, tmp_path, [])
    json.dumps(record_of(store, run, "train"), allow_nan=False)
