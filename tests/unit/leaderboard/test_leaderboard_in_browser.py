"""The leaderboard in a real browser: from a file and in a sandbox, by mouse and by keyboard."""

import shutil

import pytest
from unit.leaderboard.example_results import HOSTILE, write_examples

from uae.leaderboard.page import write_leaderboard

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        shutil.which("chromium") is None, reason="Debian's chromium is not installed"
    ),
]

DESKTOP, PHONE = 1280, 400
KEYS = {
    "Tab": ("Tab", 9, None), "Enter": ("Enter", 13, "\r"), "Escape": ("Escape", 27, None),
    "ArrowDown": ("ArrowDown", 40, None), "ArrowRight": ("ArrowRight", 39, None),
    "ArrowLeft": ("ArrowLeft", 37, None), "End": ("End", 35, None),
}  # fmt: skip
GENEVAL = "#t1"  # the first table of the second benchmark
MINUS = "\N{MINUS SIGN}"
FOCUSED = "document.activeElement"


@pytest.fixture(scope="module")
def page():
    from e2e.headless_chromium import chromium_page

    with chromium_page() as page:
        yield page


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("leaderboard")
    results = write_examples(folder / "results")
    return write_leaderboard([results], folder / "page.html", title="Models", max_samples=12)


@pytest.fixture
def board(page, path):
    page.open(path, width=DESKTOP)
    yield page
    assert page.complaints == []
    assert page.requests == [path.as_uri()]
    assert page.value("window.hacked") is None


def press(page, key, *, shift=False):
    name, code, text = KEYS[key]
    common = {"key": name, "code": name, "windowsVirtualKeyCode": code, "modifiers": 8 * shift}
    page.call(
        "Input.dispatchKeyEvent", type="keyDown", **common, **({"text": text} if text else {})
    )
    page.call("Input.dispatchKeyEvent", type="keyUp", **common)


def click(page, selector):
    page.value(f"document.querySelector({selector!r}).click()")


def texts(page, selector):
    return page.value(f"[...document.querySelectorAll({selector!r})].map(one => one.innerText)")


def shown_rows(page, selector):
    return page.value(
        f"[...document.querySelectorAll({selector!r})].filter(one => one.offsetParent)"
        ".map(one => one.querySelector('th').innerText.split('\\n')[0].trim())"
    )


def set_filter(page, name, value):
    page.value(
        f"{{const one = document.getElementById('filter-{name}'); one.value = {value!r};"
        "one.dispatchEvent(new Event('input', {bubbles: true}))}"
    )


def open_result(page, benchmark, name):
    page.value(
        f"[...document.querySelectorAll('section[data-benchmark={benchmark}] button.open')]"
        f".find(one => one.innerText === {name!r}).click()"
    )


