"""The compiled package, read back as kfp's messages: what every step gets on a cluster."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from google.protobuf.json_format import ParseDict
from kfp.kubernetes.kubernetes_executor_config_pb2 import KubernetesExecutorConfig
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineDeploymentConfig, PipelineSpec

from uae.errors import ResourcesError
from uae.launch.resources import Launch, Resources, dump_resources, load_resources
from uae_images.references import IMAGES_FILE, ImageReferences
from uae_pipelines.cluster import QUEUE_SECONDS, RESOURCES_FOLDER
from uae_pipelines.compile import compile_pipeline

STAGES = (
    "pretrain-decoder",
    "cold-start",
    "generation-for-understanding",
    "understanding-for-generation",
)
BENCHES = tuple(f"evaluate-unified-bench{suffix}" for suffix in ("", "-2", "-3", "-4"))
EVALUATIONS = (*BENCHES, "evaluate-geneval", "evaluate-dpg-bench")
CONTROL = ("start-run", "validate-data", "gate", "export-model", "report-run")
NODES = {"tolerations", "node_selector"}


class Package(NamedTuple):
    """Messages by task."""

    spec: PipelineSpec
    tasks: dict[str, Any]
    containers: dict[str, Any]
    pods: dict[str, KubernetesExecutorConfig]
    platform: Any  # settings of the whole pipeline


def read(path: Path) -> Package:
    first, second = yaml.safe_load_all(path.read_text(encoding="utf-8"))
    spec = ParseDict(first, PipelineSpec())
    deployment = ParseDict(first["deploymentSpec"], PipelineDeploymentConfig())
    tasks = dict(spec.components["comp-exit-handler-1"].dag.tasks)
    tasks["report-run"] = spec.root.dag.tasks["report-run"]
    label = {n: spec.components[t.component_ref.name].executor_label for n, t in tasks.items()}
    kubernetes = second["platforms"]["kubernetes"]
    pods = {
        name: ParseDict(values, KubernetesExecutorConfig())
        for name, values in kubernetes["deploymentSpec"]["executors"].items()
    }
    return Package(
        spec,
        tasks,
        {name: deployment.executors[label[name]].container for name in tasks},
        {name: pods[label[name]] for name in tasks},
        kubernetes["pipelineConfig"],
    )


def changed(**values: Any) -> Resources:
    """Return the starter's resources with other values; `stage` ones of every stage."""
    stage = values.pop("stage", {})
    found = load_resources("starter", RESOURCES_FOLDER).model_dump(mode="json") | values
    for section in found["stages"].values():
        section |= stage
    return Resources.model_validate(found)


