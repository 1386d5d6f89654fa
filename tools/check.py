"""Run all checks that must pass before a change lands.

    python tools/check.py [--static] [--slow] [--edge] [--fix]

People and CI run the same checks: format, lint, types, tests, the build of docs/, and the tests of the runtime in a
second environment, which has no torch and the oldest versions that pyproject.toml allows. The first run creates both
environments, .venv and .venv-oldest. --edge runs only what CI does not: files of all forms in other runtimes, which it
installs with pip and npm, and the C code under valgrind. It names the system packages that are missing.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time

from venv_setup import ROOT, prepare, prepare_oldest


def main() -> int:
    """Run the checks; 1 if one of them fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--static", action="store_true", help="run only format, lint and types")
    parser.add_argument("--slow", action="store_true", help="also run the tests of large networks")
    parser.add_argument("--edge", action="store_true", help="run only the checks in other runtimes; takes an hour")
    parser.add_argument("--fix", action="store_true", help="let format and lint repair what they can")
    arguments = parser.parse_args()
    python = [str(prepare() / "python"), "-m"]
    steps = {
        "format": [*python, "ruff", "format", *([] if arguments.fix else ["--check"])],
        "lint": [*python, "ruff", "check", *(["--fix"] if arguments.fix else [])],
        "types": [*python, "mypy"],
    }
    if arguments.edge:
        steps = edge_checks(python)
    with tempfile.TemporaryDirectory() as site:
        if not arguments.static and not arguments.edge:
            marks = ["-m", "not gpu"] if arguments.slow else []
            oldest = [str(prepare_oldest() / "python"), "-m"]
            steps |= {
                # A file on one core, since its tests share what they have built.
                "tests": [*python, "pytest", "-n", "auto", "--dist", "loadfile", *marks],
                "docs": [*python, "mkdocs", "--quiet", "build", "--strict", "--site-dir", site],
                "oldest versions": [*oldest, "pytest", "-m", "runtime", *tests_without_torch()],
            }
            steps |= {"onnxruntimes": [*python[:-1], "tools/check_runtimes.py"]} if arguments.slow else {}
        failed = [name for name, command in steps.items() if not passes(name, command)]
    print(f"FAILED: {', '.join(failed)}" if failed else "All checks passed.")
    return 1 if failed else 0


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
