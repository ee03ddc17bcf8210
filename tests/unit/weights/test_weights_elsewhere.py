"""Weights in a bucket and on a hub: refused, fetched and used through the real clients."""

import multiprocessing
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from artifact_place import Place
from hub_server import COMMIT, TOKEN, HubServer
from stage_world import write_split
from unit.weights.conftest import CHOICES, Folder, recipe_of

from uae.errors import ModelError, RecipeError, RunError, StoreError
from uae.fingerprints import folder_sha256
from uae.launch.start import run_start
from uae.launch.training import StagePaths, train_stage
from uae.launch.validation import settle_recipe
from uae.launch.weight_inputs import benchmark_weights, stage_weights
from uae.models.bundle import fetched_folder, resolve_base, weights_root
from uae.recipe_files import dump_recipe, parse_recipe
from uae.store.embedded import EmbeddedStore
from uae.weights.assembling import add_model, assemble
from uae.weights.check import check_weights
from uae.weights.fetching import (
    fetch_for_benchmark,
    fetch_for_stage,
    fetch_licences,
    fetch_manifest,
)
from uae.weights.manifest import read_manifest
from uae.weights.places import BucketPlace
from uae_pipelines.commands import run

VAE = "published/vae/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with EmbeddedStore(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def store(server, monkeypatch):
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return server.store()


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Keep what is fetched apart."""
    (tmp_path / "cache").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def stored(assembled, server) -> Folder:
    """A weights folder in the bucket. A test that spoils it puts it back."""
    opened, root = server.store(), assembled.root
    files = [path for path in root.rglob("*") if path.is_file()]
    with ThreadPoolExecutor(8) as pool:
        for path in files:
            pool.submit(opened.put_file, f"weights/{path.relative_to(root).as_posix()}", path)
    base = f"s3://{opened.bucket}/weights/published"
    return Folder(root, base, recipe_of(base, assembled.recipe.models.manifest))


@contextmanager
def spoilt(store, name, data):
    """Put another object in one's place, or none, for a while."""
    key = f"weights/{name}"
    before = store.get_bytes(key)
    store.delete(key)
    if data is not None:
        store.put_bytes(key, data)
    yield
    store.put_bytes(key, before)


@pytest.fixture
def hub(assembled, published, monkeypatch):
    folders = {
        "org/weights": assembled.root,
        "qwen/q": published.encoder,
        "sd/s": published.decoder,
    }
    with HubServer(folders) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.endpoint)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield running


def test_a_step_fetches_what_it_reads_once_and_trains_from_it(stored, store, tmp_path):
    recipe, manifest = stored.recipe, stored.recipe.models.manifest
    write_split(tmp_path / "data/train", 4, first=0)
    write_split(tmp_path / "data/heldout", 2, first=4)
    section = recipe.pretrain_decoder.model_copy(update={"num_updates": 1})
    recipe = recipe.model_copy(update={"pretrain_decoder": section})
    paths = StagePaths(
        tmp_path / "data", None, tmp_path / "out", tmp_path / "logs", tmp_path / "curves.html"
    )
    train_stage("pretrain_decoder", dump_recipe(recipe), paths, store, "checkpoints")
    assert (tmp_path / "out" / "model.json").is_file()
    root = fetched_folder(manifest)
    names = {path.name for path in root.iterdir() if not path.name.startswith(".")}
    assert names == {"manifest.json", "published"}
    assert folder_sha256(root / "published") == folder_sha256(stored.root / "published")
    assert resolve_base(recipe.models.base, manifest) == root / "published"
    fetch_for_benchmark(recipe, "geneval", store)
    assert (weights_root(recipe.models.base, manifest) / "scorers/clip").is_dir()
    # A second time nothing is asked for: without a store and its address that would be an error.
    fetch_for_stage(recipe, "pretrain_decoder", None, starts_from_base=True)


def test_hashes_of_a_step_s_weights_come_from_the_manifest(stored, assembled, store):
    here, there = dump_recipe(assembled.recipe), dump_recipe(stored.recipe)
    for stage in ("pretrain_decoder", "cold_start"):
        told = stage_weights(there, stage, store, starts_from_base=True)
        assert told == stage_weights(here, stage, starts_from_base=True)
    told = benchmark_weights(there, "unified_bench", store)
    assert told == benchmark_weights(here, "unified_bench")


