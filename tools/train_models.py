"""Train the networks of models/.

    python tools/train_models.py [NAME ...] [--seed 0 | --pictures | --measure | --peers] [--out models] [--jobs 2]

Without --seed, each network is trained with all its seeds, and its folder is written again: network, options, exported
file, card, figures, pictures, and a part of the test data. With --seed, each is trained once and nothing is written;
the exit code is then 1 if a figure is outside the range in its card. With --pictures, nothing is trained: the exported
files draw their pictures again, and the cards are written again. With --measure, nothing is trained and nothing is
downloaded: latencies, sizes and figures with int8 weights, and the C code, are measured again with the exported files,
and the cards are written again. Nothing else should run then. With --peers, plain torch is trained again, too, which
takes most of the time; without, its figures stay. The data are downloaded by pip, or simulated. Needs
seq2onnx[cpu,train,data,edge], gcc and make. The network keyword and the guests also need apt-get download, and keyword
needs the programs espeak-ng and flite: `apt-get install espeak-ng flite`. The guest sleepecg needs its package and
Keras: `pip install sleepecg==0.6.0 keras==3.15.0`.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import functools
import multiprocessing
import sys
from pathlib import Path

from zoo import RECIPES
from zoo.card import write_card, write_guest_card, write_index, write_night_card
from zoo.edge import edge
from zoo.guests import GUESTS, make as bring
from zoo.making import again, draw_again, latency, make, read_figures, write_figures
from zoo.nights import NIGHTS, make as bring_night

ROOT = Path(__file__).resolve().parents[1]
KNOWN = (*RECIPES, *GUESTS, *NIGHTS)
# Started first, so that none runs alone at the end.
LONG = ("keyword", "video", "films", "spotting", "digits_lstm", "turbofan")


def main() -> int:
    """Train the named networks; 1 if a figure is outside its range."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"networks, default all: {', '.join(KNOWN)}")
    parser.add_argument("--seed", type=int, help="train once with this seed and compare with the card")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "models", help="the folder of the networks (default: %(default)s)"
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=2,
        help="networks to train at the same time, each on one core (default: %(default)s)",
    )
    parser.add_argument("--pictures", action="store_true", help="draw the pictures of the exported files again")
    parser.add_argument("--peers", action="store_true", help="also train the same networks in plain torch again")
    parser.add_argument(
        "--measure", action="store_true", help="measure latency, int8 weights and C code of the files again"
    )
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.names if name not in KNOWN]:
        parser.error(f"unknown name {', '.join(unknown)}; known are {', '.join(KNOWN)}")
    chosen = arguments.names or KNOWN
    names = sorted((name for name in chosen if name in RECIPES), key=lambda name: name not in LONG)
    guests = [name for name in chosen if name in GUESTS]
    nights = [name for name in chosen if name in NIGHTS]
    if arguments.pictures:
        for name in names:
            draw_again(RECIPES[name], arguments.out / name)
            write_card(RECIPES[name], arguments.out / name)
        for name in guests:
            write_guest_card(GUESTS[name], arguments.out / name)
        for name in nights:
            write_night_card(NIGHTS[name], arguments.out / name)
        return 0
    if arguments.measure:
        for name in names:
            _finish(name, arguments.out / name)
        _write_index(arguments.out)
        return 0
    # Spawned, since a fork of a process with threads of torch may hang.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(arguments.jobs, context) as pool:
        work = functools.partial(_work, seed=arguments.seed, out=arguments.out, peers=arguments.peers)
        done = list(pool.map(work, names))
    if arguments.seed is not None:
        return 0 if all(done) else 1
    # One after another, so that nothing else runs while latencies are measured.
    for name in names:
        _finish(name, arguments.out / name)
    for name in guests:
        bring(GUESTS[name], arguments.out)
        write_guest_card(GUESTS[name], arguments.out / name)
    for name in nights:
        bring_night(NIGHTS[name], arguments.out)
        write_night_card(NIGHTS[name], arguments.out / name)
    _write_index(arguments.out)
    return 0


def _finish(name: str, folder: Path) -> None:
    """Measure latency, int8 weights and C code, and write the card."""
    measured = {"latency": latency(RECIPES[name], folder), "edge": edge(RECIPES[name], folder)}
    write_figures(folder, read_figures(folder) | measured)
    write_card(RECIPES[name], folder)


def _write_index(out: Path) -> None:
    """Write the page of all networks, if all are there."""
    if all((out / name / "card.md").exists() for name in KNOWN):
        write_index(list(RECIPES.values()), [*GUESTS.values(), *NIGHTS.values()], out)


def _work(name: str, seed: int | None, out: Path, peers: bool) -> bool:
    """Train one network, in its own process."""
    recipe = RECIPES[name]
    if seed is not None:
        return again(recipe, seed, out / name)
    make(recipe, out, peers)
    return True


if __name__ == "__main__":
    sys.exit(main())
