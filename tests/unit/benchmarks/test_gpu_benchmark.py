"""The GPU benchmark's dry run, and its arithmetic on numbers worked by hand."""

import importlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from uae.errors import ModelError, UaeError
from uae.models.encoder import Encoder
from uae.planning.gpus import GPUS
from uae.planning.plan import Batches, PhasePlan, StagePlan
from uae.recipe_files import load_recipe

ROOT = Path(__file__).parents[3]
RECIPE = "uae-qwen2.5-vl-3b-sd3.5-large-one-gpu"
UFG = "understanding_for_generation"
GIB = 2**30


def part(name):
    return importlib.import_module(f"benchmarks.gpu.{name}")


@pytest.fixture(autouse=True)
def _found(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.fixture(scope="module")
def dry_run(tmp_path_factory):
    """Return the folder of a dry run of one stage, with weights, JSON and a page."""
    folder = tmp_path_factory.mktemp("gpu")
    marks = part("table")
    (folder / "page.md").write_text(f"before\n{marks.BEGIN}\nearlier figures\n{marks.END}\nafter\n")
    given = ["--dry-run", "--stages", UFG, "--updates", "1", "--place", folder / "place"]
    given += [
        "--condition-tokens",
        "40",
        "--out",
        folder / "gpu.json",
        "--table",
        folder / "page.md",
    ]
    assert part("__main__").main([str(word) for word in given]) == 0
    return folder


@pytest.fixture
def given(dry_run):
    (recipe,) = dry_run.glob("place/pairs-*/recipe.yaml")
    return recipe, recipe.parent / "data"


def test_dry_run_says_what_was_measured_and_planned(dry_run):
    found = json.loads((dry_run / "gpu.json").read_text())
    assert not found["device"]["is_gpu"]
    assert found["device"]["flops"] > 0
    stage = found["stages"][UFG]
    assert len(stage["found"]["updates"]) == 1  # without the first
    assert stage["found"]["peaks"] is None
    assert stage["found"]["gaps"]["ratio/max_deviation"] < 1e-3
    (update,) = stage["found"]["updates"]
    assert update["seconds"] == pytest.approx(sum(update["phases"].values()))
    assert {"draw", "decode and score", "train", "optimizer step"} <= set(update["phases"])
    planned = {phase["name"] for phase in stage["phases"] if phase["floor_seconds"] is not None}
    assert set(update["phases"]) - planned == {"rest"}
    pictures = stage["compared"]["pictures per second"]
    assert pictures["measured"] == pytest.approx(2 * 2 / update["seconds"])  # pictures x group
    assert found["plan"]["recipe"] == RECIPE
    assert found["plan"]["condition_tokens"] == 40


def test_page_gets_the_table_between_its_marks(dry_run):
    before, *_, last, after = (dry_run / "page.md").read_text().splitlines()
    assert (before, last, after) == ("before", part("table").END, "after")
    text = (dry_run / "page.md").read_text()
    assert "earlier figures" not in text
    assert "these numbers mean nothing" in text
    assert "Memory is not measured on a CPU." in text
    assert f"| `{UFG}` | draw |" in text
    assert "GiB: measured" not in text


@pytest.mark.parametrize(
    ("stage", "phases"),
    [
        ("cold_start", {"train", "optimizer step"}),
        (
            "generation_for_understanding",
            {"look", "write captions", "read captions", "draw", "decode and score", "train"},
        ),
    ],
)
def test_every_stage_runs_and_its_phases_are_seen(given, stage, phases):
    recipe, data = given
    found = part("stage_process").measure(stage, recipe, data, 1, None)
    (update,) = found["updates"]
    assert phases <= set(update["phases"])
    assert update["phases"]["train"] > 0


def test_profile_is_a_trace_of_one_update(given, tmp_path, capsys):
    recipe, data = given
    trace = tmp_path / "trace.json"
    found = part("stage_process").measure("pretrain_decoder", recipe, data, 1, trace)
    (update,) = found["updates"]
    assert {"train", "optimizer step"} <= set(update["phases"])
    assert update["phases"]["train"] > 0
    names = {
        event.get("name", "")
        for event in json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    }
    assert "aten::addmm" in names
    assert "Self CPU" in capsys.readouterr().out


def test_stages_measured_before_are_kept_on_the_same_device(dry_run):
    measuring, options = part("measuring"), part("options")
    given = options.read_options(["--dry-run", "--add", "--out", str(dry_run / "gpu.json")])
    content = json.loads((dry_run / "gpu.json").read_text())
    device = part("device").Device(**content["device"])
    assert measuring._earlier(given, device) == {UFG: content["stages"][UFG]["found"]}
    other = part("device").Device(**content["device"] | {"name": "another"})
    with pytest.raises(UaeError, match="was not measured on another"):
        measuring._earlier(given, other)
    assert measuring._earlier(options.read_options(["--dry-run"]), device) == {}


def test_weights_are_found_again_or_refused(dry_run):
    measuring, configuration = part("measuring"), part("configuration")
    files = configuration.dry_files(configuration.published_files(load_recipe(RECIPE)))
    (bundle,) = dry_run.glob(f"place/weights/{RECIPE.removesuffix('-one-gpu')}")
    before = (bundle / "model.json").stat().st_mtime_ns
    measuring._make_weights(files, bundle)
    assert (bundle / "model.json").stat().st_mtime_ns == before
    files.bundle["connector/config.json"]["hidden_features"] = 7
    with pytest.raises(UaeError, match="holds other weights"):
        measuring._make_weights(files, bundle)


def test_weights_are_as_large_as_said_and_of_16_bits(dry_run):
    weights, configuration = part("weights"), part("configuration")
    files = configuration.dry_files(configuration.published_files(load_recipe(RECIPE)))
    written = [load_file(path) for path in dry_run.glob("place/weights/**/*.safetensors")]
    tensors = [tensor for found in written for tensor in found.values()]
    assert {tensor.dtype for tensor in tensors} == {torch.bfloat16}
    assert weights.num_bytes(files) == sum(2 * tensor.numel() for tensor in tensors)


def test_random_weights_keep_the_size_of_what_goes_through():
    weights = part("weights")
    matrix = weights.random_tensor("a.weight", (300, 400)).float()
    assert (torch.randn(400) @ matrix.T).std() == pytest.approx(1, rel=0.2)
    assert torch.equal(matrix, weights.random_tensor("a.weight", (300, 400)).float())
    assert not torch.equal(matrix, weights.random_tensor("b.weight", (300, 400)).float())
    assert weights.random_tensor("norm.weight", (3,)).tolist() == [1, 1, 1]
    assert weights.random_tensor("norm.bias", (3,)).tolist() == [0, 0, 0]


def test_a_caption_of_drawn_tokens_is_read_again_as_as_many(dry_run):
    (folder,) = dry_run.glob("place/weights/*/encoder")
    encoder = Encoder.load(folder)
    assert len(encoder.tokenizer) == encoder.model.config.text_config.vocab_size == 2000
    drawn = torch.arange(600, 840)  # beyond the shipped 528
    text = encoder.tokenizer.decode(drawn).replace("\N{REPLACEMENT CHARACTER}", "")
    assert text == "".join(str((token - 528) % 10) for token in drawn.tolist())
    assert len(encoder.token_ids([text])[0]) == len(drawn)


class Event:
    """A moment of a GPU whose clock and memory move only when told to."""

    now, held, peak = 0.0, 0, 0

    def __init__(self, *, enable_timing):
        assert enable_timing

    def record(self):
        self.at = Event.now

    def elapsed_time(self, end):
        return 1000 * (end.at - self.at)


def passes(seconds, held, most):
    Event.now, Event.held, Event.peak = Event.now + seconds, held, max(Event.peak, most)


@pytest.fixture
def gpu(monkeypatch):
    def reset(_):
        Event.peak = Event.held

    Event.now, Event.held, Event.peak = 0.0, 0, 0
    simulated = {
        "Event": Event,
        "synchronize": lambda _: None,
        "is_initialized": lambda: True,
        "max_memory_allocated": lambda _: Event.peak,
        "max_memory_reserved": lambda _: Event.peak + 1,
        "reset_peak_memory_stats": reset,
    }
    for name, function in simulated.items():
        monkeypatch.setattr(torch.cuda, name, function)
    return part("timeline").Timeline(torch.device("cuda"), "start")


def test_timeline_tells_phases_and_their_peaks_apart(gpu):
    passes(5, held=10, most=70)
    gpu.mark("draw")  # as a held-out measurement does: no update is under way
    gpu.begin()
    passes(1, held=10, most=12)
    gpu.mark("draw")
    passes(2, held=11, most=20)
    with gpu.enclosing("train"):
        passes(3, held=15, most=40)
        gpu.mark("draw")
        with gpu.enclosing("read captions"):
            passes(4, held=15, most=15)
        with gpu.enclosing("optimizer step", divides=True):
            passes(5, held=11, most=30)
        passes(6, held=11, most=11)
    passes(7, held=10, most=11)
    assert gpu.end("between") == {"rest": 8, "draw": 2, "train": 13, "optimizer step": 5}
    passes(8, held=10, most=50)
    gpu.begin()
    allocated = {name: peak.allocated for name, peak in gpu.peaks.items()}
    assert allocated == {
        "start": 70, "rest": 12, "draw": 20, "train": 40, "optimizer step": 30, "between": 50,
    }  # fmt: skip
    assert gpu.peaks["train"].reserved == 41


def phase(name, flops, floor, **memory):
    return PhasePlan(
        name=name,
        flops=flops,
        float32_flops=0,
        bytes_read=0,
        exchanged_bytes=0,
        memory_bytes=memory,
        floor_seconds=floor,
        is_memory_bound=False,
        is_exchange_bound=False,
    )


@pytest.fixture
def stage():
    """Return the plan of an update of 4 pictures: expected 10 s, 20 GiB."""
    batches = Batches(
        samples=2, group_size=2, optimizer_steps=1, samples_per_process=2, samples_per_pass=1,
        passes_per_process=2, losses_per_pass=1,
    )  # fmt: skip
    return StagePlan(
        stage=UFG,
        num_updates=1,
        num_trained=1,
        batches=batches,
        held_bytes={"weights": 8 * GIB},
        phases=[phase("draw", 100, 1.0, latents=2 * GIB), phase("train", 300, 3.0, a=12 * GIB)],
        start=[],
        exchange_seconds=0.0,
        checkpoint_bytes=12,
        loading_bytes=GIB,
        finishing_bytes=GIB,
        fraction=0.4,
    )


@pytest.fixture
def measured():
    peaks = {"start": 9, "draw": 10, "train": 24, "between updates": 11}
    return {
        "updates": [
            {"seconds": 7.0, "phases": {"draw": 2.0, "train": 5.0}},
            {"seconds": 9.0, "phases": {"draw": 2.0, "train": 5.0, "rest": 2.0}},
        ],
        "peaks": {n: {"allocated": v * GIB, "reserved": (v + 1) * GIB} for n, v in peaks.items()},
        "main_memory_bytes": 3 * GIB,
        "gaps": {"ratio/max_deviation": 0.01},
    }


@pytest.fixture
def device():
    return part("device").Device("NVIDIA H100 80GB HBM3", True, 80 * GIB, "1", "13", 100.0, 10.0)


def test_predictions_and_measurements_are_compared(stage, measured, device):
    found = part("comparison").StageFigures(stage, measured, device)
    assert (found.seconds.planned, found.seconds.measured) == (10, 8)
    assert found.seconds.deviation == pytest.approx(-0.2)
    assert found.rollouts_per_second.planned == pytest.approx(4 / 10)
    assert found.rollouts_per_second.measured == 4 / 8
    assert found.fraction == 4 / 8  # of the floor
    assert found.bytes.deviation == pytest.approx(4 / 20)
    assert found.reserved_bytes == 25 * GIB
    assert found.between_bytes == 11 * GIB
    assert found.share == 400 / 8 / 100
    assert found.decoder_share == pytest.approx(400 / 7 / 100)
    draw, train, rest = found.phases
    assert (draw.seconds, draw.share) == (2, 100 / 2 / 100)
    assert (draw.bytes.planned, draw.bytes.measured) == (10 * GIB, 10 * GIB)
    assert train.bytes.is_outside  # 24 of 20
    assert (rest.name, rest.seconds, rest.floor_seconds, rest.share) == ("rest", 1, None, None)
    speed, share = found.targets()
    assert (speed.value, speed.is_met) == (0.5, False)
    assert (share.value, share.is_met) == (pytest.approx(100 * 400 / 700), True)


def test_phases_bound_by_memory_are_held_to_the_memory_s_rate(stage, measured, device):
    reading = stage.phases[0].model_copy(update={"is_memory_bound": True, "bytes_read": 8})
    stage = stage.model_copy(update={"phases": [reading, stage.phases[1]]})
    found = part("comparison").StageFigures(stage, measured, device)
    assert found.phases[0].share == 8 / 2 / 10


def test_table_shows_what_is_outside(stage, measured, device):
    comparison, table = part("comparison"), part("table")
    found = comparison.StageFigures(stage, measured, device)
    row = table._stage_row(found)
    assert row["measured"] == "**8 s (-20%)**"
    assert row["GiB: measured"] == "**24.00 (+20%)**"
    assert row["rollout and training differ by"] == "`ratio/max_deviation` 0.01"
    failed = comparison.StageFigures(stage, {"updates": [], "peaks": None, "error": "E"}, device)
    assert table._stage_row(failed)["measured"] is None
    assert table._failures([failed]) == [f"\n`{UFG}` was not measured: E"]


def test_predictions_alone_are_called_so(stage, capsys):
    comparison, table = part("comparison"), part("table")
    found = comparison.StageFigures(stage, None, None)
    lines = table._rows([table._stage_row(found)])
    assert lines[0] == "| stage | update: floor | expected | pictures/s: expected | GiB: planned |"
    assert lines[2] == f"| `{UFG}` | 4 s | 10 s | 0.4 | 20.00 |"


@pytest.mark.parametrize(
    ("name", "gib", "kind"),
    [
        ("NVIDIA H100 80GB HBM3", 79.1, "h100-80gb"),
        ("NVIDIA H100 PCIe", 79.1, "custom"),
        ("NVIDIA H100 NVL", 93.1, "custom"),
        ("NVIDIA H200", 139.8, "h200-141gb"),
        ("NVIDIA A100-SXM4-40GB", 39.4, "custom"),
        ("NVIDIA GeForce RTX 4090", 23.5, "rtx-4090"),
        ("NVIDIA GeForce RTX 3090", 23.6, "custom"),
    ],
)
def test_gpu_is_planned_as_its_kind_or_by_its_numbers(name, gib, kind):
    gpu = part("device").Device(name, True, int(gib * GIB), None, None, 7e14, 3e12).as_planned()
    assert gpu.name == kind
    assert gpu == GPUS.get(kind, gpu)
    assert kind != "custom" or gpu.bfloat16_flops == 7e14


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no GPU is here"),
        (["--updates", "0", "--dry-run"], "--updates 0: give 1 or more"),
        (["--recipe", "starter", "--dry-run"], "the configuration of 'starter' is not shipped"),
    ],
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_what_cannot_be_measured_is_named(words, message, tmp_path, capsys):
    given = [*words, "--place", str(tmp_path / "place"), "--out", str(tmp_path / "gpu.json")]
    assert part("__main__").main(given) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_unknown_configuration_is_a_model_error():
    with pytest.raises(ModelError, match="take a recipe on uae-qwen"):
        part("configuration").published_files(load_recipe("starter"))


def test_a_process_that_fails_is_told_by_its_last_words(tmp_path):
    measuring = part("measuring")
    made = measuring.Made(tmp_path, load_recipe(RECIPE), tmp_path, tmp_path)
    with pytest.raises(measuring.ProcessFailed, match=r"No such file.*tool-nowhere\.log"):
        measuring._result(made, "json.tool", ["nowhere"])
