"""Look at the built images from inside. Part of `make test-images`, not of `make test`."""

import json

import pytest
from built_images.sandbox import Sandbox

from uae_images.build import OUT
from uae_images.contents import IMAGE_NAMES
from uae_images.references import ImageReferences

pytestmark = pytest.mark.timeout(3600)  # the first test waits for the builds
COMPILERS = (
    "as",
    "c++",
    "c99",
    "cc",
    "clang",
    "cpp",
    "g++",
    "gcc",
    "gfortran",
    "ld",
    "make",
    "tcc",
)


def printed(image: Sandbox, *command: str) -> str:
    done = image.run(command)
    assert done.code == 0, done.output
    return done.output


def test_an_image_answers_its_version(image):
    assert printed(image, *image.entry_point, "--version") == "uae 0.1.0\n"


def test_labels_say_what_an_image_is(image):
    label = {key.removeprefix("org.opencontainers.image."): v for key, v in image.labels.items()}
    assert label["title"] == image.image.partition(":")[0]
    assert label["version"] == "0.1.0"
    assert label["licenses"] == "Apache-2.0"
    assert label["base.name"] == ImageReferences.read().base("debian")
    assert len(label["revision"].removesuffix("-dirty")) == 40


def test_nothing_that_compiles_gains_rights_or_was_only_needed_to_build_is_left(image):
    names = [word for name in COMPILERS for word in ("-o", "-name", name)][1:]
    programs = ["-path", "*/bin/*", "(", *names, ")"]
    assert image.files(*programs) == []
    assert image.files("-perm", "/6000") == []
    for folder in (
        "/var/lib/apt/lists/*",
        "/var/cache/apt/*",
        "*/.cache/*",
        "/etc/pip*",
        "/wheels/*",
    ):
        assert image.files("-path", f"{image.root}{folder}") == []
    assert image.files("-path", "*/site-packages/pip/*") == []
    assert image.files("-path", f"{image.root}/tmp/*") == []


def test_every_module_is_compiled(image):
    script = (
        "import importlib.util, pathlib, uae_images.inventory as i; "
        "p = pathlib.Path(importlib.util.cache_from_source(i.__file__)); print(p.read_bytes()[4])"
    )
    assert (
        printed(image, "python3", "-c", script) == "1\n"
    )  # by hash, and the hash is not looked at
    places = "-path", "*/site-packages/uae*", "-name"
    assert len(image.files(*places, "*.pyc")) == len(image.files(*places, "*.py"))


def test_only_the_temporary_folder_can_be_written_by_a_user_without_rights(image):
    script = (
        "id -u; id -g; id -G; grep -h -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status;"
        "echo x > $HOME/x && echo $HOME; for f in /x /opt/uae/x /var/x /etc/x; do"
        " if touch $f 2>/dev/null; then echo wrote $f; fi; done"
    )
    zeros = "0" * 16
    assert printed(image, "sh", "-c", script).split() == [
        "65532", "65532", "65532",
        "CapEff:", zeros, "CapBnd:", zeros, "NoNewPrivs:", "1",
        "/tmp",
    ]  # fmt: skip


def test_control_has_no_tensor_library(images):
    control = images[ImageReferences.read().image("control")]
    for name in ("torch", "transformers", "diffusers", "nvidia", "triton"):
        assert control.files("-path", f"*/site-packages/{name}/*") == []


@pytest.mark.parametrize("name", ["trainer", "evaluator"])
def test_images_with_tensors_say_what_they_need_of_the_node(images, name):
    image = images[ImageReferences.read().image(name)]
    assert image.environment["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"
    assert image.environment["NVIDIA_VISIBLE_DEVICES"] == "all"
    script = "import torch; print(torch.version.cuda is not None, torch.ones(2).sum().item())"
    assert printed(image, "python3", "-c", script) == "True 2.0\n"


def test_torchrun_starts_processes_that_find_each_other(images):
    trainer = images[ImageReferences.read().image("trainer")]
    program = (
        "import torch, torch.distributed as d; d.init_process_group('gloo'); x = torch.ones(1); "
        "d.all_reduce(x); print(f'sum {x.item()}\\n', end=''); d.destroy_process_group()"
    )
    start = 'printf "%s" "$0" > p.py; exec torchrun --nproc-per-node=2 --standalone p.py'
    done = printed(trainer, "sh", "-ec", start, program)
    assert done.count("sum 2.0") == 2


@pytest.mark.parametrize("name", IMAGE_NAMES)
def test_bills_of_materials_hold_every_package(images, name):
    bill = json.loads((OUT / f"{name}.cdx.json").read_text(encoding="utf-8"))
    held = {component["bom-ref"].partition("@")[0] for component in bill["components"]}
    assert {
        "pkg:pypi/kfp",
        "pkg:pypi/uae",
        "pkg:deb/debian/python3.11",
        "pkg:deb/debian/libc6",
    } <= held
    assert ("pkg:pypi/torch" in held) == (name != "control")
    licences = (OUT / f"{name}.licences.md").read_text(encoding="utf-8")
    assert licences.count("\n| ") - 1 == len(held)