def test_processes_wait_for_the_one_that_fetches(stored, server):
    def fetch():
        store = server.store()
        fetch_for_stage(stored.recipe, "pretrain_decoder", store, starts_from_base=True)

    processes = [multiprocessing.get_context("fork").Process(target=fetch) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert (fetched_folder(stored.recipe.models.manifest) / "published/model.json").is_file()


def start(recipe, server):
    chosen = {"seed": -1, "base_model": "", "evaluation": {}, "run_id": "one"}
    given = (dump_recipe(recipe), "starter", "r1")
    where = {"endpoint": server.endpoint, "bucket": server.bucket, "metrics": Place("metrics")}
    return run_start(*given, **chosen, **where)


def test_the_first_step_takes_good_weights_and_keeps_their_address(stored, store, server):
    settled = parse_recipe(start(stored.recipe, server).recipe)
    assert settled.models == stored.recipe.models
    assert settled.cold_start.scorer == "clip"
    assert not (fetched_folder(settled.models.manifest) / "published").exists()


def test_the_first_step_refuses_bad_weights_by_name(stored, store, server):
    manifest = stored.recipe.models.manifest
    with pytest.raises(RecipeError, match=r"qwen-research .*not accepted; it covers published/enc"):
        start(recipe_of(stored.bundle, manifest, []), server)
    says = rf"models\.base: {re.escape(VAE)} is cut off: it has 4 of \d+ bytes"
    with spoilt(store, VAE, b"half"), pytest.raises(RecipeError, match=says):
        start(stored.recipe, server)
    says = f"{re.escape(VAE)} is missing: the manifest names it"
    with spoilt(store, VAE, None), pytest.raises(RecipeError, match=says):
        start(stored.recipe, server)


def test_a_base_elsewhere_needs_the_hash_of_its_manifest(stored, store, server):
    manifest = stored.recipe.models.manifest
    with pytest.raises(RecipeError, match=f"write its hash .*`manifest: {manifest}`"):
        start(recipe_of(stored.bundle, None), server)
    with pytest.raises(RecipeError, match=f"the recipe's models.manifest is {'0' * 64}"):
        start(recipe_of(stored.bundle, "0" * 64), server)
    with pytest.raises(RecipeError, match="names no bundle in a weights folder"):
        start(recipe_of("s3://bucket", manifest), server)
    shutil.rmtree(fetched_folder(manifest), ignore_errors=True)
    says = r"has no manifest\.json: write it with `uae weights man"
    with spoilt(store, "manifest.json", None), pytest.raises(RecipeError, match=says):
        start(stored.recipe, server)


def test_a_local_run_is_told_which_store_holds_its_base(stored, server, monkeypatch, tmp_path):
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    (tmp_path / "mine.yaml").write_text(dump_recipe(stored.recipe))
    chosen = {"data": "starter", "seed": None, "resume": None, "bucket": "uae"}
    with pytest.raises(RunError, match=r"models\.base 's3://uae/.*no store is named"):
        run(recipe=str(tmp_path / "mine.yaml"), run_root=tmp_path, endpoint="", **chosen)


def test_a_name_that_is_not_elsewhere_is_told_with_the_address(stored, store):
    section = stored.recipe.cold_start.model_copy(update={"scorer": "clipp"})
    recipe = stored.recipe.model_copy(update={"cold_start": section})
    with pytest.raises(RecipeError, match=r"cold_start\.scorer: no scorer 'clipp' in s3://uae/wei"):
        settle_recipe(dump_recipe(recipe), store=store)
    with pytest.raises(StoreError, match="set AWS_ENDPOINT_URL"):
        settle_recipe(dump_recipe(stored.recipe))


def test_a_changed_file_is_never_put_in_its_place(stored, store):
    data = store.get_bytes(f"weights/{VAE}")
    with spoilt(store, VAE, data[:-1] + bytes([data[-1] ^ 1])):
        assert check_weights(stored.recipe, store) == []  # as long as it was
        with pytest.raises(ModelError, match=f"{re.escape(VAE)} has sha256 .*its manifest says"):
            fetch_for_stage(stored.recipe, "pretrain_decoder", store, starts_from_base=True)
    assert not (fetched_folder(stored.recipe.models.manifest) / "published").exists()


def test_licences_come_along_with_an_export(stored, store, tmp_path):
    folder = fetch_licences(stored.recipe.models, store, tmp_path / "licences")
    assert {path.name for path in (folder / "LICENSES").iterdir()} == {
        "encoder-LICENSE", "decoder-LICENSE.md"
    }  # fmt: skip


def test_a_base_on_a_hub_is_fetched_at_its_commit(hub, assembled, store):
    manifest = assembled.recipe.models.manifest
    recipe = recipe_of("hub:org/weights@v1/published", manifest)
    assert check_weights(recipe) == []
    fetch_for_stage(recipe, "cold_start", None, starts_from_base=True)
    root = fetched_folder(manifest)
    assert folder_sha256(root / "published") == folder_sha256(assembled.bundle)
    assert not list(root.rglob(".hub"))
    settled = settle_recipe(dump_recipe(recipe))
    assert settled.models.base == recipe.models.base


def test_a_base_on_a_hub_needs_a_revision(hub, assembled):
    manifest = assembled.recipe.models.manifest
    for base in ("hub:org/weights/published", "hub:org/weights@v1", "hub:published@v1"):
        (line,) = check_weights(recipe_of(base, manifest))
        assert f"{base!r} names no bundle in a weights folder: give s3://" in line
    assert not hub.fetched
    fetch_manifest(recipe_of("hub:org/weights@v1/published", manifest).models)
    with pytest.raises(ModelError, match=r"names no bundle"):  # though its manifest is here
        fetch_manifest(recipe_of("hub:org/weights/published", manifest).models)


LEAVING = ("transformer/../../stolen.safetensors", "/tmp/stolen.json", "..\\stolen.json")


@pytest.mark.parametrize("name", LEAVING)
def test_files_whose_names_leave_their_folder_are_not_taken(hub, tmp_path, name):
    says = re.escape(f"has a file {name!r}, which would leave the weights folder")
    hub.also_listed["sd/s"] = [name]
    with pytest.raises(ModelError, match=f"hub:sd/s {says}"):
        assemble("hub:qwen/q", "hub:sd/s", tmp_path / "weights" / "bundle", CHOICES)
    assert not hub.fetched
    keys = {f"sd/{name}": "tag 4", "sd/vae/": "tag 0"}
    place = BucketPlace(SimpleNamespace(bucket="uae", etags=lambda prefix: keys), "sd")
    with pytest.raises(ModelError, match=f"s3://uae/sd {says}"):
        place.sizes()
    keys.pop(f"sd/{name}")
    assert place.sizes() == {}


def test_a_bundle_is_assembled_from_a_hub(hub, published, assembled, tmp_path):
    bundle = tmp_path / "weights" / "bundle"
    assemble("hub:qwen/q@main", "hub:sd/s", bundle, CHOICES)
    part = read_manifest(bundle.parent)[0].parts["bundle/encoder"]
    assert (part.source, part.revision) == ("hub:qwen/q", COMMIT)
    skipped = {"optimizer.pt", "sd3.5_large.safetensors", "text_encoder/model.fp16.safetensors"}
    assert not skipped & {*hub.fetched}
    for name in ("encoder", "transformer", "vae", "connector"):
        assert folder_sha256(bundle / name) == folder_sha256(assembled.bundle / name), name


REFUSED = {
    "no such model": ("hub:qwen/none", "hub:qwen/none is not there, or not for this account"),
    "no such revision": ("hub:qwen/q@old", "has no revision 'old'"),
    "no such folder": ("hub:qwen/q@main/x", r"lacks config\.json"),
    "no address": ("hub:qwen", "bad hub address 'hub:qwen'"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_the_hub_does_not_have_is_told(hub, tmp_path, fault):
    address, says = REFUSED[fault]
    with pytest.raises(ModelError, match=says):
        assemble(address, "hub:sd/s", tmp_path / "weights" / "bundle", CHOICES)


def test_a_gated_model_says_where_to_accept_its_licence(hub, tmp_path, monkeypatch):
    hub.gated.add("qwen/q")
    out = tmp_path / "weights" / "bundle"
    with pytest.raises(
        ModelError, match=rf"gated: read its licence at {hub.endpoint}/qwen/q, .*HF"
    ):
        assemble("hub:qwen/q", "hub:sd/s", out, CHOICES)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assemble("hub:qwen/q", "hub:sd/s", out, CHOICES)
    hub.forbidden.add("sd/s")
    with pytest.raises(
        ModelError, match=r"hub:sd/s: the hub refuses \(403\); accept the licence at"
    ):
        assemble("hub:qwen/q", "hub:sd/s", tmp_path / "weights" / "other", CHOICES)


def test_a_file_that_ends_early_is_no_file(hub, published, tmp_path):
    hub.cut.add("model-00002-of-00002.safetensors")
    out = tmp_path / "weights" / "bundle"
    with pytest.raises(StoreError, match=r"hub:qwen/q cannot be fetched: .*model-00002"):
        assemble("hub:qwen/q", "hub:sd/s", out, CHOICES)
    assert not out.exists()


def test_a_hub_that_is_gone_is_a_fault_that_a_retry_may_cure(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(StoreError, match="hub:qwen/q cannot be fetched"):
        assemble("hub:qwen/q", "hub:sd/s", tmp_path / "bundle", CHOICES)


def test_a_scorer_is_added_from_a_bucket_in_one_format(assembled, store, tmp_path):
    folder = assembled.root / "scorers" / "clip"
    shutil.copytree(folder, tmp_path / "both")
    (tmp_path / "both" / "model.safetensors").write_bytes(b"transformers' format")
    (tmp_path / "both" / "config.json").write_text("{}")
    for path in (tmp_path / "both").iterdir():
        store.put_file(f"clip/{path.name}", path)
    out = tmp_path / "weights" / "scorers" / "clip"
    add_model(f"s3://{store.bucket}/clip", out, licence="mit", store=store)
    assert {path.name for path in out.iterdir()} == {path.name for path in folder.iterdir()}
    assert [*read_manifest(tmp_path / "weights")[0].parts] == ["scorers/clip"]
