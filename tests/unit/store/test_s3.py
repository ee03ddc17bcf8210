import json
import traceback

import pytest

from uae.data.validate import validate_data
from uae.errors import DataError, StoreError
from uae.recipe_files import load_recipe
from uae.store import s3
from uae.store.faults import Backoff
from uae.store.s3 import MissingObject, Store, parse_endpoint, parse_uri


def test_bytes_and_json_round_trip(store):
    store.put_bytes("a/b", b"\0\xff")
    store.put_json("a/c.json", {"n": [1, None, "猫"]})
    assert store.get_bytes("a/b") == b"\0\xff"
    assert store.get_json("a/c.json") == {"n": [1, None, "猫"]}
    store.put_bytes("a/b", b"")
    assert store.get_bytes("a/b") == b""


def test_large_object_round_trips_in_parts(store, tmp_path, monkeypatch):
    monkeypatch.setattr(s3, "PART_BYTES", 5 * 2**20)
    data = bytes(range(256)) * 50_000  # 12.8 MB: more than one part of 5 MiB
    (tmp_path / "large").write_bytes(data)
    store.put_file("large", tmp_path / "large")
    store.get_file("large", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == data
    assert store.etags("large")["large"].partition(" ")[0].strip('"').endswith("-3")


def test_missing_object(store):
    with pytest.raises(MissingObject, match="no such object"):
        store.get_bytes("nothing")
    assert not store.exists("nothing")
    store.put_bytes("folder/x", b"1")
    assert store.exists("folder/x")
    assert not store.exists("folder")


def test_broken_json_and_nan(store):
    store.put_bytes("broken.json", b"{")
    with pytest.raises(StoreError, match=r"broken\.json is not JSON"):
        store.get_json("broken.json")
    with pytest.raises(ValueError, match="not JSON compliant"):
        store.put_json("nan.json", float("nan"))


def test_list_and_delete_respect_folder_names(store):
    for key in ("runs/1/a", "runs/1/b/c", "runs/10/a", "runs/1x"):
        store.put_bytes(key, b"1")
    assert store.list("runs/1") == ["runs/1/a", "runs/1/b/c"]
    assert store.list("runs/1/") == ["runs/1/a", "runs/1/b/c"]
    assert len(store.list("")) == 4
    store.delete("runs/1")
    assert store.list("runs") == ["runs/10/a", "runs/1x"]
    store.delete("runs/1x")
    store.delete("runs/never-was")
    assert store.list("runs") == ["runs/10/a"]


@pytest.mark.parametrize("key", ["", "/a", "a//b", "../a", "a/../b", "a/./b", "a\0b"])
def test_bad_keys_are_refused(store, key):
    with pytest.raises(StoreError, match="bad object key"):
        store.put_bytes(key, b"1")
    with pytest.raises(StoreError, match="bad object key"):
        store.get_bytes(key)


def make_folder(path, **files):
    path.mkdir()
    for name, text in files.items():
        target = path / name.replace("__", "/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return path


def test_folder_round_trip_with_manifest(store, tmp_path):
    source = make_folder(tmp_path / "in", a="one", deep__b="two", empty="")
    digest = store.put_folder(source, "runs/1/model")
    manifest = store.get_json("runs/1/model/MANIFEST.json")
    assert set(manifest["files"]) == {"a", "deep/b", "empty"}
    assert manifest["files"]["a"]["bytes"] == 3
    store.get_folder("runs/1/model", tmp_path / "back")
    assert (tmp_path / "back/deep/b").read_text() == "two"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["back", "in"]
    assert store.put_folder(tmp_path / "back", "elsewhere/") == digest


def test_replaced_folder_keeps_no_stale_file(store, tmp_path):
    store.put_folder(make_folder(tmp_path / "v1", a="one", old="x"), "model")
    store.put_folder(make_folder(tmp_path / "v2", a="two"), "model")
    assert store.list("model") == ["model/MANIFEST.json", "model/a"]
    store.get_folder("model", tmp_path / "back")
    assert (tmp_path / "back/a").read_text() == "two"


def test_folder_without_manifest_is_not_there(store, tmp_path):
    store.put_bytes("half/a", b"1")
    with pytest.raises(MissingObject):
        store.get_folder("half", tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_changed_object_is_refused_and_nothing_is_left(store, tmp_path):
    store.put_folder(make_folder(tmp_path / "in", a="one", b="two"), "model")
    store.put_bytes("model/a", b"0ne")
    with pytest.raises(StoreError, match="model/a is not what its manifest says"):
        store.get_folder("model", tmp_path / "back")
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "", "a\\b"])
def test_manifest_cannot_write_outside_the_folder(store, tmp_path, name):
    store.put_json("model/MANIFEST.json", {"files": {name: {"sha256": "", "bytes": 0}}})
    with pytest.raises(StoreError, match="would leave the folder"):
        store.get_folder("model", tmp_path / "back")


def test_manifest_of_another_shape_is_refused(store, tmp_path):
    store.put_json("model/MANIFEST.json", [1])
    with pytest.raises(StoreError, match="has no files"):
        store.get_folder("model", tmp_path / "back")


def test_occupied_folder_is_left_alone(store, tmp_path):
    store.put_folder(make_folder(tmp_path / "in", a="one"), "model")
    with pytest.raises(StoreError, match="already exists"):
        store.get_folder("model", tmp_path / "in")
    (tmp_path / "fresh").mkdir()
    store.get_folder("model", tmp_path / "fresh")
    assert (tmp_path / "fresh/a").read_text() == "one"


def test_folder_that_cannot_be_uploaded(store, tmp_path):
    with pytest.raises(StoreError, match="no such folder"):
        store.put_folder(tmp_path / "nowhere", "x")
    linked = make_folder(tmp_path / "linked", a="one")
    (linked / "b").symlink_to("/etc/passwd")
    with pytest.raises(StoreError, match="symbolic links"):
        store.put_folder(linked, "x")
    named = make_folder(tmp_path / "named")
    (named / "MANIFEST.json").write_text("{}")
    with pytest.raises(StoreError, match="store's own"):
        store.put_folder(named, "x")


def test_wrong_credentials_name_neither_key(server):
    host, _ = parse_endpoint(server.endpoint)
    for access, secret in ((server.access_key, "wrong-secret"), ("nobody", server.secret_key)):
        stranger = Store(host, server.bucket, access, secret, False)
        for use in (stranger.check_bucket, lambda s=stranger: s.put_bytes("a", b"1")):
            with pytest.raises(StoreError, match="credentials refused") as error:
                use()
            assert secret not in str(error.value)
            assert secret not in repr(stranger)


def test_missing_bucket(store):
    elsewhere = store.for_bucket("no-such-bucket")
    for use in (
        elsewhere.check_bucket,
        lambda: elsewhere.put_bytes("a", b"1"),
        lambda: elsewhere.get_bytes("a"),
        lambda: elsewhere.list(""),
        lambda: elsewhere.exists("a"),
    ):
        with pytest.raises(StoreError, match="the bucket does not exist"):
            use()


def test_connection_refused_is_retried_then_told():
    gone = Store("127.0.0.1:9", "b-b", "k", "s", False, backoff=Backoff(3, 0.01))
    with pytest.raises(StoreError, match=r"no connection \(NewConnectionError\), in 3 attempts"):
        gone.put_bytes("a", b"1")


def test_connect_takes_credentials_from_the_environment(server, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
    with pytest.raises(StoreError, match="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        Store.connect(server.endpoint, server.bucket)
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    Store.connect(server.endpoint, server.bucket).put_bytes("a", b"1")
    with pytest.raises(StoreError, match="the bucket does not exist"):
        Store.connect(server.endpoint, "no-such-bucket")


@pytest.mark.parametrize(
    ("endpoint", "result"),
    [
        ("http://127.0.0.1:8333", ("127.0.0.1:8333", False)),
        ("https://s3.amazonaws.com/", ("s3.amazonaws.com", True)),
        ("http://[::1]:9000", ("[::1]:9000", False)),
    ],
)
def test_endpoint(endpoint, result):
    assert parse_endpoint(endpoint) == result


@pytest.mark.parametrize(
    "endpoint",
    [
        "127.0.0.1:8333",
        "ftp://host",
        "http://",
        "http://host/path",
        "http://host?x=1",
        "http://host:port",
        "http://host:99999",
        "http://user:secret@host",
        "https://key:secret@host:99999",
        "https://key:secret/@host",
    ],
)
def test_bad_endpoint_is_refused(endpoint):
    with pytest.raises(StoreError, match="bad store endpoint") as error:
        parse_endpoint(endpoint)
    assert "secret" not in "".join(traceback.format_exception(error.value))


def test_uri():
    assert parse_uri("s3://bucket/a/b/") == ("bucket", "a/b")
    assert parse_uri("s3://bucket") == ("bucket", "")
    for bad in ("/local", "s3://", "http://bucket/x", "s3://b/x?y"):
        with pytest.raises(StoreError, match="bad store address"):
            parse_uri(bad)


def test_data_set_is_read_from_the_bucket(store, tmp_path, monkeypatch):
    from PIL import Image

    source = tmp_path / "source"
    source.mkdir()
    rows = []
    for n in range(4):
        Image.new("RGB", (40, 40), (n, 0, 0)).save(source / f"{n}.png")
        rows.append({"image_id": f"i{n}", "image": f"{n}.png", "caption": "a red square"})
        rows[-1] |= {"source": "test", "licence": "MIT"}
    (source / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    store.put_folder(source, "data/set")
    uri = f"s3://{store.bucket}/data/set"
    arguments = (load_recipe("smoke"), uri, tmp_path / "out", tmp_path / "report.html")
    assert validate_data(*arguments, store)["num_samples"] == 4
    assert json.loads((tmp_path / "out/data.json").read_text())["source"] == uri
    with pytest.raises(StoreError, match="nothing is at s3://uae/no-data"):
        validate_data(
            arguments[0], f"s3://{store.bucket}/no-data", tmp_path / "o2", tmp_path / "r2", store
        )
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with pytest.raises(DataError, match="set AWS_ENDPOINT_URL"):
        validate_data(arguments[0], uri, tmp_path / "o2", tmp_path / "r2")
