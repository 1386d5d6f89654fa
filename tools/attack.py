"""Open mutants of data files, networks, run folders and model files in processes that are watched.

    python tools/attack.py --mutants 10000 --seed 1

Each mutant must end in the right answer, or in one error of this package. The table shows how many did; the command
ends with 1 if a mutant crashed a process, took more than 10 seconds or a gigabyte, or ended in another error. Such
mutants are kept in the folder --keep.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from seq2onnx.tables import text_table  # noqa: E402

SECONDS = 10.0
"""The time for one mutant. On a busy machine some take long; give --seconds then."""
MEGABYTES = 1024
AT_ONCE = 100
"""Mutants that one process opens: it must start again after a crash."""
SLOW = ("mat", "h5 of 0.1", "checkpoint", "weights", "run")
"""Kinds of which a mutant takes a tenth of a second and more; they get a tenth of the mutants."""


@dataclasses.dataclass
class Result:
    """What became of the mutants of one kind."""

    mutants: int = 0
    outcomes: Counter[str] = dataclasses.field(default_factory=Counter)
    wrong: list[str] = dataclasses.field(default_factory=list)
    crashes: int = 0
    hangs: int = 0
    megabytes: int = 0


def attack(kind: str, seed: int, count: int, seconds: float, keep: Path | None = None) -> Result:
    """Open `count` mutants of a kind."""
    result = Result(mutants=count)
    first = 0
    while first < count:
        with tempfile.TemporaryDirectory() as name:
            folder, some = Path(name), min(AT_ONCE, count - first)
            stopped, output = _watch(kind, seed, first, some, folder, seconds)
            place = folder / "number"
            last = int(place.read_text()) if place.exists() else first
            if stopped is None:
                found = json.loads(output)
                result.outcomes.update(found["outcomes"])
                result.megabytes = max(result.megabytes, found["megabytes"])
                result.wrong += [f"{kind}, mutant {number}: {what}" for number, what in found["wrong"]]
                first += some
                continue
            result.hangs += stopped == "hang"
            result.crashes += stopped != "hang"
            result.wrong.append(f"{kind}, mutant {last}: {stopped}")
            if keep is not None:
                shutil.copytree(folder, keep / f"{kind} {seed} {last}", dirs_exist_ok=True)
            first = last + 1
    return result


def _watch(kind: str, seed: int, first: int, count: int, folder: Path, seconds: float) -> tuple[str | None, str]:
    """Run a process that opens mutants. Return why it was stopped, if it was, and its output."""
    command = [sys.executable, "-m", "tests.data_mutants", kind, str(seed), str(first), str(count), str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with (folder / "output").open("w+") as output, (folder / "errors").open("w+") as errors:
        process = subprocess.Popen(command, stdout=output, stderr=errors, env=environment, cwd=ROOT)
        place, start, before = folder / "number", time.monotonic(), None
        while process.poll() is None:
            time.sleep(0.05)
            number = place.read_text() if place.exists() else None
            if number != before:
                before, start = number, time.monotonic()
            # The first needs the time to import what it uses.
            if time.monotonic() - start > seconds + 60 * (before in (None, str(first))):
                process.kill()
                process.wait()
                return "hang", ""
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            return f"crash {process.returncode}: {errors.read()[-300:]}", ""
        return None, output.read()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=1000, help="how many in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="the kinds whose name begins so")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="the time for one mutant")
    parser.add_argument("--keep", type=Path, help="a folder for mutants that crash or hang")
    arguments = parser.parse_args()
    from tests.data_mutants import KINDS

    kinds = [kind for kind in KINDS if kind.startswith(arguments.only or "")]
    shares = {kind: 0.1 if kind.startswith(SLOW) else 1.0 for kind in kinds}
    results = {}
    for kind in kinds:
        count = round(arguments.mutants * shares[kind] / sum(shares.values()))
        results[kind] = attack(kind, arguments.seed, max(count, 1), arguments.seconds, arguments.keep)
    rows: list[tuple[str, ...]] = [("kind", "mutants", "opened", "refused", "other errors", "crashes", "hangs", "MB")]
    for kind, r in results.items():
        opened = r.outcomes["opened"]
        refused, other = r.outcomes.total() - opened, len(r.wrong) - r.crashes - r.hangs
        rows.append((kind, *map(str, (r.mutants, opened, refused, other, r.crashes, r.hangs, r.megabytes))))
    print(text_table(rows, range(1, 8), rule=True))
    wrong = [line for r in results.values() for line in r.wrong]
    print(*wrong, sep="\n")
    if wrong or any(r.megabytes > MEGABYTES for r in results.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
