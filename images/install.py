"""Install a closed list into /opt/uae; run while an image is built, by a Python that has pip.

    python install.py REQUIREMENTS-OR-WHEEL

What is there already stays as it is, so that a second list adds no more than it must.
"""

import os
import subprocess
import sys
import venv
from compileall import compile_file
from concurrent.futures import ProcessPoolExecutor
from importlib.util import cache_from_source
from pathlib import Path
from py_compile import PycInvalidationMode

HOME = Path("/opt/uae")
TESTS_OF = ("numpy", "pandas", "pyarrow", "scipy", "sympy")  # 40 MB that nobody runs in an image


def main() -> None:
    """Install what the argument names."""
    if not (HOME / "bin").exists():
        venv.create(HOME, symlinks=True)
    (packages,) = HOME.glob("lib/python3.*/site-packages")
    wanted = sys.argv[1]
    source = ["--no-index", wanted] if wanted.endswith(".whl") else ["--requirement", wanted]
    pip = [sys.executable, "-m", "pip", "--python", str(HOME / "bin" / "python3"), "install"]
    subprocess.run([*pip, "--no-deps", "--no-compile", "--no-cache-dir", *source], check=True)
    for name in TESTS_OF:
        folders = [path for path in (packages / name).rglob("tests") if path.is_dir()]
        subprocess.run(["rm", "-r", "-f", *folders], check=True)
    compile_new(packages)


def compile_new(packages: Path) -> None:
    """Compile what is not compiled yet.

    A compiled file is taken whatever its source's time says: copying a layer must not make it
    stale. torch has a few files in the syntax of later Pythons, which cannot be compiled.
    """
    new = [path for path in packages.rglob("*.py") if not Path(cache_from_source(path)).exists()]
    with ProcessPoolExecutor(os.cpu_count()) as workers:
        list(workers.map(_compile, new, chunksize=64))


def _compile(path: Path) -> None:
    compile_file(path, quiet=2, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)


if __name__ == "__main__":
    main()
