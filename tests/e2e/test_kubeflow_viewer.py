"""Every HTML page that a step leaves, as Kubeflow shows it: in a sandbox and without a network."""

import json
import shutil
import time

import numpy as np
import pytest
from e2e.kubeflow_viewer import BORDER, NARROW, SANDBOX, UI_ADDRESS, WIDE
from example_run import write_example_run, write_json
from PIL import Image

from uae.data.data_report import Check, DataReport, write_data_report
from uae.data.sample import Fault
from uae.export.gate import read_decision
from uae.launch.reporting import describe_run
from uae.report.run_report import write_report
from uae.report.step_html import bench_html, curves_html, gate_html, tasks_html

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        shutil.which("chromium") is None, reason="Debian's chromium is not installed"
    ),
]

PAGES = (
    "report", "report_failed", "report_of_nothing", "report_of_noise",
    "curves", "bench", "geneval", "dpg_bench", "gate", "data_refused",
)  # fmt: skip
MAX_BYTES = 2_000_000  # the largest page, the run's report of noise at full size
NOT_BLANK = "document.body.innerText.trim().length"


@pytest.fixture(scope="module")
def viewer():
    from e2e.kubeflow_viewer import kubeflow_viewer

    with kubeflow_viewer() as viewer:
        yield viewer


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    run = write_example_run(folder / "run", num_samples=12)
    write_report(run, folder / "report")
    stage = "generation_for_understanding"
    failed = write_example_run(folder / "failed", fails_at=stage, num_samples=2)
    long_record(failed / "steps" / f"{stage}.json")
    write_report(failed, folder / "report_failed")
    nothing = folder / "nothing"
    (nothing / "steps").mkdir(parents=True)
    describe_run(nothing, "nightly", succeeded=False, message="the pod's image is not there")
    write_report(nothing, folder / "report_of_nothing")
    write_report(
        noise(write_example_run(folder / "noise", num_samples=12)), folder / "report_of_noise"
    )
    artifacts = run / "artifacts"
    bench = artifacts / "evaluate_unified_bench" / "cold_start" / "results"
    texts = {
        "curves": curves_html(artifacts / "cold_start" / "logs" / "metrics.jsonl"),
        "bench": bench_html(bench),
        "geneval": tasks_html(artifacts / "evaluate_geneval" / "results", title="GenEval"),
        "dpg_bench": tasks_html(artifacts / "evaluate_dpg_bench" / "results", title="DPG-Bench"),
        "gate": gate_html(read_decision(artifacts / "gate" / "decision")),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    write_data_report(refused_data(), folder / "data_refused")
    return {name: (folder / name).read_text(encoding="utf-8") for name in PAGES}


def long_record(path):
    """Let a step have failed with a message and a log that have no end."""
    record = json.loads(path.read_text())
    record["error"]["message"] = "no space left, " * 100_000
    record["log_tail"] = [
        "\x1b[31mupdate" + "x" * 1_000_000 + "</pre><script>alert(1)</script>"
    ] * 40
    write_json(path, record)


def noise(run):
    """Put pictures in the place of a run's own that no compression makes small."""
    rng = np.random.default_rng(0)
    for path in run.rglob("*.png"):
        pixels = rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path, compress_level=0)
    return run


def refused_data():
    faults = tuple(Fault(f"image-{n}", "caption is text", "none " * 500) for n in range(20_000))
    check = Check("caption is text", "caption", 20_000, faults)
    return DataReport("s3://bucket/pairs", [], [], [check], [])


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("name", PAGES)
def test_page_is_right_in_the_sandbox(viewer, pages, name, width):
    viewer.show(pages[name], width=width)
    viewer.value("document.querySelectorAll('details').forEach(one => one.open = true)")
    viewer.settle()
    assert viewer.page.complaints == []
    assert viewer.asked == [UI_ADDRESS]
    assert viewer.value("innerWidth") == width - BORDER
    assert viewer.value("document.documentElement.scrollWidth") <= width - BORDER
    assert viewer.value(NOT_BLANK) > 60
    assert viewer.value("[...document.images].every(one => one.naturalWidth > 0)")


@pytest.mark.parametrize("name", PAGES)
def test_page_is_small(pages, name):
    assert len(pages[name].encode()) < MAX_BYTES


def test_links_to_sections_stay_in_the_page(viewer, pages):
    viewer.show(pages["report"], width=WIDE)
    sections = viewer.value("[...document.querySelectorAll('nav a')].map(one => one.hash)")
    assert len(sections) == 9
    heights = []
    for section in sections:
        viewer.value(f"document.querySelector('nav a[href=\"{section}\"]').click()")
        viewer.settle()
        heights.append(viewer.value("scrollY"))
    assert viewer.value("location.href") == "about:srcdoc"
    assert viewer.asked == [UI_ADDRESS]
    assert heights == sorted(heights)
    assert heights[-1] > heights[0] > 0


def test_log_of_a_failed_step_is_only_text(viewer, pages):
    viewer.show(pages["report_failed"], width=WIDE)
    assert viewer.value("document.querySelector('.failure pre').innerText.includes('updatexxx')")
    assert viewer.value("document.querySelectorAll('script').length") == 1


def test_sandbox_is_the_ui_s(viewer):
    forbidden = "() => localStorage", "() => document.cookie", "() => parent.document.body"
    viewer.show("<p>page</p>", width=WIDE)
    assert SANDBOX == "allow-scripts"
    for access in forbidden:
        script = (
            f"(() => {{ try {{ ({access})(); return 'allowed'; }} catch {{ return 'no'; }} }})()"
        )
        assert viewer.value(script) == "no"


def test_a_wrong_page_would_be_noticed(viewer):
    loads = "<img src='https://cdn.example/x.png'><img src='near.png'>"
    viewer.show(f"<script>localStorage.x = 1</script>{loads}", width=WIDE)
    viewer.settle()
    assert any("localStorage" in complaint for complaint in viewer.page.complaints)
    assert sorted(viewer.asked) == ["cdn.example:443", UI_ADDRESS, f"{UI_ADDRESS}near.png"]
    assert viewer.value(NOT_BLANK) == 0
    assert not viewer.value("[...document.images].every(one => one.naturalWidth > 0)")
    viewer.show("<div style='width:1200px'>wide</div>", width=WIDE)
    assert viewer.value("document.documentElement.scrollWidth") > WIDE - BORDER


def test_a_link_to_a_section_without_our_script_would_load_the_ui(viewer):
    viewer.show("<a href='#there'>go</a><p id='there'>there</p>", width=WIDE)
    viewer.value("setTimeout(() => document.querySelector('a').click())")
    deadline = time.monotonic() + 20
    while len(viewer.asked) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert viewer.asked == [UI_ADDRESS] * 2
