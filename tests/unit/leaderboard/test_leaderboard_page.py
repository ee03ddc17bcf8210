import re
from html.parser import HTMLParser

import pytest
from unit.leaderboard.example_results import HOSTILE, write_dpg, write_examples, write_geneval

from uae import cli
from uae.leaderboard.page import inlined_script, write_leaderboard


class Elements(HTMLParser):
    """Collects elements and the text of scripts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.events, self._script = [], [], False
        self.scripts = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.events += [name for name, _ in attrs if name.startswith("on")]
        if tag == "script":
            self.scripts.append("")
        self._script = tag == "script"

    def handle_endtag(self, tag):
        self._script = False

    def handle_data(self, data):
        if self._script:
            self.scripts[-1] += data


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    folder = tmp_path_factory.mktemp("leaderboard")
    out = write_leaderboard(
        [write_examples(folder / "results")], folder / "page.html", title=HOSTILE, max_samples=4
    )
    return out.read_text(encoding="utf-8")


def test_hostile_texts_stay_texts(html):
    found = Elements(html)
    assert found.tags.count("script") == 2
    assert found.tags.count("img") == 0
    assert found.events == []
    assert found.scripts[1] == inlined_script()


def test_the_page_names_no_address_and_allows_only_its_own_script(html):
    assert set(re.findall(r"(?:href|src)=\"([^\"]*)\"", html)) <= {"data:,", "#tables"} | {
        f"#t{number}" for number in range(20)
    }
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)[1]
    assert "default-src 'none'" in policy
    assert re.search(r"script-src &#39;sha256-|script-src 'sha256-", policy)
    assert "unsafe" not in policy


def test_modules_fit_into_one_script():
    script = inlined_script()
    assert "</script" not in script.lower()
    assert not re.search(r"^(import|export) ", script, re.MULTILINE)
    assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|eval\(", script)
    names = re.findall(r"^(?:function|const|let) (\w+)", script, re.MULTILINE)
    assert len(names) == len(set(names))


def test_measured_and_reported_stand_side_by_side(html):
    row = re.search(r'<tr data-row="\d+" data-kind="composed".*?</tr>', html, re.DOTALL)[0]
    assert "bagel" in row
    assert "<b>85.50</b>" in row
    assert "83.48" in row
    assert "reported 88.97" in row
    assert "is the claim of whoever evaluated" in html


def test_an_incomplete_score_shows_bounds_and_why(html):
    assert "incomplete: 2 judge errors, 0 missing, of 8" in html
    assert "bounds, whatever the open samples get" in html


def test_nothing_is_published_if_so_wanted(tmp_path):
    write_geneval(tmp_path / "a", "A", 0.5, num_samples=6)
    out = tmp_path / "page.html"
    write_leaderboard([tmp_path / "a"], out, title="T", max_samples=2, reported=())
    assert "arXiv" not in out.read_text(encoding="utf-8")


def test_same_results_give_the_same_bytes(tmp_path):
    write_dpg(tmp_path / "a", "A")
    pages = [
        write_leaderboard([tmp_path / "a"], tmp_path / name, title="T", max_samples=3).read_bytes()
        for name in ("one.html", "two.html")
    ]
    assert pages[0] == pages[1]


def test_command_writes_the_page(tmp_path, capsys):
    write_geneval(tmp_path / "a", "A", 0.5, num_samples=6)
    out = tmp_path / "page.html"
    arguments = ["leaderboard", str(tmp_path / "a"), "--out", str(out)]
    assert cli.main([*arguments, "--title", "Ours", "--samples", "2", "--no-reported"]) in (0, None)
    assert capsys.readouterr().out.startswith(f"{out} (")
    text = out.read_text(encoding="utf-8")
    assert "<h1>Ours</h1>" in text
    assert "arXiv" not in text


def test_command_refuses_what_it_cannot_do(tmp_path, capsys):
    assert cli.main(["leaderboard", str(tmp_path), "--out", str(tmp_path / "page.html")]) == 2
    assert "no results.json" in capsys.readouterr().err
    for wrong in (["--samples", "many"], ["--out", str(tmp_path / "page.txt")]):
        with pytest.raises(SystemExit):
            cli.main(["leaderboard", str(tmp_path), *wrong])
