"""The data report stays small however much is wrong."""

from uae.data.data_report import Check, DataReport, write_data_report
from uae.data.sample import Fault


def test_of_a_rule_that_is_broken_often_the_first_are_explained_and_the_next_named(tmp_path):
    faults = tuple(Fault(f"image-{n}", "caption is text", f"detail-{n}") for n in range(6000))
    check = Check("caption is text", "caption", 6000, faults)
    write_data_report(DataReport("somewhere", [], [], [check], []), tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<b>image-199</b>: detail-199" in page
    assert "detail-200" not in page
    assert "And 5800 more: image-200, " in page
    assert "image-4999, and others that the step's log names" in " ".join(page.split())
    assert "image-5000" not in page
