"""Everything that must hold before a change lands: python tools/check.py [--static] [--slow] [--fix]

Format, lint, types and tests, the same for people and CI; --static leaves the tests out, --slow adds those of
large networks, --fix mends what format and lint can mend.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

from venv_setup import ROOT, prepare


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--static", action="store_true", help="format, lint and types only")
    parser.add_argument("--slow", action="store_true", help="also the tests of large networks")
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
    failed = []
    for name, command in steps.items():
        print(f"== {name}: {' '.join(command)}", flush=True)
        began = time.monotonic()
        code = subprocess.run([*python, *command], cwd=ROOT).returncode
        print(f"== {name}: {'ok' if code == 0 else 'FAILED'} in {time.monotonic() - began:.0f} s", flush=True)
        if code:
            failed.append(name)
    print(f"FAILED: {', '.join(failed)}" if failed else "All checks passed.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