@pytest.mark.parametrize(("width", "dark"), [(DESKTOP, False), (PHONE, False), (PHONE, True)])
def test_page_is_quiet_and_fits(page, path, width, dark):
    page.open(path, width=width, dark=dark)
    page.value("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.complaints == []
    assert page.requests == [path.as_uri()]
    assert page.value("document.documentElement.scrollWidth") <= width
    paper = "rgb(17, 20, 26)" if dark else "rgb(255, 255, 255)"
    assert page.value("getComputedStyle(document.body).backgroundColor") == paper
    for benchmark, name in [("dpg_bench", "Alpha"), ("unified_bench", "bagel")]:
        open_result(page, benchmark, name)
        click(page, "dialog button.open")
        assert page.value("document.querySelector('dialog').scrollWidth") <= width
        loaded = "Promise.all([...document.querySelectorAll('dialog img')].map(i => i.decode()))"
        assert page.value(f"{loaded}.then(all => all.length)") > 0
        click(page, "dialog .close")
    assert page.complaints == []


def test_header_buttons_sort(board):
    rows, button = f"{GENEVAL} tbody tr", f"{GENEVAL} th[data-sort=number] button"
    state = f"document.querySelector('{GENEVAL} th[data-sort=number]').ariaSort"
    assert shown_rows(board, rows)[:3] == ["Alpha", "Beta with a rather long name", "Gamma"]
    assert board.value(state) == "descending"
    click(board, button)
    assert board.value(state) == "ascending"
    assert shown_rows(board, rows)[:3] == ["Gamma", "Beta with a rather long name", "Alpha"]
    click(board, f"{GENEVAL} th[data-sort=text] button")
    assert board.value(state) is None
    assert shown_rows(board, rows)[:3] == ["Alpha", "Beta with a rather long name", "Gamma"]
    assert "System, ascending" in texts(board, "#announcement")[0]


def test_rows_without_a_value_stay_last(board):
    rows = "section[data-benchmark=unified_bench] tbody tr"
    button = "section[data-benchmark=unified_bench] th[data-sort=number] button"
    for _ in range(2):
        click(board, button)
        assert set(shown_rows(board, rows)[:2]) == {"bagel", "Alpha"}


def test_filter_by_text_kind_benchmark_and_source(board):
    everything = len(shown_rows(board, "tbody tr"))
    set_filter(board, "text", "alpha UAE")
    assert set(shown_rows(board, "tbody tr")) == {"Alpha"}
    set_filter(board, "benchmark", "geneval")
    assert shown_rows(board, "tbody tr") == ["Alpha"]
    assert texts(board, "#filter-count") == [f"1 of {everything} rows"]
    set_filter(board, "text", "no such system")
    assert board.value("document.getElementById('nothing').hidden") is False
    for name in ("text", "benchmark"):
        set_filter(board, name, "")
    set_filter(board, "kind", "janus")
    assert set(shown_rows(board, "tbody tr")) == {"Beta with a rather long name"}
    set_filter(board, "kind", "")
    set_filter(board, "rows", "reported")
    assert "GPT-4o-Image" in shown_rows(board, "tbody tr")
    assert "Gamma" not in shown_rows(board, "tbody tr")


def test_chart_shows_the_ticked_systems(board):
    chart = f"{GENEVAL} .chart"
    board.value(f"document.querySelector('{chart}').open = true")
    bars = f"document.querySelectorAll('{chart} .bar').length"
    assert board.value(bars) == 3 * 7
    assert board.value(f"document.querySelectorAll('{chart} .whisker:not(.edge)').length") == 3 * 7
    click(board, f"{chart} input")
    assert board.value(bars) == 2 * 7
    assert "Alpha" not in board.value(f"document.querySelector('{chart} svg').ariaLabel")
    titles = board.value(
        f"[...document.querySelectorAll('{chart} title')].map(one => one.textContent)"
    )
    assert any(title.startswith("Gamma, counting: ") for title in titles)


def test_a_sample_shows_boxes_in_the_pixels_of_its_picture(board):
    open_result(board, "geneval", "Alpha")
    assert "12 of 24 samples" in texts(board, "dialog p.muted")[0]
    assert len(texts(board, "dialog tbody tr")) == 24
    click(board, "dialog button.open")
    assert "00000/0000" in texts(board, "dialog h2")[0]
    overlay = "document.querySelector('dialog .picture svg')"
    assert board.value(f"{overlay}.getAttribute('viewBox')") == "0 0 128 128"
    assert board.value(f"{overlay}.ariaLabel") == "Found: red square 0.97, ball 0.88"
    box = board.value(
        "(() => { const box = document.querySelector('.box .edge').getBoundingClientRect(),"
        " image = document.querySelector('dialog img').getBoundingClientRect();"
        " return [(box.left - image.left) / image.width, box.width / image.width] })()"
    )
    assert box == pytest.approx([16 / 128, 48 / 128], abs=0.02)


def test_questions_stand_below_what_they_depend_on(board):
    open_result(board, "dpg_bench", "Alpha")
    click(board, "dialog button.open")
    assert board.value("document.querySelectorAll('ul.questions ul ul li').length") == 1
    answers = texts(board, "ul.questions ul ul .answer")
    assert [one.split()[0] for one in answers] == ["✓", "✕", "✕", "?"]
    assert "depends on 2, 1" in texts(board, "ul.questions ul ul .asked")[0]


def test_samples_are_filtered_by_state_part_and_text(board):
    open_result(board, "dpg_bench", "Beta with a rather long name")

    def choose(place, value):
        board.value(
            f"{{const one = document.querySelectorAll('dialog .toolbar select')[{place}];"
            f"one.value = {value!r}; one.dispatchEvent(new Event('change'))}}"
        )

    choose(0, "judge_error")
    assert len(texts(board, "dialog tbody tr")) == 2
    assert "answers 503" in texts(board, "dialog tbody tr")[0]
    choose(1, "entity")
    assert len(texts(board, "dialog tbody tr")) == 1
    choose(0, "")
    assert len(texts(board, "dialog tbody tr")) == 4
    board.value(
        "{const one = document.querySelector('dialog input[type=search]'); one.value = 'number 2';"
        "one.dispatchEvent(new Event('input'))}"
    )
    assert len(texts(board, "dialog tbody tr")) == 1


def test_long_lists_have_pages(board):
    board.value(
        "document.querySelectorAll('section[data-benchmark=geneval] button.open')[3].click()"
    )
    assert texts(board, "dialog output") == ["1 to 50 of 120"]
    click(board, "dialog .pages button:last-child")
    click(board, "dialog .pages button:last-child")
    assert texts(board, "dialog output") == ["101 to 120 of 120"]
    assert board.value("document.querySelector('dialog .pages button:last-child').disabled")
    assert len(texts(board, "dialog tbody tr")) == 20


def test_two_systems_are_compared_sample_by_sample(board):
    assert f"A {MINUS} B +" in texts(board, f"{GENEVAL} .difference")[0]
    click(board, f"{GENEVAL} button.compare")
    differences = texts(board, "dialog tbody td:nth-child(4)")
    sizes = [abs(float(one.replace(MINUS, "-"))) for one in differences]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == 1
    click(board, "dialog button.open")
    assert len(texts(board, "dialog .sides > div")) == 2
    assert texts(board, "dialog .sides > div > h3") == ["A Alpha", "B Beta with a rather long name"]


def test_the_difference_turns_with_the_order(board):
    line = f"{GENEVAL} .difference b"
    (before,) = texts(board, line)
    for place, value in ((0, 1), (1, 0)):
        board.value(
            f"{{const one = document.querySelectorAll('{GENEVAL} .compare-place select')[{place}];"
            f"one.value = {value}; one.dispatchEvent(new Event('change'))}}"
        )
    assert texts(board, line) == [before.replace("+", MINUS)]


def test_everything_is_reached_with_the_keyboard(board):
    press(board, "Tab")
    assert board.value(f"{FOCUSED}.innerText") == "Skip to the tables"
    press(board, "Enter")
    assert board.value(f"{FOCUSED}.id") == "tables"
    for _ in range(60):
        press(board, "Tab")
        if board.value(f"{FOCUSED}.matches('{GENEVAL} button.open')"):
            break
    assert board.value(f"{FOCUSED}.innerText") == "Alpha"
    outline = f"getComputedStyle({FOCUSED}).outlineStyle"
    assert board.value(outline) == "solid"
    press(board, "Enter")
    assert board.value(f"{FOCUSED}.id") == "dialog-title"
    for _ in range(60):
        press(board, "Tab")
        if board.value(f"{FOCUSED}.matches('dialog tbody button.open')"):
            break
    press(board, "ArrowDown")
    assert board.value(f"{FOCUSED}.innerText") == "00001/0000"
    press(board, "End")
    assert board.value(f"{FOCUSED}.innerText") == "00023/0000"
    press(board, "Enter")
    assert "00023/0000" in texts(board, "#dialog-title")[0]
    press(board, "ArrowLeft")
    press(board, "ArrowLeft")
    press(board, "ArrowRight")
    assert "00022/0000" in texts(board, "#dialog-title")[0]
    press(board, "Escape")
    assert board.value(f"{FOCUSED}.innerText") == "00023/0000"
    press(board, "Escape")
    assert board.value("document.querySelector('dialog').open") is False
    assert board.value(f"{FOCUSED}.innerText") == "Alpha"


def test_focus_stays_in_the_dialog(board):
    open_result(board, "geneval", "Gamma")
    inside = f"document.querySelector('dialog').contains({FOCUSED})"
    press(board, "Tab", shift=True)
    last = board.value(f"{FOCUSED}.innerText")
    assert board.value(inside)
    press(board, "Tab")
    assert board.value(f"{FOCUSED}.innerText") == "Close"
    press(board, "Tab", shift=True)
    assert board.value(f"{FOCUSED}.innerText") == last
    for _ in range(45):
        press(board, "Tab")
        assert board.value(inside)


def test_hostile_texts_are_only_texts(board):
    button = "section[data-benchmark=text_fidelity] button.open"
    assert texts(board, button)[0] == HOSTILE
    click(board, button)
    board.value("document.querySelectorAll('dialog details').forEach(one => one.open = true)")
    click(board, "dialog tbody button.open")
    assert HOSTILE in texts(board, "dialog q")[0]
    assert HOSTILE in texts(board, "dialog pre")[0]
    assert "outside of the result's folder" in texts(board, "dialog .gone")[0]
    assert texts(board, "dialog .word.same") == [HOSTILE, "OPEN", "open", HOSTILE]
    assert board.value("document.querySelectorAll('script').length") == 2
    assert board.value("document.querySelectorAll('[onerror]').length") == 0


def test_page_works_in_a_sandbox_without_network(path):
    from e2e.kubeflow_viewer import UI_ADDRESS, kubeflow_viewer

    with kubeflow_viewer() as viewer:
        viewer.show(path.read_text(encoding="utf-8"), width=1000)
        viewer.value(f"document.querySelector('{GENEVAL} button.open').click()")
        viewer.value("document.querySelector('dialog tbody button.open').click()")
        viewer.settle()
        assert viewer.value("document.querySelectorAll('dialog .picture svg').length") == 1
        viewer.value("document.querySelector('dialog .close').click()")
        viewer.value("document.querySelectorAll('nav a')[2].click()")
        viewer.settle()
        assert viewer.value("location.href") == "about:srcdoc"
        assert viewer.page.complaints == []
        assert viewer.asked == [UI_ADDRESS]
