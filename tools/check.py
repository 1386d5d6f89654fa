"""Everything that must hold before a change lands: python tools/check.py [--static] [--slow] [--docs] [--fix]

Format, lint, types and tests, the same for people and CI; --static leaves the tests out, --slow adds those of
large networks, --docs builds the site of docs/ without a warning, for which mkdocs must be in .venv, --fix mends what
format and lint can mend.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time

from venv_setup import ROOT, prepare


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--static", action="store_true", help="format, lint and types only")
    parser.add_argument("--slow", action="store_true", help="also the tests of large networks")
    parser.add_argument("--docs", action="store_true", help="also build the site, which needs the extra docs")
    parser.add_argument("--fix", action="store_true", help="mend what format and lint can mend")
    arguments = parser.parse_args()
    python = [str(prepare() / "python"), "-m"]
    steps = {
        "format": ["ruff", "format", *([] if arguments.fix else ["--check"])],
        "lint": ["ruff", "check", *(["--fix"] if arguments.fix else [])],
        "types": ["mypy"],
        "tests": ["pytest", *(["-m", "not gpu"] if arguments.slow else [])],
    }
    if arguments.static:
        del steps["tests"]
    with tempfile.TemporaryDirectory() as site:
        if arguments.docs:
            must_have_mkdocs(python[0])
            steps["docs"] = ["mkdocs", "build", "--strict", "--site-dir", site]
        failed = [name for name, command in steps.items() if not holds(name, [*python, *command])]
    print(f"FAILED: {', '.join(failed)}" if failed else "All checks passed.")
    return 1 if failed else 0


def holds(name: str, command: list[str]) -> bool:
    """Run a step."""
    print(f"== {name}: {' '.join(command[2:])}", flush=True)
    began = time.monotonic()
    # The theme prints news of its own, unless told otherwise.
    code = subprocess.run(command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}).returncode
    print(f"== {name}: {'ok' if code == 0 else 'FAILED'} in {time.monotonic() - began:.0f} s", flush=True)
    return code == 0


def must_have_mkdocs(python: str) -> None:
    """End with the install command unless the site can be built."""
    look = "import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, ('material', 'mkdocstrings'))))"
    if subprocess.run([python, "-c", look]).returncode:
        raise SystemExit(
            "--docs: mkdocs-material or mkdocstrings is not installed; they come with the extra 'docs': "
            f'{python} -m pip install --editable "{ROOT}[docs]"'
        )


if __name__ == "__main__":
    sys.exit(main())
