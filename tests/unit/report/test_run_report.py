import re

import pytest
from example_run import write_bench, write_example_run

from uae.errors import DataError
from uae.report.page import UNKNOWN, duration, memory, number
from uae.report.run_report import write_report
from uae.report.samples import choose_samples, paired_scores, read_samples
from uae.report.step_html import bench_html, curves_html, gate_html, tasks_html


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return write_example_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def report(run_folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(run_folder, path)
    return path.read_text(encoding="utf-8")


def report_of(tmp_path, **options):
    write_report(write_example_run(tmp_path, num_samples=3, **options), tmp_path / "report.html")
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def loads_something(html):
    """Return every address in the page that a browser would fetch."""
    addresses = re.findall(r"""(?:src|href|srcset|action)\s*=\s*["']([^"']*)""", html)
    addresses += re.findall(r"url\(([^)]*)\)", html)
    return [a for a in addresses if not a.startswith(("data:", "#"))] + re.findall("@import", html)


def test_page_is_small_and_loads_nothing(report):
    assert len(report.encode()) < 2_000_000
    assert loads_something(report) == []
    assert report.count("<script") == 1  # of the links to sections


def test_sections_are_there(report):
    for section in ("pipeline", "pictures", "unified-bench", "length", "curves", "benchmarks",
                    "gate", "data", "setup"):  # fmt: skip
        assert f'id="{section}"' in report
        assert f'href="#{section}"' in report


def test_every_picture_is_shown_after_every_stage(report):
    # 8 in order, 2 gains, 2 losses; an original and four reconstructions each
    assert report.count('src="data:image/webp;base64,') == 12 * 5
    assert report.count('alt="Original ') == 12


def test_condition_source_is_named_above_the_pictures(report, tmp_path):
    lead = report[report.index('id="pictures"') :].partition("</p>")[0]
    assert "<code>reencode_text</code>. The caption is decoded to text and read again" in lead
    run = write_example_run(tmp_path, num_samples=2)
    recipe = (run / "recipe.yaml").read_text().replace("reencode_text", "in_context")
    (run / "recipe.yaml").write_text(recipe)
    write_report(run, tmp_path / "report.html")
    other = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<code>in_context</code>. The decoder reads hidden states" in other


def test_benchmarks_say_whose_scenes_they_asked_for(report):
    assert report.count("48 prompts from the shipped starter scenes") == 2


def test_verdict_and_change_are_in_words(report):
    assert '<div class="verdict good">Promoted</div>' in report
    assert re.search(r"Unified-Bench changed by \+\d+\.\d\d points \(95 % interval \+", report)


def test_failed_run_names_step_error_and_log(tmp_path):
    html = report_of(tmp_path, fails_at="generation_for_understanding")
    assert "Failed at Generation for understanding" in html
    assert "the first ratio after a rollout is 1.31, not 1: &lt;tolerance 0.0001&gt;" in html
    assert "update 60 of 60" in html
    assert html.count('class="node not-reached"') == 7
    assert 'id="gate"' not in html


def test_run_that_failed_at_once_still_has_a_report(tmp_path):
    html = report_of(tmp_path, fails_at="validate_data")
    assert "Failed at Validate data" in html
    assert 'id="pictures"' not in html


def test_record_of_a_killed_step_has_no_seconds(tmp_path):
    run = write_example_run(tmp_path, fails_at="cold_start", num_samples=2)
    path = run / "steps" / "cold_start.json"
    path.write_text(path.read_text().replace('"seconds": 34', '"seconds": null'))
    write_report(run, tmp_path / "report.html")
    assert "Failed at Cold start" in (tmp_path / "report.html").read_text()


def test_missing_run_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"it has no run\.json"):
        write_report(tmp_path, tmp_path / "report.html")


def test_stages_judged_on_other_pictures_are_refused(tmp_path):
    write_bench(tmp_path, stage=0, num_samples=1)
    (one,) = read_samples(tmp_path).values()
    with pytest.raises(DataError, match=r"judged on different pictures, e\.g\. \['b'\]"):
        paired_scores({"a": one}, {"a": one, "b": one}, None)


def test_missing_evidence_is_refused(tmp_path):
    with pytest.raises(DataError, match="no per-sample evidence"):
        choose_samples({"cold_start": tmp_path})


def test_extremes_are_the_extremes(tmp_path):
    folders = {}
    for stage, name in enumerate(("pretrain_decoder", "cold_start")):
        folders[name] = tmp_path / name
        folders[name].mkdir()
        write_bench(folders[name], stage)
    choice = choose_samples(folders)
    shown = [view.image_id for view in choice.in_order]
    assert shown == [f"scene-{index:03d}" for index in range(8)]
    gains = [view.gain for view in choice.largest_gains]
    losses = [view.gain for view in choice.largest_losses]
    assert gains == sorted(gains, reverse=True)
    assert min(gains) > max(losses)


def test_step_pages_load_nothing(run_folder):
    artifacts = run_folder / "artifacts"
    pages = [
        curves_html(artifacts / "cold_start" / "logs" / "metrics.jsonl"),
        bench_html(artifacts / "evaluate_unified_bench" / "cold_start" / "results"),
        tasks_html(artifacts / "evaluate_geneval" / "results", title="GenEval"),
    ]
    assert all(loads_something(page) == [] and "<h1>" in page for page in pages)


def test_gate_page_shows_what_failed():
    from uae.export.gate import Check, Decision

    page = gate_html(Decision((Check(True, "fine"), Check(False, "too low: 3 < 4"))))
    assert "Not promoted" in page
    assert '<li class="no">too low: 3 &lt; 4</li>' in page


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, UNKNOWN),
        (8.44, "8.4 s"),
        (59.96, "1 min 00 s"),
        (185, "3 min 05 s"),
        (7620, "2 h 07 min"),
    ],
)
def test_durations(value, text):
    assert duration(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, UNKNOWN),
        (0.0, "0"),
        (0.5, "0.500"),
        (2.346, "2.35"),
        (1e-4, "1e-04"),
        (12345.6, "12,346"),
    ],
)
def test_numbers(value, text):
    assert number(value) == text


def test_memory():
    assert memory(3_400_000_000) == "3.2 GiB"
    assert memory(117 * 2**20) == "117 MiB"


def test_confusion_of_a_benchmark_is_a_table_with_its_categories(report):
    shown = report[report.index("Colour asked for, and colour seen") :].partition("</table>")[0]
    assert shown.count("<th>") == 1 + 11
    assert shown.count('<td class="same">7</td>') == 11
    assert "<td>not found</td>" in shown
