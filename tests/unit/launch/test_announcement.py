"""What is said of each ending, that it is bounded, and that nothing in a log has a meaning."""

import json

import pytest

from uae.launch.announcement import (
    MAX_SECTION,
    Ending,
    StepFailure,
    chat_message,
    mail_text,
    run_link,
    title,
)
from uae.launch.plain_words import chat_length, code_block, one_line

LINK = "https://kubeflow.example/_/pipeline/#/runs/details/1234"


def failed(**changes):
    failure = StepFailure(
        "generation_for_understanding",
        "TrainingError: the first ratio is 1.31, not 1",
        retryable=False,
        log_tail=[f"update {n} of 60" for n in range(40)],
    )
    return Ending(
        **{"run_id": "nightly", "job": "1234", "succeeded": False, "seconds": 11_105.0}
        | {"failures": [failure]}
        | changes
    )


def succeeded(**changes):
    known = {"run_id": "nightly", "job": "1234", "succeeded": True, "seconds": 500.0}
    scores = ["Unified-Bench 42.37 at first, 87.51 now (95 % interval 84.96 to 89.50)"]
    return Ending(**known | {"scores": scores, "promoted": True} | changes)


def everything(ending, link=LINK):
    """Return all that is said, in the chat and in the mail."""
    return json.dumps(chat_message(ending, link)), mail_text(ending, link)


def test_failure_names_step_error_time_log_and_link():
    assert title(failed()) == (
        "UAE run nightly failed at generation_for_understanding after 3 h 05 min"
    )
    for said in everything(failed()):
        assert "TrainingError: the first ratio is 1.31, not 1" in said
        assert "without a change will fail the same way" in said
        assert "update 39 of 60" in said
        assert LINK in said
    message = chat_message(failed(), LINK)
    assert [block["type"] for block in message["blocks"]] == ["header", *["section"] * 3]
    assert message["text"].splitlines()[0] == f"`{title(failed())}`"
    assert message["text"].splitlines()[-1] == LINK


def test_several_failures_are_told_and_the_rest_is_counted():
    many = [StepFailure(f"step-{n}", f"StoreError: {n}", retryable=True) for n in range(5)]
    text = mail_text(failed(failures=many), None)
    assert "step-0 failed: StoreError: 0\nRunning it again may help." in text
    assert "step-2 failed" in text
    assert "step-3 failed" not in text
    assert "and 2 more steps failed" in text


def test_failure_without_a_record_gives_the_pipeline_s_own_words():
    lost = failed(failures=[], pipeline_message="pod uae-4711 was evicted")
    assert title(lost) == "UAE run nightly failed after 3 h 05 min"
    for said in everything(lost):
        assert "No step's record says why" in said
        assert "Kubeflow says: pod uae-4711 was evicted" in said


def test_promoted_model_is_told_with_its_scores():
    assert title(succeeded()) == "UAE run nightly succeeded, model promoted after 8 min 20 s"
    for said in everything(succeeded()):
        assert "87.51 now" in said
        assert "Not promoted" not in said


def test_rejected_model_is_told_with_the_gate_s_reasons():
    rejected = succeeded(promoted=False, reasons=["overall against the champion: 88 to 87"])
    assert title(rejected).startswith("UAE run nightly succeeded, model not promoted after")
    for said in everything(rejected):
        assert "Not promoted: overall against the champion: 88 to 87" in said


def test_trouble_with_the_report_is_told():
    for said in everything(succeeded(promoted=None, trouble="StoreError: no connection")):
        assert "The report is not complete: StoreError: no connection" in said
    assert title(succeeded(promoted=None)) == "UAE run nightly succeeded after 8 min 20 s"


@pytest.mark.parametrize(
    ("ui_url", "link"),
    [
        ("https://kubeflow.example/_/pipeline", LINK),
        ("https://kubeflow.example/_/pipeline/", LINK),
        ("https://kubeflow.example/_/pipeline/#/runs", LINK),
        (
            "https://kubeflow.example/_/pipeline/?ns=uae",
            "https://kubeflow.example/_/pipeline/?ns=uae#/runs/details/1234",
        ),
        ("http://localhost:8080", "http://localhost:8080/#/runs/details/1234"),
        ("", None),
    ],
)
def test_link_is_the_route_of_the_pipelines_ui(ui_url, link):
    assert run_link(ui_url, "1234") == link


def test_link_needs_an_execution():
    assert run_link("https://kubeflow.example", "") is None


@pytest.mark.parametrize(
    "ui_url",
    ["kubeflow.example", "javascript:alert(1)", "https://a:b@kubeflow.example", "https://["],
)
def test_address_that_is_no_ui_is_refused_without_repeating_it(ui_url):
    with pytest.raises(ValueError, match="ui_url is not http") as caught:
        run_link(ui_url, "1234")
    assert ui_url not in str(caught.value)


HOSTILE = [
    "\x1b[31mred\x1b[0m and \x1b]0;title\x07",
    "progress\rback\x08space\x00null",
    "</pre><script>alert(1)</script>",
    "<!channel> <https://evil.example|click> *bold* `code` ```block```",
    "right\u202eto left, zero\u200bwidth, half \ud800",
    "two\u2028lines",
]


def test_log_lines_are_only_text():
    failure = StepFailure("gate", "E: <!here> `x`\nand more", retryable=True, log_tail=HOSTILE)
    message = chat_message(failed(failures=[failure]), None)
    shown = "".join(block["text"]["text"] for block in message["blocks"])
    mail = mail_text(failed(failures=[failure]), None)
    for text in (shown, mail):
        assert "red and" in text
        assert not any(ord(character) < 32 and character != "\n" for character in text)
        assert not {"\u202e", "\u200b", "\ud800", "\u2028"} & set(text)
    assert "<" not in shown + message["text"]
    assert "&lt;!channel&gt;" in shown
    assert shown.count("```") == 2 * 2  # ours alone: two blocks
    assert message["text"].count("`") == 2 * 2
    json.dumps(message).encode()
    mail.encode()


def test_lengths_are_bounded_whatever_is_said():
    endless = "&" * 1_000_000
    failure = StepFailure(endless, endless, retryable=True, log_tail=[endless] * 40)
    ending = failed(
        run_id=endless, failures=[failure] * 50, trouble=endless, pipeline_message=endless,
        scores=[endless] * 9,
    )  # fmt: skip
    message = chat_message(ending, LINK)
    assert len(message["blocks"]) <= 50
    for block in message["blocks"]:
        assert chat_length(block["text"]["text"]) <= {"header": 150}.get(block["type"], 3000)
    assert chat_length(message["text"]) < 3000
    assert len(json.dumps(message)) < 12_000
    assert len(mail_text(ending, LINK)) < 20_000


def test_last_lines_are_the_ones_that_are_kept():
    block = code_block([f"line {n} " + "😀" * 50 for n in range(100)], MAX_SECTION)
    assert chat_length(block) <= MAX_SECTION
    assert "line 99 " in block
    assert "line 1 " not in block


@pytest.mark.parametrize(("text", "shown"), [("a" * 10, "a" * 10), ("a" * 11, "a" * 9 + "…")])
def test_long_line_is_cut_and_says_so(text, shown):
    assert one_line(text, 10) == shown
