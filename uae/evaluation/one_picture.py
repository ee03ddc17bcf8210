"""Benchmarks that paint one picture for each prompt of a file, and have a judge look at it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from uae.errors import EvaluationError
from uae.evaluation.context import Context
from uae.evaluation.journal import Journal, Row, Unfinished
from uae.evaluation.judges.loading import load_chat_judge
from uae.evaluation.painting import paint
from uae.evaluation.prompt_files import read_prompt_file
from uae.evaluation.results import PromptSet, Result, Sample, write_results
from uae.evaluation.systems.base import PictureRequest, System
from uae.evaluation.systems.requirements import require
from uae.fingerprints import json_sha256
from uae.recipe import Geneval2Recipe, GenevalPlusRecipe
from uae.seeds import derive_seed

Settings = Geneval2Recipe | GenevalPlusRecipe
_OF_THE_MACHINE = {"path", "server"}  # the judge's identity stands for them


class Prompt(Protocol):
    """A row of a prompt file."""

    @property
    def text(self) -> str:
        """What is painted."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Return the row as it was read."""
        ...


class Judge(Protocol):
    """Whatever a benchmark asks; what it can do beside this is the benchmark's matter."""

    @property
    def identity(self) -> dict[str, str]:
        """What answers; stamped into results."""
        ...


PromptT = TypeVar("PromptT", bound=Prompt)
JudgeT = TypeVar("JudgeT", bound=Judge)


class Task(NamedTuple, Generic[PromptT]):
    """One prompt with the picture that is asked for."""

    sample_id: str
    prompt: PromptT
    request: PictureRequest


@dataclass(frozen=True)
class Benchmark(Generic[PromptT, JudgeT]):
    """What one such benchmark is, beside the way it runs."""

    name: str
    protocol: str
    version: int
    first_id: int  # of the pictures, which are numbered by their place in the file
    role: str  # of the judge
    asked: Mapping[str, str]  # in which words it is asked: part of its identity
    read_prompts: Callable[[str, str], list[PromptT]]  # of a file's text and source
    self_test: Callable[[JudgeT, float, int], Row]  # with the least accuracy and batch size
    judge: Callable[[JudgeT, Sequence[Task[PromptT]], list[Row], Path, int], list[Sample]]
    summarise: Callable[[Sequence[Sample], Context], dict[str, Any]]


def run(
    benchmark: Benchmark[PromptT, Any],
    settings: Settings,
    context: Context,
    system: System,
    out: Path,
) -> Result:
    """Judge a system by the judge of the recipe.

    Raises:
        EvaluationError: If the system does not paint, a prompt is wrong, or the judge fails on
            known pictures.
        ModelError: If the judge cannot be loaded.
        Unfinished: While other shards have work.
    """

    def load() -> Any:
        return load_chat_judge(settings.judge, context.weights, context.device)

    return evaluate(benchmark, settings, context, system, out, load)


def evaluate(
    benchmark: Benchmark[PromptT, JudgeT],
    settings: Settings,
    context: Context,
    system: System,
    out: Path,
    load_judge: Callable[[], JudgeT],
) -> Result:
    """Do `run` with any judge, loaded once prompts and system are known to be right."""
    tasks, source = load_tasks(benchmark, settings, context)
    places = [task.request.place for task in tasks]
    require(system, benchmark.name, pictures=True, places=places)
    judge = load_judge()
    stamp = _stamp(benchmark, settings, context, system, judge)
    prompts = _prompt_set(benchmark, tasks, source)
    journal = Journal.open(
        out,
        stamp | {"prompts": prompts.model_dump(exclude={"source"})},
        context.shard,
        retry_failures=context.retry_failures,
    )
    if (done := journal.result()) is not None:
        return done
    batch_size, minimum = context.judging.batch_size, context.judging.min_self_test_accuracy
    known = journal.once("self_test", lambda: benchmark.self_test(judge, minimum, batch_size))
    samples = _samples(benchmark, journal, tasks, context, system, judge)
    result = Result(
        **stamp,
        **known,
        **benchmark.summarise(samples, context),
        prompts=prompts,
        key=journal.key,
    )
    write_results(out, result, samples)
    journal.close()
    return result


def load_tasks(
    benchmark: Benchmark[PromptT, Any], settings: Settings, context: Context
) -> tuple[list[Task[PromptT]], str]:
    """Return what is to be painted, and where the prompts came from.

    Raises:
        EvaluationError: If the file is wrong, or holds fewer prompts than asked for.
    """
    content = read_prompt_file(settings.prompts, endpoint=context.endpoint)
    prompts = benchmark.read_prompts(content.text, content.source)
    if settings.num_prompts is not None and settings.num_prompts > len(prompts):
        raise EvaluationError(
            f"num_prompts is {settings.num_prompts}, {content.source} holds {len(prompts)}: give "
            f"at most as many, or null for all"
        )
    chosen = prompts[: settings.num_prompts]
    tasks = [
        _task(benchmark, number, prompt, context.seed)
        for number, prompt in enumerate(chosen, start=benchmark.first_id)
    ]
    return tasks, content.source


def _task(
    benchmark: Benchmark[PromptT, Any], number: int, prompt: PromptT, seed: int
) -> Task[PromptT]:
    own_seed = derive_seed(seed, benchmark.protocol, number)
    return Task(
        str(number),
        prompt,
        PictureRequest(prompt.text, own_seed, f"{benchmark.name}/{number}.png"),
    )


def _samples(
    benchmark: Benchmark[PromptT, JudgeT],
    journal: Journal,
    tasks: Sequence[Task[PromptT]],
    context: Context,
    system: System,
    judge: JudgeT,
) -> list[Sample]:
    """Paint all, let go of the system, then judge."""
    batch_size = context.judging.batch_size

    def judged(batch: Sequence[Task[PromptT]], painted: list[Row]) -> list[Row]:
        samples = benchmark.judge(judge, batch, painted, journal.out, batch_size)
        return [sample.model_dump() for sample in samples]

    journal.map(
        "pictures",
        tasks,
        lambda batch, _: paint(system, [task.request for task in batch], journal.out),
        batch_size=batch_size,
        show=context.show_progress,
    )
    system.close()
    rows = journal.map(
        "judged",
        tasks,
        judged,
        batch_size=batch_size,
        after="pictures",
        show=context.show_progress,
    )
    if rows is None:
        raise Unfinished(f"{benchmark.name}: other shards have work")
    return [Sample.model_validate(row) for row in rows]


def _prompt_set(
    benchmark: Benchmark[PromptT, Any], tasks: Sequence[Task[PromptT]], source: str
) -> PromptSet:
    return PromptSet(
        name=benchmark.name,
        source=source,
        sha256=json_sha256([task.prompt.to_json() for task in tasks]),
        count=len(tasks),
    )


def _stamp(
    benchmark: Benchmark[PromptT, JudgeT],
    settings: Settings,
    context: Context,
    system: System,
    judge: JudgeT,
) -> dict[str, Any]:
    """Return all of a result that is known before anything is painted, but for the prompts."""
    return {
        "benchmark": benchmark.name,
        "protocol": benchmark.protocol,
        "version": benchmark.version,
        "unit": "share",
        "system": system.identity,
        "generation": system.settings,
        "judges": {benchmark.role: judge.identity | dict(benchmark.asked)},
        "settings": {
            "num_prompts": settings.num_prompts,
            "judge": settings.judge.model_dump(mode="json", exclude=_OF_THE_MACHINE),
            **context.deciding,
        },
    }
