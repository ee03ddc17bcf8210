"""What is said of a run that has ended: the same facts as a chat message and as a mail.

Lengths are bounded, and whatever a step said is only text: see `uae.launch.plain_words`. Limits of
Slack: docs.slack.dev/reference/block-kit/blocks, 150 characters in a header, 3000 in a section.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from uae.launch.plain_words import code_block, escaped, one_line
from uae.report.page import duration

MAX_TITLE = 150
MAX_LINE = 300
MAX_SECTION = 2900
CHAT_LOG_LINES, MAIL_LOG_LINES = 15, 40
MAX_FAILURES = 3


@dataclass(frozen=True)
class StepFailure:
    """A step that failed, as its record says."""

    step: str
    error: str  # type and message
    retryable: bool
    log_tail: Sequence[str] = ()


@dataclass
class Ending:
    """How an execution of a run ended, as far as it is known."""

    run_id: str
    job: str  # the execution's id
    succeeded: bool
    pipeline_message: str = ""  # what the pipeline itself says of a failure
    seconds: float | None = None
    failures: list[StepFailure] = field(default_factory=list)  # in order of their start
    scores: list[str] = field(default_factory=list)
    promoted: bool | None = None  # None: no model was exported
    reasons: list[str] = field(default_factory=list)  # why not promoted
    trouble: str = ""  # what went wrong while the run was reported


def title(ending: Ending) -> str:
    """Say in a line which run ended, how, and after how long."""
    took = f" after {duration(ending.seconds)}" if ending.seconds is not None else ""
    if not ending.succeeded:
        place = f" at {ending.failures[0].step}" if ending.failures else ""
        return one_line(f"UAE run {ending.run_id} failed{place}{took}", MAX_TITLE)
    outcome = "succeeded" if ending.promoted is None else "succeeded, model not promoted"
    if ending.promoted:
        outcome = "succeeded, model promoted"
    return one_line(f"UAE run {ending.run_id} {outcome}{took}", MAX_TITLE)


def run_link(ui_url: str, job: str) -> str | None:
    """Return the address of an execution in the Kubeflow UI; None if it has none.

    The route is that of the pipelines' own UI (kubeflow/pipelines, frontend/src/components/
    Router.tsx, RUN_DETAILS); below Kubeflow's dashboard it follows `/_/pipeline/`, perhaps with
    `?ns=<namespace>`.

    Raises:
        ValueError: If `ui_url` is no http address, or holds a user or a password.
    """
    if not ui_url or not job:
        return None
    try:
        parts = urlsplit(ui_url.strip())
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ValueError("ui_url is not http(s)://host[/path], without user and password")
    path = parts.path.rstrip("/") + "/"
    fragment = f"/runs/details/{quote(job, safe='')}"
    return parts._replace(path=quote(path, safe="/%:@"), fragment=fragment).geturl()


def facts(ending: Ending) -> list[str]:
    """Return what the title does not say, but for the log, a fact in a line."""
    lines = []
    for failure in ending.failures[:MAX_FAILURES]:
        cure = (
            "Running it again may help."
            if failure.retryable
            else "Running it again without a change will fail the same way."
        )
        lines += [f"{failure.step} failed: {failure.error}", cure]
    if len(ending.failures) > MAX_FAILURES:
        lines.append(f"and {len(ending.failures) - MAX_FAILURES} more steps failed")
    if not ending.succeeded and not ending.failures:
        lines.append("No step's record says why; the log of the pod that failed may.")
        lines += [f"Kubeflow says: {ending.pipeline_message}"] if ending.pipeline_message else []
    if ending.promoted is False:
        lines += [f"Not promoted: {reason}" for reason in ending.reasons]
    lines += ending.scores
    lines += [f"The report is not complete: {ending.trouble}"] if ending.trouble else []
    return [one_line(line, MAX_LINE) for line in lines]


def log_lines(ending: Ending, most: int) -> list[str]:
    """Return the last lines that the first failed step wrote."""
    tail = ending.failures[0].log_tail if ending.failures else ()
    return [one_line(line, MAX_LINE) for line in list(tail)[-most:]]


def chat_message(ending: Ending, link: str | None) -> dict[str, Any]:
    """Return the message for a webhook: Slack's blocks, and a plain text for all others."""
    head, told, log = title(ending), facts(ending), log_lines(ending, CHAT_LOG_LINES)
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": head, "emoji": False}}
    ]
    blocks += [_section(code_block(lines, MAX_SECTION)) for lines in (told, log) if lines]
    if link:
        blocks.append(_section(f"<{_unbroken(link)}|Open the run in Kubeflow>"))
    short = [f"`{escaped(line)}`" for line in (head, *told[:1])]
    short += [_unbroken(link)] if link else []
    return {"text": "\n".join(short), "blocks": blocks}


def mail_text(ending: Ending, link: str | None) -> str:
    """Return the body of a mail."""
    parts = ["\n".join([title(ending), "", *facts(ending)])]
    log = log_lines(ending, MAIL_LOG_LINES)
    if log:
        parts.append("\n".join(["Last lines of its log:", "", *(f"    {line}" for line in log)]))
    if link:
        parts.append(f"The run in Kubeflow: {link}")
    return "\n\n".join(parts) + "\n"


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": True}}


def _unbroken(link: str) -> str:
    """Escape what would end a link in a chat's mark-up."""
    return link.replace("&", "&amp;").replace("<", "%3C").replace(">", "%3E").replace("|", "%7C")
