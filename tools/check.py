"""Run all checks that must pass before a change lands.

    python tools/check.py [--lint] [--static] [--slow] [--edge] [--fix]

People and CI run the same checks: format, lint, types, tests, the build of docs/, and some tests with the oldest
versions that pyproject.toml allows: those of the runtime in an environment without torch, and those of layers, export
and runtime in one with torch. The first run creates the environments, .venv, .venv-oldest and .venv-oldest-train.
--edge runs only what CI does not: files of all forms in other runtimes, which it installs with pip and npm, and the C
code under valgrind. It names the system packages that are missing.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from venv_setup import ROOT, prepare, prepare_oldest, prepare_oldest_train

WITH_TORCH = ("layers", "export", "forms", "step_form", "portable", "spectra", "parity", "runtime", "tables")
"""The test modules that also run with the oldest versions of what trains and exports."""


def main() -> int:
    """Run the checks; 1 if one of them fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lint", action="store_true", help="run only format and lint, as the hook of pre-commit does")
    parser.add_argument("--static", action="store_true", help="run only format, lint and types")
    parser.add_argument("--slow", action="store_true", help="also run the tests of large networks")
    parser.add_argument("--edge", action="store_true", help="run only the checks in other runtimes; takes an hour")
    parser.add_argument("--fix", action="store_true", help="let format and lint repair what they can")
    arguments = parser.parse_args()
    runs_tests = not (arguments.lint or arguments.static or arguments.edge)
    programs = prepare_all() if runs_tests else (prepare(),)
    python, *oldest = ([str(folder / "python"), "-m"] for folder in programs)
    steps = {
        "format": [*python, "ruff", "format", *([] if arguments.fix else ["--check"])],
        "lint": [*python, "ruff", "check", *(["--fix"] if arguments.fix else [])],
    }
    if not arguments.lint:
        steps["types"] = [*python, "mypy"]
    if arguments.edge:
        steps = edge_checks(python)
    with tempfile.TemporaryDirectory() as site:
        if runs_tests:
            marks = ["-m", "not gpu"] if arguments.slow else []
            without_torch, with_torch = oldest
            # A file on one core, since its tests share what they have built.
            on_all_cores = ["pytest", "-rs", "-n", "auto", "--dist", "loadfile"]
            steps |= {
                "tests": [*python, *on_all_cores, *marks],
                "docs": [*python, "mkdocs", "--quiet", "build", "--strict", "--site-dir", site],
                "oldest versions": [*without_torch, "pytest", "-m", "runtime", *tests_without_torch()],
                "oldest versions with torch": [
                    *with_torch,
                    *on_all_cores,
                    *(f"tests/test_{name}.py" for name in WITH_TORCH),
                ],
            }
            steps |= {"onnxruntimes": [*python[:-1], "tools/check_runtimes.py"]} if arguments.slow else {}
        failed = [name for name, command in steps.items() if not passes(name, command)]
    print(f"FAILED: {', '.join(failed)}" if failed else "All checks passed.")
    return 1 if failed else 0


def prepare_all() -> tuple[Path, Path, Path]:
    """Create the environments, the large one beside the two of the oldest versions: pip works on one core."""
    with ThreadPoolExecutor() as pool:
        newest = pool.submit(prepare)
        oldest, oldest_train = prepare_oldest(), prepare_oldest_train()
        return newest.result(), oldest, oldest_train


def edge_checks(python: list[str]) -> dict[str, list[str]]:
    """The checks in other runtimes. npm leaves nothing but node_modules, which git ignores."""
    return {
        "tract": [*python, "pip", "install", "--quiet", "tract"],
        "onnxruntime-node": [
            "npm",
            "install",
            "--no-save",
            "--no-package-lock",
            "--ignore-scripts",
            "onnxruntime-node",
        ],
        "other runtimes": [*python[:-1], "tools/make_where_it_runs.py", "--check"],
        "microcontroller": [*python[:-1], "tools/make_microcontroller.py", "--check"],
        "C code": [*python[:-1], "tools/check_c_code.py"],
    }


def tests_without_torch() -> list[str]:
    """The test modules with tests marked `runtime`; the others cannot be imported without torch."""
    paths = sorted((ROOT / "tests").glob("test_*.py"))
    return [str(path.relative_to(ROOT)) for path in paths if "mark.runtime" in path.read_text(encoding="utf-8")]


def passes(name: str, command: list[str]) -> bool:
    """Run one check and report its time."""
    print(f"== {name}: {' '.join(command[2:])}", flush=True)
    start = time.monotonic()
    # NO_MKDOCS_2_WARNING turns off an announcement of the theme. With a process on each core, further threads of torch
    # would only wait for each other.
    settings = {"NO_MKDOCS_2_WARNING": "1", "OMP_NUM_THREADS": "1"}
    try:
        code = subprocess.run(command, cwd=ROOT, env=os.environ | settings).returncode
    except FileNotFoundError as error:
        print(f"{error.filename} is not installed")
        code = 1
    print(f"== {name}: {'ok' if code == 0 else 'FAILED'} in {time.monotonic() - start:.0f} s", flush=True)
    return code == 0


if __name__ == "__main__":
    sys.exit(main())
