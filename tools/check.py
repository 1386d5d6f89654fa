"""Run all checks that must pass before a change lands.

    python tools/check.py [--lint] [--static] [--slow] [--edge] [--fix]

People and CI run the same checks: format, lint, types, tests, the build of docs/, and some tests with other versions:
those of the runtime with the oldest versions that pyproject.toml allows and with the newest Python on the path, both
without torch; those of layers, export and runtime with the oldest versions and torch. The first run creates the
environments .venv, .venv-oldest, .venv-newest and .venv-oldest-train.

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

from venv_setup import ROOT, newer_python, prepare, prepare_newest, prepare_oldest, prepare_oldest_train

WITH_TORCH = ("layers", "export", "forms", "step_form", "portable", "spectra", "parity", "runtime", "tables")
"""The test modules that also run with the oldest versions of what trains and exports."""
TESTS = ["pytest", "-rs"]
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
ON_ALL_CORES = ["-n", str(max(2, 3 * CORES // 2)), "--dist", "worksteal"]
"""Many tests wait for a process of their own, so there are more workers than cores. Neighboring tests share fixtures,
and worksteal seldom separates them. It keeps all cores busy until the end."""


def main() -> int:
    """Run the checks; 1 if one of them fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lint", action="store_true", help="run only format and lint, as the hook of pre-commit does")
    parser.add_argument("--static", action="store_true", help="run only format, lint and types")
    parser.add_argument("--slow", action="store_true", help="also run the tests of large networks")
    parser.add_argument("--edge", action="store_true", help="run only the checks in other runtimes; takes an hour")
    parser.add_argument("--fix", action="store_true", help="let format and lint repair what they can")
    arguments = parser.parse_args()
    if arguments.edge:
        failed = failing(edge_checks(module(prepare())))
    elif arguments.lint or arguments.static:
        failed = failing(static_checks(module(prepare()), arguments.lint, arguments.fix))
    else:
        failed = failing_of_all(arguments.slow, arguments.fix)
    print(f"FAILED: {', '.join(failed)}" if failed else "All checks passed.")
    return 1 if failed else 0


def failing_of_all(slow: bool, fix: bool) -> list[str]:
    """Create the environments and run all checks; return the names of those that fail.

    pip, mypy, mkdocs and the tests without torch use one core. So one thread makes the large environment and runs what
    needs nothing else, while another makes the small ones.
    """

    def with_large() -> tuple[list[str], list[str]]:
        python = module(prepare())
        with tempfile.TemporaryDirectory() as site:
            docs = {"docs": [*python, "mkdocs", "--quiet", "build", "--strict", "--site-dir", site]}
            return python, failing(static_checks(python, False, fix) | docs, beside=True)

    with ThreadPoolExecutor() as pool:
        large = pool.submit(with_large)
        runtime = [*TESTS, "-m", "runtime", *tests_without_torch()]
        failed = failing({"oldest versions": [*module(prepare_oldest()), *runtime]}, beside=True)
        if newer := newer_python():
            newest = [*module(prepare_newest(newer)), *runtime]
            failed += failing({f"newest Python, {Path(newer).name}": newest}, beside=True)
        else:
            print("== newest Python: skipped, since there is none on the path that is newer than this one", flush=True)
        with_torch = module(prepare_oldest_train())
        python, failed_beside = large.result()
    marks = ["-m", "not gpu"] if slow else []
    checks = {
        "tests": [*python, *TESTS, *ON_ALL_CORES, *marks],
        "oldest versions with torch": [*with_torch, *TESTS, *ON_ALL_CORES, *(f"tests/test_{n}.py" for n in WITH_TORCH)],
    }
    checks |= {"onnxruntimes": [*python[:-1], "tools/check_runtimes.py"]} if slow else {}
    return [*failed_beside, *failed, *failing(checks)]


def module(programs: Path) -> list[str]:
    """The beginning of a command that runs a module in an environment."""
    return [str(programs / "python"), "-m"]


def static_checks(python: list[str], only_lint: bool, fix: bool) -> dict[str, list[str]]:
    """Format, lint and types."""
    checks = {
        "format": [*python, "ruff", "format", *([] if fix else ["--check"])],
        "lint": [*python, "ruff", "check", *(["--fix"] if fix else [])],
    }
    return checks if only_lint else checks | {"types": [*python, "mypy"]}


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


def failing(checks: dict[str, list[str]], beside: bool = False) -> list[str]:
    """Run checks one after another, perhaps beside others; return the names of those that fail."""
    return [name for name, command in checks.items() if not passes(name, command, beside)]


def passes(name: str, command: list[str], beside: bool) -> bool:
    """Run one check and report its time. If it runs beside others, its output is shown at its end."""
    start = time.monotonic()
    # NO_MKDOCS_2_WARNING turns off an announcement of the theme. With a process on each core, further threads of torch
    # would only wait for each other. Containers often forbid Python to keep compiled files. The environments have none
    # at first, so that each of the many processes would compile torch again, which takes 9 s.
    settings = {"NO_MKDOCS_2_WARNING": "1", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": ""}
    title = f"== {name}: {' '.join(command[2:])}"
    if not beside:
        print(title, flush=True)
    try:
        output = subprocess.PIPE if beside else None
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | settings, stdout=output, stderr=output and subprocess.STDOUT, text=True
        )
        code, text = done.returncode, done.stdout or ""
    except FileNotFoundError as error:
        code, text = 1, f"{error.filename} is not installed\n"
    shown = f"{title}\n{text}" if beside else text
    print(f"{shown}== {name}: {'ok' if code == 0 else 'FAILED'} in {time.monotonic() - start:.0f} s", flush=True)
    return code == 0


if __name__ == "__main__":
    sys.exit(main())
