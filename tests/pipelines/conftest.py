"""An API server, and a small package whose runs take no work."""

import functools
from pathlib import Path

import pytest
from kfp_recorder import KfpRecorder, running

from uae import cli


@pytest.fixture
def server(monkeypatch):
    """A server for everybody; nothing outside the test says where or who we are."""
    for name in ("KF_PIPELINES_ENDPOINT", "KF_PIPELINES_UI_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("uae_pipelines.api.FIRST_DELAY_SECONDS", 0.01)
    with running(KfpRecorder()) as recorder:
        yield recorder


@pytest.fixture
def submit(server, package):
    """Run `uae submit` on the small package and return its exit code."""

    def run(*arguments, polling=("--poll", "0.01", "--patience", "0.5")):
        options = ["submit", "--host", server.host, "--package", str(package), *polling]
        return cli.main([*options, *arguments])

    return run


@pytest.fixture
def multi_user_server(server):
    server.multi_user, server.token = True, "s3cret-token"
    return server


@functools.cache
def compiled(compile_pipeline, folder, **given):
    return compile_pipeline(Path(folder) / "uae.yaml", **given).read_text("utf-8")


@pytest.fixture
def compiled_once(monkeypatch, tmp_path_factory):
    """Compile the whole pipeline once for all tests: kfp reads every caller's source, many here."""
    import uae_pipelines.compile

    real, folder = uae_pipelines.compile.compile_pipeline, str(tmp_path_factory.getbasetemp())

    def copy(package, **given):
        package.write_text(compiled(real, folder, **given), "utf-8")
        return package

    monkeypatch.setattr(uae_pipelines.compile, "compile_pipeline", copy)


@pytest.fixture(scope="session")
def package(tmp_path_factory):
    """Two steps and an exit handler, with a parameter of every type."""
    from kfp import compiler, dsl

    @dsl.component(base_image="busybox", install_kfp_package=False)
    def work(recipe: str, scale: float) -> None:
        """Do nothing."""

    @dsl.component(base_image="busybox", install_kfp_package=False)
    def report(data: str) -> None:
        """Do nothing."""

    @dsl.pipeline(name="small")
    def small(
        recipe: str = "starter",
        data: str = "starter",
        seed: int = -1,
        scale: float = 1.0,
        promote: bool = True,
        tolerations: list = [],  # noqa: B006, as kfp reads defaults
        node_selector: dict = {},  # noqa: B006
        run_id: str = "",
        endpoint: str = "http://store:8333",
        ui_url: str = "",
    ) -> None:
        with dsl.ExitHandler(report(data=data), name="all"):
            first = work(recipe=recipe, scale=scale)
            second = work(recipe=recipe, scale=scale).set_display_name("the second")
            second.after(first)

    path = tmp_path_factory.mktemp("package") / "small.yaml"
    compiler.Compiler().compile(small, package_path=str(path))
    return path
