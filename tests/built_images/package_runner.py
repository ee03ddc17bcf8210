"""Runs a compiled pipeline package step by step, each step's command in its image.

What a cluster's driver and launcher do around a step, in small: they resolve its inputs, hand it
`executor_input`, and read `executor_output`. Only what this pipeline uses: nested graphs, the
pipeline's parameters, constants, outputs of other tasks, the exit handler's final status.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

OUTPUTS = "/tmp/kfp_outputs"
ARTIFACTS = "/minio"  # where the launcher puts what lies at minio://


@dataclass
class Command:
    """What one step's pod is told to do."""

    task: str
    image: str
    command: list[str]
    environment: dict[str, str]
    output_folder: Path  # /tmp of the pod
    artifact_folder: Path  # ARTIFACTS of the pod


@dataclass
class Outputs:
    """What one step left."""

    parameters: dict[str, Any] = field(default_factory=dict)
    artifacts: dict[str, dict[str, Any]] = field(default_factory=dict)


class PackageRun:
    """One run of a package."""

    def __init__(self, package: Path, folder: Path, execute: Callable[[Command], None]) -> None:
        """Read the package.

        Args:
            package: The compiled YAML.
            folder: Where artifacts and outputs go.
            execute: Runs one step, and raises if it fails.
        """
        self.spec = next(iter(yaml.safe_load_all(package.read_text(encoding="utf-8"))))
        self.folder = folder
        self.artifacts = folder / "artifacts"
        self.executors: dict[str, Any] = self.spec["deploymentSpec"]["executors"]
        self._execute = execute
        self.done: list[str] = []

    def run(self, arguments: Mapping[str, Any]) -> None:
        """Run every task with these pipeline parameters."""
        root = self.spec["root"]
        known = root["inputDefinitions"]["parameters"]
        assert set(arguments) <= set(known), f"no parameters of the pipeline: {arguments.keys()}"
        values = {name: entry.get("defaultValue") for name, entry in known.items()}
        self._run_graph(root["dag"], values | dict(arguments))

    def _run_graph(self, graph: dict[str, Any], parameters: Mapping[str, Any]) -> None:
        outputs: dict[str, Outputs] = {}
        waiting = dict(graph["tasks"])
        while waiting:
            ready = [
                name
                for name, task in waiting.items()
                if all(before in outputs for before in task.get("dependentTasks", ()))
            ]
            assert ready, f"nothing is ready among {sorted(waiting)}"
            task = waiting.pop(ready[0])
            outputs[ready[0]] = self._run_task(ready[0], task, parameters, outputs)

    def _run_task(
        self,
        name: str,
        task: dict[str, Any],
        parameters: Mapping[str, Any],
        done: dict[str, Outputs],
    ) -> Outputs:
        component = self.spec["components"][task["componentRef"]["name"]]
        inputs = task.get("inputs", {})
        values = {
            key: _parameter(source, parameters, done)
            for key, source in inputs.get("parameters", {}).items()
        }
        if "dag" in component:
            self._run_graph(component["dag"], values)
            return Outputs()
        artifacts = {
            key: done[source["taskOutputArtifact"]["producerTask"]].artifacts[
                source["taskOutputArtifact"]["outputArtifactKey"]
            ]
            for key, source in inputs.get("artifacts", {}).items()
        }
        return self._run_step(name, component, values, artifacts)

    def _run_step(
        self,
        name: str,
        component: dict[str, Any],
        values: dict[str, Any],
        artifacts: dict[str, dict[str, Any]],
    ) -> Outputs:
        container = self.executors[component["executorLabel"]]["container"]
        outputs = self._outputs(name, component.get("outputDefinitions", {}))
        executor_input = {
            "inputs": {
                "parameterValues": values,
                "artifacts": {key: {"artifacts": [one]} for key, one in artifacts.items()},
            },
            "outputs": outputs,
        }
        filled = json.dumps(executor_input)
        arguments = [filled if word == "{{$}}" else word for word in container["args"]]
        temporary = self.folder / "tmp" / name
        temporary.mkdir(parents=True)
        self._execute(
            Command(
                task=name,
                image=container["image"],
                command=[*container["command"], *arguments],
                environment={entry["name"]: entry["value"] for entry in container.get("env", [])},
                output_folder=temporary,
                artifact_folder=self.artifacts,
            )
        )
        self.done.append(name)
        return _read_outputs(temporary / Path(outputs["outputFile"]).relative_to("/tmp"), outputs)

    def _outputs(self, name: str, definitions: dict[str, Any]) -> dict[str, Any]:
        places = {}
        for key, definition in definitions.get("artifacts", {}).items():
            place = f"{name}/{key}"
            (self.artifacts / place).parent.mkdir(parents=True, exist_ok=True)
            (self.artifacts / place).parent.chmod(0o1777)
            one = {"name": place, "type": definition["artifactType"], "uri": f"minio://{place}"}
            places[key] = {"artifacts": [{**one, "metadata": {}}]}
        files = {
            key: {"outputFile": f"{OUTPUTS}/{key}"} for key in definitions.get("parameters", {})
        }
        return {"parameters": files, "artifacts": places, "outputFile": f"{OUTPUTS}/output.json"}


def _parameter(
    source: dict[str, Any], parameters: Mapping[str, Any], done: dict[str, Outputs]
) -> Any:
    match source:
        case {"componentInputParameter": name}:
            return parameters[name]
        case {"runtimeValue": {"constant": value}}:
            return value
        case {"taskOutputParameter": {"producerTask": task, "outputParameterKey": key}}:
            return done[task].parameters[key]
        case {"taskFinalStatus": {"producerTask": task}}:
            return {
                "state": "SUCCEEDED",
                "pipelineJobResourceName": "run",
                "pipelineTaskName": task,
                "error": {"code": 0, "message": ""},
            }
    raise AssertionError(f"an input of a kind that no cluster of this test knows: {source}")


def _read_outputs(path: Path, places: dict[str, Any]) -> Outputs:
    written = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    outputs = Outputs(parameters=written.get("parameterValues", {}))
    for key, place in places["artifacts"].items():
        artifact = place["artifacts"][0]
        told = written.get("artifacts", {}).get(key, {}).get("artifacts", [{}])[0]
        outputs.artifacts[key] = {**artifact, "metadata": told.get("metadata", {})}
    return outputs
