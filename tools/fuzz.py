"""Check the laws of tests/laws.py on random networks.

    python tools/fuzz.py --networks 2000 --seed 1
    python tools/fuzz.py --networks 500 --form step --c

Prints how often each option of each layer was drawn, and the largest error of each comparison, relative to
max(1, largest number of the reference). The exit code is 1 if a law is broken. Creates .venv if needed.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import time
from collections import Counter
from pathlib import Path

from fuzzing import start


def fuzz(arguments: argparse.Namespace, folder: Path) -> int:
    """Check random networks; 1 if a law is broken."""
    from tests import c_laws, form_laws, laws
    from tests.comparison import WORST
    from tests.networks import compose, options_of

    count, seed, form = arguments.networks, arguments.seed, arguments.form
    began, failures = time.monotonic(), 0
    drawn: Counter[str] = Counter()
    checked = 0
    for number in itertools.count():
        if checked == count:
            break
        rng = random.Random(f"{seed} {number}")
        network = compose(rng, seen=drawn)
        splits = [[rng.randint(0, 5) for _ in range(rng.randint(1, 4))] + [1] for _ in range(rng.randint(1, 3))]
        try:
            subject = laws.Subject(network, number)
            if not form_laws.has_form(subject, form):
                continue
            form_laws.FORMS[form](subject, splits, folder)
            if arguments.c:
                c_laws.all_of_them(subject, folder / f"c_{number}")
        except Exception as error:
            failures += 1
            print(f"BROKEN in network {number}: {type(error).__name__}: {error}")
            print(f"  {network.to_dict()}\n  {splits}", flush=True)
        drawn.update(option for layer in network.layers for option in options_of(layer))
        checked += 1
        if checked % 250 == 0:
            print(f"{checked} networks, {time.monotonic() - began:.0f} s", flush=True)
    print(f"\n{count} networks in {time.monotonic() - began:.0f} s, {failures} failures")
    print("\nhow often each option was drawn")
    for option, times in sorted(drawn.items()):
        print(f"{times:>6}  {option}")
    print("\nlargest error of each comparison, over all networks with a layer of this kind")
    for (comparison, kind), worst in sorted(WORST.items()):
        print(f"{worst:.1e}  {comparison:<16} {kind}")
    return int(failures > 0)


FORM = {
    "choices": ("dynamic", "step", "portable"),
    "default": "dynamic",
    "help": "the form of the files; networks that do not have it are drawn again (default: dynamic)",
}

C = {"action": "store_true", "help": "check the C code of step files too; needs gcc and --form step"}

if __name__ == "__main__":
    sys.exit(start(__doc__, fuzz, 200, {"--form": FORM, "--c": C}))
