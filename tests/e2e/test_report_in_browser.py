"""The report in a real browser: nothing complains, nothing is fetched, a phone can show it."""

import shutil

import pytest
from example_run import write_example_run

from uae.report.run_report import write_report
from uae.report.step_html import bench_html, curves_html

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        shutil.which("chromium") is None, reason="Debian's chromium is not installed"
    ),
]

DESKTOP, PHONE = 1280, 390


@pytest.fixture(scope="module")
def page():
    from e2e.headless_chromium import chromium_page

    with chromium_page() as page:
        yield page


@pytest.fixture(scope="module")
def html_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("html")
    finished = write_example_run(folder / "finished")
    failed = write_example_run(folder / "failed", fails_at="generation_for_understanding")
    write_report(finished, folder / "finished.html")
    write_report(failed, folder / "failed.html")
    artifacts = finished / "artifacts"
    curves = curves_html(artifacts / "cold_start" / "logs" / "metrics.jsonl")
    bench = bench_html(artifacts / "evaluate_unified_bench" / "cold_start" / "results")
    (folder / "curves.html").write_text(curves, encoding="utf-8")
    (folder / "bench.html").write_text(bench, encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", ["finished", "failed", "curves", "bench"])
@pytest.mark.parametrize(("width", "dark"), [(DESKTOP, False), (PHONE, False), (PHONE, True)])
def test_page_is_quiet_and_fits(page, html_files, name, width, dark):
    path = html_files / f"{name}.html"
    page.open(path, width=width, dark=dark)
    page.value("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.complaints == []
    assert page.requests == [path.as_uri()]
    assert page.value("document.documentElement.scrollWidth") <= width
    assert page.value("[...document.images].every(one => one.naturalWidth > 0)")
    smallest = "Math.min(...[...document.querySelectorAll('p, td, dd, dt, figcaption, li')]" \
               ".map(one => parseFloat(getComputedStyle(one).fontSize)))"  # fmt: skip
    assert page.value(smallest) >= 12


def test_pictures_are_shown_large_enough_on_a_phone(page, html_files):
    page.open(html_files / "finished.html", width=PHONE)
    assert page.value("document.images.length") == 60
    assert page.value("Math.min(...[...document.images].map(one => one.clientWidth))") >= 96


def test_dark_page_is_dark(page, html_files):
    page.open(html_files / "finished.html", width=DESKTOP, dark=True)
    assert page.value("getComputedStyle(document.body).backgroundColor") == "rgb(17, 20, 26)"


def test_a_complaint_would_be_seen(page, tmp_path):
    broken = tmp_path / "broken.html"
    broken.write_text("<script>missing()</script><img src='http://127.0.0.1:9/x.png'>")
    page.open(broken, width=DESKTOP)
    assert any("missing is not defined" in complaint for complaint in page.complaints)
    assert "http://127.0.0.1:9/x.png" in page.requests
