"""Compile C code of `package` for Cortex-M, run it in QEMU, and write the table of the docs.

    python tools/make_microcontroller.py [--check] [--cmsis-nn FOLDER]

Each network runs on emulated boards (MPS2 AN386 and AN505, MPS3 AN547), with weights of float32 and of 8 bits. Flash
and static RAM are those of the whole program: startup code, network and libm. The stack is filled with a pattern
before; what has changed after the steps was used. QEMU counts instructions (-icount) in the timer of the processor.
The results are compared with onnxruntime's, and with those of the sample in the package. The table goes into
docs/where-it-runs.md. With --check, nothing is written. --cmsis-nn compares with the LSTM of 8 bits in a copy of the
sources of CMSIS-NN. The exit code is 1 if a result is wrong. Needs seq2onnx[cpu,train] and apt-get install
gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cmsis_nn import write_lstm

import seq2onnx as s2o
from seq2onnx.hosts.programs import need
from seq2onnx.packaging.c.generator import Storage
from seq2onnx.sequences import Array

PAGE = Path(__file__).resolve().parents[1] / "docs" / "where-it-runs.md"
BEGIN, END = "<!-- table: tools/make_microcontroller.py -->", "<!-- end of the microcontroller -->"
INSTALL = "apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm"
GCC = "arm-none-eabi-gcc"
WARNINGS = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-Wconversion"]
FLAGS = ["-mthumb", "-mfloat-abi=hard", "-ffunction-sections", "-fdata-sections"]
LINK = ["-nostdlib", "-Wl,--gc-sections", "-Wl,--undefined=vectors", "-Wl,--entry=main"]


@dataclasses.dataclass(frozen=True)
class Board:
    """A board of QEMU.

    Attributes:
        name: of QEMU.
        flags: of the compiler.
        vectors, text, data, top: where the vectors, the code, the data and the end of the stack are.
        nanoseconds: of a tick of the timer; with -icount shift=0, an instruction takes one.
    """

    name: str
    flags: tuple[str, ...]
    vectors: int
    text: int
    data: int
    top: int
    nanoseconds: float


BOARDS = {
    "M4": Board("mps2-an386", ("-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16"), 0, 0x100, 0x20000000, 0x20400000, 40),
    "M33": Board(
        "mps2-an505", ("-mcpu=cortex-m33", "-mfpu=fpv5-sp-d16"), 0x10000000, 0x10000200, 0x38000000, 0x38400000, 50
    ),
    "M55": Board("mps3-an547", ("-mcpu=cortex-m55",), 0, 0x200, 0x20000000, 0x20080000, 31.25),
}
STEPS, MANY, TOLERANCE = 20, 100_000, 1e-4
TOLERANCE_INT8 = 1e-3  # against float32, for scores
SLOWEST = 1.5  # of many steps, against the fastest
MAIN = """\
#include "net.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))

extern char end; /* of the static data: a name of the linker */
int main(void);
__attribute__((section(".vectors"), used)) const uintptr_t vectors[] = {STACK_TOP, (uintptr_t)main};

static net_stream stream;
#ifndef NUMBER
#define NUMBER float
#endif
static NUMBER x[NET_STEPS * NET_FEATURES];
static float y[NET_RESULTS * NET_OUTPUTS];

static void call(uint32_t operation, const void *argument) { /* semihosting */
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}

static void print(uint32_t value) {
    char text[10] = "00000000\\n";
    for (int i = 7; i >= 0; --i, value >>= 4) {
        text[i] = "0123456789abcdef"[value & 15];
    }
    call(4, text);
}