def pin(path: Path) -> Path:
    references = ImageReferences.read().model_dump()
    for number, image in enumerate(references["images"].values()):
        image["digest"] = f"sha256:{number:064x}"
    path.write_text(yaml.safe_dump(references), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("packages")

    def compile_(resources: Resources | None = None, images: Path = IMAGES_FILE) -> Package:
        path = folder / "resources.yaml"
        path.write_text(dump_resources(resources or changed()), encoding="utf-8")
        package = folder / "package.yaml"
        return read(compile_pipeline(package, resources=str(path), images=images))

    return compile_


@pytest.fixture(scope="module")
def starter(compiled: Any) -> Package:
    return compiled()


@pytest.fixture(scope="module")
def large(compiled: Any, tmp_path_factory: pytest.TempPathFactory) -> Package:
    """Accelerators, a queue, a claim with weights, pinned images."""
    resources = changed(
        queue="uae",
        weights_claim="uae-weights",
        stage={"accelerators": 8, "memory": "512Gi", "shared_memory": "64Gi"},
        evaluation={
            "cpu": "8", "memory": "64Gi", "accelerators": 1, "shared_memory": "8Gi",
            "timeout_seconds": 3600,
        },
    )  # fmt: skip
    return compiled(resources, pin(tmp_path_factory.mktemp("images") / "images.yaml"))


def test_every_step_has_its_image_from_the_one_file(starter):
    images = ImageReferences.read()
    wanted = {
        **dict.fromkeys(CONTROL, images.image("control")),
        **dict.fromkeys(EVALUATIONS, images.image("evaluator")),
        **dict.fromkeys(STAGES, images.image("trainer")),
    }
    assert {name: c.image for name, c in starter.containers.items()} == wanted


def test_pinned_images_are_named_by_digest(large):
    assert {c.image for c in large.containers.values()} == {
        f"uae-{name}@sha256:{number:064x}"
        for number, name in enumerate(("control", "trainer", "evaluator"))
    }


def test_no_command_installs_anything(starter):
    commands = [" ".join(c.command) for c in starter.containers.values()]
    assert len(commands) == 15
    assert not [command for command in commands if "pip" in command]


def test_what_a_step_asks_for_is_its_limit(starter):
    for name, container in starter.containers.items():
        found = container.resources
        cpu = "1" if name in CONTROL else "2"
        memory = "4Gi" if name in CONTROL else "8Gi"
        assert (found.resource_cpu_request, found.resource_cpu_limit) == (cpu, cpu)
        assert (found.resource_memory_request, found.resource_memory_limit) == (memory, memory)
        assert not found.HasField("accelerator")


def test_accelerators_go_to_stages_and_evaluations_alone(large):
    found = {
        name: (c.resources.accelerator.resource_type, c.resources.accelerator.resource_count)
        for name, c in large.containers.items()
        if c.resources.HasField("accelerator")
    }
    assert found == {
        **dict.fromkeys(STAGES, ("nvidia.com/gpu", "8")),
        **dict.fromkeys(EVALUATIONS, ("nvidia.com/gpu", "1")),
    }


def test_every_pod_has_shared_memory_scratch_and_no_root(large):
    for name, pod in large.pods.items():
        mounts = {m.mount_path: (m.medium, m.size_limit) for m in pod.empty_dir_mounts}
        size = "64Gi" if name in STAGES else "8Gi" if name in EVALUATIONS else "64Mi"
        assert mounts == {"/dev/shm": ("Memory", size), "/tmp": ("", "")}
        user = pod.security_context
        assert (user.run_as_user, user.run_as_group, user.run_as_non_root) == (65532, 65532, True)


def test_credentials_come_from_the_cluster_s_secrets(starter):
    for name, pod in starter.pods.items():
        secrets = {
            secret.secret_name: {k.secret_key: k.env_var for k in secret.key_to_env}
            for secret in pod.secret_as_env
        }
        notify = secrets.pop("uae-notify", None)
        assert (notify is not None) == (name == "report-run")
        assert secrets == {
            "uae-store": {
                "access-key-id": "AWS_ACCESS_KEY_ID",
                "secret-access-key": "AWS_SECRET_ACCESS_KEY",
            }
        }
    notifies = [s for s in starter.pods["report-run"].secret_as_env if s.optional]
    assert [secret.secret_name for secret in notifies] == ["uae-notify"]


def test_execution_s_id_comes_from_the_pod_s_label(starter):
    for pod in starter.pods.values():
        found = {field.name: field.field_path for field in pod.field_path_as_env}
        assert found == {"UAE_JOB": "metadata.labels['pipeline/runid']"}


def test_pods_are_labelled_for_cost_and_queue(large):
    for name, pod in large.pods.items():
        labels = dict(pod.pod_metadata.labels)
        assert labels["uae/cost-center"] == "research"
        assert labels["uae/stage"] == name.removesuffix("-2").removesuffix("-3").removesuffix("-4")
        assert (labels.get("kueue.x-k8s.io/queue-name") == "uae") == (name in STAGES)


def test_timeouts_retries_and_time_to_live(starter):
    wanted = {**dict.fromkeys(CONTROL, 7200), **dict.fromkeys(EVALUATIONS, 21600)}
    for name, pod in starter.pods.items():
        assert pod.active_deadline_seconds == wanted.get(name, 86400)
        policy = starter.tasks[name].retry_policy
        if name == "report-run":
            assert policy.max_retry_count == 1
            continue
        assert policy.max_retry_count == 3
        assert policy.backoff_duration.seconds == 60
        assert policy.backoff_factor == 2
        window = 4 * pod.active_deadline_seconds + 60 + 120 + 240
        assert policy.backoff_max_duration.seconds == window, "Argo counts from the first try"
    assert starter.platform == {"resourceTtlOnCompletion": 604800}


def test_weights_are_mounted_where_a_claim_has_them(starter, large):
    assert not any(pod.pvc_mount for pod in starter.pods.values())
    for pod in large.pods.values():
        (mount,) = pod.pvc_mount
        assert (mount.constant or mount.pvc_name_parameter.runtime_value.constant.string_value) == (
            "uae-weights"
        )
        assert mount.mount_path == "/weights"


def test_parameters_choose_the_nodes_of_what_computes(starter):
    for name, pod in starter.pods.items():
        chosen = {
            toleration.toleration_json.component_input_parameter for toleration in pod.tolerations
        } | {pod.node_selector.node_selector_json.component_input_parameter}
        wanted = {f"pipelinechannel--{node}" for node in NODES}
        assert chosen - {""} == (wanted if name in (*STAGES, *EVALUATIONS) else set())


def cached(package: Package) -> set[str]:
    return {name for name, task in package.tasks.items() if task.caching_options.enable_cache}


def test_nothing_is_cached_while_a_tag_may_move(starter):
    assert cached(starter) == set()


def test_data_and_evaluations_are_cached_with_pinned_images(compiled, tmp_path):
    images = pin(tmp_path / "images.yaml")
    assert cached(compiled(images=images)) == {"validate-data", *EVALUATIONS}


def test_evaluations_with_weights_on_a_claim_are_not_cached(large):
    assert cached(large) == {"validate-data"}


def test_cached_step_names_the_data_s_revision(starter):
    found = starter.tasks["validate-data"].inputs.parameters["data_revision"]
    assert found.task_output_parameter.producer_task == "start-run"


def test_trainjob_is_started_from_a_small_pod(compiled):
    package = compiled(changed(stage={"launcher": "trainjob", "num_nodes": 4, "accelerators": 8}))
    for name in STAGES:
        container, pod = package.containers[name], package.pods[name]
        assert container.image == ImageReferences.read().image("control")
        assert container.resources.resource_memory_limit == "4Gi"
        assert not container.resources.HasField("accelerator")
        assert pod.active_deadline_seconds == 86400 + QUEUE_SECONDS
        assert not pod.tolerations, "the job's pods have them"
        given = package.tasks[name].inputs.parameters
        launch = Launch.from_json(given["launch"].runtime_value.constant.string_value)
        assert (launch.num_nodes, launch.accelerators, launch.world_size) == (4, 8, 32)
        assert launch.image == ImageReferences.read().image("trainer")
        assert given["tolerations"].component_input_parameter == "pipelinechannel--tolerations"


def test_wrong_resources_are_refused_before_anything_is_written(tmp_path):
    (tmp_path / "wrong.yaml").write_text("accelerator: nvidia.com/gpu\nmemory: lots\n")
    with pytest.raises(ResourcesError, match="memory"):
        compile_pipeline(tmp_path / "p.yaml", resources=str(tmp_path / "wrong.yaml"))
    assert not (tmp_path / "p.yaml").exists()
