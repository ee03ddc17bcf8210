"""Compile the pipeline to the package that is submitted to a cluster."""

from pathlib import Path

from kfp import compiler

from uae_pipelines.pipeline import uae_pipeline

PACKAGE = Path(__file__).parent / "uae.yaml"


def compile_pipeline(package: Path = PACKAGE) -> Path:
    """Write the compiled package and return its path."""
    compiler.Compiler().compile(uae_pipeline, package_path=str(package))
    return package


if __name__ == "__main__":
    print(compile_pipeline())
