"""Break the code in known ways and check that the tests notice.

    python tools/mutate.py [--only TEXT] [--jobs N]

Each mutation of tools/mutations.py is applied alone, in a copy of the tree, and the tests that it names run there. One
of them must fail because a result is wrong: errors of imports or of the tests themselves do not count. The tests must
pass without mutations, which tools/check.py checks. --only runs the mutations with this text in their name. The exit
code is 1 if a mutation is missed, or if its place is not in the code any more.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from xml.etree import ElementTree

from mutations import MUTATIONS, Mutation, places

ROOT = Path(__file__).resolve().parent.parent
LONGEST = 600
"""Seconds that the tests of a mutation may take."""
RIGHT_REASON = re.compile(r"(assert|AssertionError|Failed: DID NOT|seq2onnx\.|numpy.*Mismatched)")
"""How the message of a failure begins if a result is wrong."""


def main() -> int:
    """Run the mutations; 1 if one of them is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="TEXT", help="run the mutations with this text in their name")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="how many mutations run at once")
    arguments = parser.parse_args()
    chosen = [mutation for mutation in MUTATIONS if arguments.only in mutation.name]
    if not chosen:
        print(f"no mutation has {arguments.only!r} in its name")
        return 1
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(arguments.jobs) as pool:
        trees: SimpleQueue[Path] = SimpleQueue()
        for number in range(arguments.jobs):
            trees.put(copy_tree(Path(folder, str(number))))

        def run(mutation: Mutation) -> tuple[str, float]:
            tree, start = trees.get(), time.monotonic()
            try:
                return verdict(mutation, tree), time.monotonic() - start
            finally:
                trees.put(tree)

        missed = 0
        for mutation, (found, seconds) in zip(chosen, pool.map(run, chosen), strict=True):
            missed += found != "caught"
            print(f"{mutation.name:<52.52} {found.partition(':')[0]:<8} {seconds:5.0f} s", flush=True)
            if found != "caught":
                print(f"    {mutation.place}, {mutation.tests}\n    {found}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} mutations are caught")
    return 1 if missed else 0


def copy_tree(target: Path) -> Path:
    """Copy the files that git tracks, or would track."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0"):
        if (source := ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)
    return target


def verdict(mutation: Mutation, tree: Path) -> str:
    """Run the tests of a mutation in a copy of the tree: "caught", or what went wrong."""
    found = places(mutation, tree)
    if len(found) != 1:
        return f"MISSED: the old text is there {len(found)} times"
    path = found[0]
    text = path.read_text(encoding="utf-8")
    write(path, text.replace(mutation.old, mutation.new))
    try:
        return outcome(mutation, tree)
    finally:
        write(path, text)


def write(path: Path, text: str) -> None:
    """Write a source file. Python compares only size and second of compiled files, so these are removed."""
    path.write_text(text, encoding="utf-8")
    for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
        compiled.unlink()


def outcome(mutation: Mutation, tree: Path) -> str:
    """Run pytest, and say whether a test failed for the right reason."""
    report = tree / "mutation.xml"
    report.unlink(missing_ok=True)
    options = ["-x", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
    command = [sys.executable, "-m", "pytest", *options, *shlex.split(mutation.tests)]
    settings = {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    try:
        code = subprocess.run(
            command, cwd=tree, env=os.environ | settings, capture_output=True, timeout=LONGEST
        ).returncode
    except subprocess.TimeoutExpired:
        return f"MISSED: the tests take more than {LONGEST} s"
    if code != 1:
        return "MISSED: all tests pass" if code == 0 else f"MISSED: pytest ends with {code}"
    reasons = []
    for entry in ElementTree.parse(report).iter("failure"):
        reasons.append(entry.get("message", ""))
        # hypothesis puts several failures into one group
        if RIGHT_REASON.match(reasons[-1]) or (
            "ExceptionGroup" in reasons[-1] and "AssertionError" in (entry.text or "")
        ):
            return "caught"
    return f"MISSED: the tests fail for another reason: {' | '.join(reasons)[:300] or 'an error outside of a test'}"


if __name__ == "__main__":
    sys.exit(main())
