"""Open mutants of model files, data files, networks, run folders and saved streams in processes that are watched.

    python tools/attack.py --mutants 10000 --seed 1

Each mutant must end in the right answer, or in one error of this package; a model file is opened in every way. A graph
that was rewired may open if `verify` finds it out ("flagged"). The command ends with 1 if a mutant crashed a process,
took more than 10 seconds of the processor or a gigabyte, ended in another error, or if the stream of a file differs
from the whole and nothing says so. Mutants that crash or hang are kept in the folder --keep.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from seq2onnx.tables import text_table  # noqa: E402

SECONDS = 10.0
"""The time of the processor for one mutant."""
WAITING = 12
"""How many times longer it may take on a busy machine, and where a process waits."""
SECONDS_TO_START = 90.0
"""More time until the first mutant: the process imports what it uses and writes the files to mutate."""
AT_ONCE = 400
"""Mutants that one process opens: it must start again after a crash."""
SLOW = ("mat", "h5", "parquet", "checkpoint", "weights", "run", "packages")
"""Kinds of which a mutant takes long, mostly because it is read in a process of its own; they get fewer mutants."""
SHARE_OF_SLOW = 0.05
MEGABYTES = 1024
OUTCOMES = ("refused", "opened", "flagged")
PROGRAM = ["-m", "tests.mutants"]
BAD = ("other errors", "crashes", "hangs", "over memory", "stream ≠ whole")


@dataclasses.dataclass
class Result:
    """What became of the mutants of one kind: `bad` counts those that ended as they must not, `wrong` says how."""

    mutants: int = 0
    outcomes: Counter[str] = dataclasses.field(default_factory=Counter)
    bad: Counter[str] = dataclasses.field(default_factory=Counter)
    wrong: list[str] = dataclasses.field(default_factory=list)
    megabytes: int = 0

    def add(self, kind: str, seed: int, number: int, what: str, text: str) -> None:
        """Record a mutant that ended as it must not."""
        self.bad[what] += 1
        self.wrong.append(f"{kind}, seed {seed}, mutant {number}: {text}")


def attack(kind: str, seed: int, count: int, seconds: float, keep: Path | None = None) -> Result:
    """Open `count` mutants of a kind."""
    result, first = Result(mutants=count), 0
    while first < count:
        with tempfile.TemporaryDirectory() as name:
            folder, some = Path(name), min(AT_ONCE, count - first)
            stopped = _watch(kind, seed, first, some, folder, seconds)
            lines = (folder / "output").read_text().splitlines()
            ended = [json.loads(line) for line in lines if line.endswith("]")]
            for number, what, text, megabytes in ended:
                result.megabytes = max(result.megabytes, megabytes)
                if what in OUTCOMES:
                    result.outcomes[what] += 1
                else:
                    result.add(kind, seed, number, BAD[4] if what == "StreamDiffers" else BAD[0], text)
                if megabytes > MEGABYTES:
                    result.add(kind, seed, number, BAD[3], f"took {megabytes} MB")
            last = first + len(ended)
            if stopped is not None:
                result.add(kind, seed, last, *stopped)
            if stopped is not None and keep is not None:
                shutil.copytree(folder / "mutant", keep / f"{kind} {seed} {last}", dirs_exist_ok=True)
            first = first + some if stopped is None else last + 1
    return result


def _watch(kind: str, seed: int, first: int, count: int, folder: Path, seconds: float) -> tuple[str, str] | None:
    """Run a process that opens mutants. Return why it was stopped, if it was: a name of BAD, and a text."""
    command = [sys.executable, *PROGRAM, kind, str(seed), str(first), str(count), str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with (folder / "output").open("w+") as output, (folder / "errors").open("w+") as errors:
        process = subprocess.Popen(command, stdout=output, stderr=errors, env=environment, cwd=ROOT)
        start, written = (time.monotonic(), 0.0), 0
        while process.poll() is None:
            time.sleep(0.05)
            now = time.monotonic(), _processor_seconds(process.pid)
            if (size := os.fstat(output.fileno()).st_size) > written:
                start, written = now, size
            more = SECONDS_TO_START * (not written)
            if now[1] - start[1] > seconds + more or now[0] - start[0] > (seconds + more) * WAITING:
                process.kill()
                process.wait()
                return "hangs", f"took more than {seconds:g} s"
        errors.seek(0)
        return ("crashes", f"exit code {process.returncode}: {errors.read()[-1000:]}") if process.returncode else None


def _processor_seconds(process: int) -> float:
    """Return the time that a process and its children that have ended have used; 0 where that is not known."""
    with contextlib.suppress(OSError, IndexError):
        times = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:15]
        return sum(map(int, times)) / os.sysconf("SC_CLK_TCK")
    return 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=1000, help="how many in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="the kinds whose name begins so")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="the processor time for one mutant")
    parser.add_argument("--jobs", type=int, default=1, help="processes at the same time")
    parser.add_argument("--keep", type=Path, help="a folder for mutants that crash or hang")
    arguments = parser.parse_args()
    from tests.mutants import NAMES

    kinds = [name for name in NAMES if name.startswith(arguments.only)]
    shares = {kind: SHARE_OF_SLOW if kind.startswith(SLOW) else 1.0 for kind in kinds}
    counts = {kind: max(1, round(arguments.mutants * share / sum(shares.values()))) for kind, share in shares.items()}

    def run(kind: str) -> Result:
        result = attack(kind, arguments.seed, counts[kind], arguments.seconds, arguments.keep)
        print(kind, counts[kind], dict(result.outcomes), *result.wrong, sep="\n  ", file=sys.stderr, flush=True)
        return result

    with ThreadPoolExecutor(arguments.jobs) as pool:
        results = dict(zip(kinds, pool.map(run, kinds), strict=True))
    rows: list[tuple[str, ...]] = [("kind", "mutants", *OUTCOMES, *BAD, "MB")]
    for kind, r in results.items():
        outcomes = (r.outcomes[name] for name in OUTCOMES)
        rows.append((kind, *map(str, (r.mutants, *outcomes, *(r.bad[name] for name in BAD), r.megabytes))))
    sums = [str(sum(int(row[i]) for row in rows[1:])) for i in range(1, 10)]
    rows.append(("all", *sums, str(max(r.megabytes for r in results.values()))))
    print(text_table(rows, range(1, 11), rule=True))
    wrong = [line for r in results.values() for line in r.wrong]
    print(*wrong, sep="\n")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