int main(void) {
    REGISTER(0xe000ed88) |= 0xf << 20; /* the unit for floating point */
    uint32_t *bottom = (uint32_t *)(((uintptr_t)&end + 7) & ~(uintptr_t)7);
    if (STACK_TOP - (uintptr_t)bottom > 0x20000u) {
        bottom = (uint32_t *)(uintptr_t)(STACK_TOP - 0x20000u);
    }
    const uint32_t *top = (uint32_t *)__builtin_frame_address(0) - 64;
    for (volatile uint32_t *word = bottom; word < top; ++word) {
        *word = 0x5eed5eed;
    }
    REGISTER(0xe000e014) = 0xffffff; /* the timer counts down from here */
    REGISTER(0xe000e018) = 0;
    REGISTER(0xe000e010) = 5;
    net_reset(&stream);
    uint32_t ticks = 0, least = 0xffffff, most = 0;
    for (int step = 0; step < STEPS; ++step) {
        for (int i = 0; i < NET_STEPS * NET_FEATURES; ++i) {
            x[i] = (NUMBER)((float)((7 * i + 3 * step) % 11 - 5) / 5);
        }
        const uint32_t before = REGISTER(0xe000e018);
        net_step(&stream, x, y);
        const uint32_t took = (before - REGISTER(0xe000e018)) & 0xffffff;
        ticks += took;
        least = took < least ? took : least;
        most = took > most ? took : most;
    }
    while (*bottom == 0x5eed5eed) {
        ++bottom;
    }
    print(ticks);
    print(least);
    print(most);
    print(STACK_TOP - (uintptr_t)bottom);
    for (int i = 0; i < NET_OUTPUTS; ++i) {
        union { float number; uint32_t bits; } value = {y[i]};
        print(value.bits);
    }
    print((uint32_t)(SELF_TEST));
    call(0x18, (const void *)0x20026); /* exit */
    return 0;
}
"""


def main() -> int:
    """Make the table; 1 if a result is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only check; write nothing")
    parser.add_argument("--cmsis-nn", type=Path, metavar="FOLDER", help="sources of CMSIS-NN, to compare with")
    arguments = parser.parse_args()
    need(GCC, INSTALL)
    need("qemu-system-arm", INSTALL)
    lines = [
        "| network | weights | flash -Os | flash -O2 | static RAM | stack | instructions M4 -Os | M4 -O2 | M33 -O2 "
        "| M55 -O2 |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    right = True
    for name, network in networks():
        for weights in STORED:
            with tempfile.TemporaryDirectory() as folder:
                cells, is_right = row(network, weights, Path(folder))
            right = right and is_right
            lines.append(f"| {name}{', int8' if weights else ''} | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    date = datetime.datetime.now(datetime.UTC).date()
    lines += ["", f"Measured on {date}: {_version(GCC)}, {_version('qemu-system-arm')}."]
    print(lines[-1])
    for name, network in steady_networks():
        for weights in STORED:
            with tempfile.TemporaryDirectory() as folder:
                right = steady(f"{name}{', int8' if weights else ''}", network, weights, Path(folder)) and right
    if arguments.cmsis_nn:
        compare(arguments.cmsis_nn)
    if not arguments.check:
        text = PAGE.read_text(encoding="utf-8")
        before, rest = text.split(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n\n" + "\n".join(lines) + f"\n\n{END}{rest.split(END)[1]}", encoding="utf-8")
    return int(not right)


STORED: tuple[Storage | None, ...] = (None, "int8")


def networks() -> Iterator[tuple[str, s2o.Network]]:
    """Give networks of several sizes and kinds."""
    last: list[Any] = [s2o.FullyConnected(9), s2o.Softmax()]
    for size in (16, 32, 64, 100):
        yield f"12 → LSTM {size} → 9", s2o.Network([s2o.SequenceInput(12), s2o.LSTM(size, "last"), *last], name="net")
    for size in (32, 64):
        yield f"12 → GRU {size} → 9", s2o.Network([s2o.SequenceInput(12), s2o.GRU(size, "last"), *last], name="net")
    two = [layer for _ in range(2) for layer in (s2o.Conv1d(32, 3, padding="causal"), s2o.ReLU())]
    yield (
        "12 → Conv1d 32 → Conv1d 32 → mean → 9",
        s2o.Network([s2o.SequenceInput(12), *two, s2o.GlobalAvgPool1d(), *last], name="net"),
    )


def steady_networks() -> Iterator[tuple[str, s2o.Network]]:
    """Give networks of which many steps run: all should take the same time."""
    odd: list[Any] = [s2o.FullyConnected(7), s2o.Softmax()]  # sizes for all ends of loops
    for size in (19, 51):
        yield f"12 → LSTM {size} → 7", s2o.Network([s2o.SequenceInput(12), s2o.LSTM(size, "last"), *odd], name="net")
    wide = [layer for k in (1, 64) for layer in (s2o.Conv1d(8, 3, padding="causal", dilation=k), s2o.Tanh())]
    yield "12 → dilated Conv1d 8 → 7", s2o.Network([s2o.SequenceInput(12), *wide, *odd], name="net")


def exported(network: s2o.Network, folder: Path) -> tuple[Path, int]:
    """Export a network with random weights; return the file and the number of weights."""
    torch.manual_seed(0)
    module = s2o.build(network).eval()
    s2o.export(module, folder / "net.onnx")
    return folder / "net.onnx", sum(p.numel() for p in module.parameters())


def row(network: s2o.Network, weights: Storage | None, folder: Path) -> tuple[list[str], bool]:
    """Measure a network; return the cells of its row, and whether all results are right."""
    file, count = exported(network, folder)
    package = folder / "package"
    s2o.package(file, "c", package, weights=weights)
    y = expected(file, STEPS)
    runs = [("M4", "-Os"), ("M4", "-O2"), ("M33", "-O2"), ("M55", "-O2")]
    small, fast, *others = (measure(package, BOARDS[core], flag) for core, flag in runs)
    error = max(float(np.abs(run["y"] - y).max()) for run in (small, fast, *others))
    print(f"largest error {error:.1e}")
    cells = [f"{count:,}", _kb(small["flash"]), _kb(fast["flash"]), _kb(fast["static"]), _kb(fast["stack"])]
    cells += [f"{run['instructions']:,.0f}" for run in (small, fast, *others)]
    return cells, error <= (TOLERANCE_INT8 if weights else TOLERANCE)


def steady(name: str, network: s2o.Network, weights: Storage | None, folder: Path) -> bool:
    """Run many steps and the sample of the package; return whether no step is slow, and the results are right."""
    file, _ = exported(network, folder)
    package = folder / "package"
    s2o.package(file, "c", package, weights=weights)
    run = measure(package, BOARDS["M4"], "-O2", MANY, ["net.c", "net_self_test.c"], ["-DSELF_TEST=net_self_test()"])
    slowest, error = run["most"] / run["least"], float(np.abs(run["y"] - expected(file, MANY)).max())
    print(
        f"{name}: the slowest of {MANY:,} steps takes {slowest:.3f} of the fastest; error {error:.1e}; "
        f"self-test {'right' if run['self_test'] == 0 else 'WRONG'}",
        flush=True,
    )
    is_right = error <= (TOLERANCE_INT8 if weights else TOLERANCE) and run["self_test"] == 0
    return is_right and slowest <= SLOWEST


def compare(sources: Path) -> None:
    """Print the instructions of an LSTM alone, of CMSIS-NN and of the package, on a Cortex-M4."""
    library = sorted(
        file
        for part in ("LSTMFunctions", "NNSupportFunctions", "BasicMathFunctions", "ActivationFunctions")
        for file in (sources / "Source" / part).glob("*.c")
        if not any(kind in file.name for kind in ("f16", "_f32", "_flt"))
    )
    for size in (32, 100):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_lstm(folder, 12, size)
            flags = ["-std=gnu11", f"-I{sources / 'Include'}", f"-I{sources / 'Include' / 'Internal'}"]
            flags += ["-DNUMBER=int8_t", "-O3"]
            theirs = measure(folder, BOARDS["M4"], "-O3", STEPS, ["net.c", *library], flags, ["-lnosys"])
            network = s2o.Network([s2o.SequenceInput(12), s2o.LSTM(size, "last")], name="net")
            file, _ = exported(network, folder)
            s2o.package(file, "c", folder / "package", weights="int8")
            ours = {flag: measure(folder / "package", BOARDS["M4"], flag) for flag in ("-Os", "-O2")}
        count = theirs["instructions"]
        print(f"12 → LSTM {size} alone: arm_lstm_unidirectional_s8 -O3 {count:,.0f} instructions", end="")
        for flag, run in ours.items():
            print(f"; int8 {flag} {run['instructions']:,.0f} ({run['instructions'] / count:.3f})", end="")
        print(flush=True)


def expected(file: Path, steps: int) -> Array:
    """Return the result of onnxruntime for the last step."""
    stream, answer = s2o.load(file).stream(), np.empty(0)
    for step in range(steps):
        answer = stream.step((((7 * np.arange(12) + 3 * step) % 11 - 5) / 5).astype(np.float32))
    return answer


def measure(
    folder: Path,
    board: Board,
    optimization: str,
    steps: int = STEPS,
    sources: Sequence[str | Path] = ("net.c",),
    flags: Sequence[str] = (),
    libraries: Sequence[str] = (),
) -> dict[str, Any]:
    """Compile C code and run it in QEMU.

    Returns:
        flash, static (RAM), stack: bytes; instructions: of a step, least and most too; y: the last result;
        self_test: the result of SELF_TEST, a flag.
    """
    (folder / "main.c").write_text(MAIN.replace("< STEPS", f"< {steps}"), encoding="utf-8")
    command = [GCC, *([] if flags and "-std=gnu11" in flags else WARNINGS), *FLAGS, *board.flags, optimization]
    command += [f"-DSTACK_TOP={board.top:#x}u", *flags]
    command += [] if any("SELF_TEST" in flag for flag in flags) else ["-DSELF_TEST=0"]
    places = [f"-Wl,--section-start=.vectors={board.vectors:#x}", f"-Wl,-Ttext={board.text:#x}"]
    places += [f"-Wl,-Tdata={board.data:#x}"]
    link = [*LINK, *places, "-lm", "-lc", "-lgcc", *libraries]
    subprocess.run([*command, "main.c", *map(str, sources), "-o", "net.elf", *link], cwd=folder, check=True)
    sizes = subprocess.run(["arm-none-eabi-size", "net.elf"], cwd=folder, capture_output=True, text=True, check=True)
    text, data, bss = map(int, sizes.stdout.splitlines()[1].split()[:3])
    machine = ["qemu-system-arm", "-M", board.name, "-nographic", "-monitor", "none", "-serial", "none"]
    machine += ["-icount", "shift=0", "-semihosting-config", "enable=on,target=native", "-kernel", "net.elf"]
    ran = subprocess.run(machine, cwd=folder, capture_output=True, text=True, check=True, timeout=300)
    ticks, least, most, stack, *bits, self_test = (int(line, 16) for line in (ran.stdout + ran.stderr).split())
    return {
        "flash": text + data,
        "static": data + bss,
        "stack": stack,
        "instructions": ticks * board.nanoseconds / steps,
        "least": least * board.nanoseconds,
        "most": most * board.nanoseconds,
        "y": np.array(bits, np.uint32).view(np.float32),
        "self_test": self_test,
    }


def _kb(size: float) -> str:
    return f"{size / 1024:.1f} KB"


def _version(program: str) -> str:
    found = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return found.splitlines()[0]


if __name__ == "__main__":
    sys.exit(main())
