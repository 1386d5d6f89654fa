"""Compile C code of `package` for a Cortex-M4, run it in QEMU, and write the table of the docs.

    python tools/make_microcontroller.py [--check]

Each network runs on an emulated board (MPS2 AN386). Flash and static RAM are those of the whole program: startup code,
network and libm. The stack is filled with a pattern before; what has changed after the steps was used. QEMU counts
instructions (-icount) in the timer of the processor. The results are compared with onnxruntime's. The table goes into
docs/where-it-runs.md. With --check, nothing is written. The exit code is 1 if a result is wrong. Needs
seq2onnx[cpu,train,edge] and apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm.
"""

from __future__ import annotations

import argparse
import datetime
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import seq2onnx as s2o
from seq2onnx.hosts.programs import need

PAGE = Path(__file__).resolve().parents[1] / "docs" / "where-it-runs.md"
BEGIN, END = "<!-- table: tools/make_microcontroller.py -->", "<!-- end of the microcontroller -->"
INSTALL = "apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm"
GCC = "arm-none-eabi-gcc"
FLAGS = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard"]
FLAGS += ["-mfpu=fpv4-sp-d16", "-ffunction-sections", "-fdata-sections"]
LINK = ["-nostdlib", "-Wl,--gc-sections", "-Wl,--undefined=vectors", "-Wl,--entry=main"]
LINK += ["-Wl,--section-start=.vectors=0", "-Wl,-Ttext=0x100", "-Wl,-Tdata=0x20000000", "-lm", "-lc", "-lgcc"]
STEPS, TOLERANCE = 20, 1e-4
NANOSECONDS = 40  # of a tick of the timer; with -icount shift=0, an instruction takes one
MAIN = """\
#include "net.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))
#define STACK_TOP 0x20400000u

extern char end; /* of the static data: a name of the linker */
int main(void);
__attribute__((section(".vectors"), used)) const uintptr_t vectors[] = {STACK_TOP, (uintptr_t)main};

static net_stream stream;
static float x[NET_STEPS * NET_FEATURES], y[NET_RESULTS * NET_OUTPUTS];

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
    const uint32_t *top = (uint32_t *)__builtin_frame_address(0) - 64;
    for (volatile uint32_t *word = bottom; word < top; ++word) {
        *word = 0x5eed5eed;
    }
    REGISTER(0xe000e014) = 0xffffff; /* the timer counts down from here */
    REGISTER(0xe000e018) = 0;
    REGISTER(0xe000e010) = 5;
    net_reset(&stream);
    uint32_t ticks = 0;
    for (int step = 0; step < STEPS; ++step) {
        for (int i = 0; i < NET_STEPS * NET_FEATURES; ++i) {
            x[i] = (float)((7 * i + 3 * step) % 11 - 5) / 5;
        }
        const uint32_t before = REGISTER(0xe000e018);
        net_step(&stream, x, y);
        ticks += (before - REGISTER(0xe000e018)) & 0xffffff;
    }
    while (*bottom == 0x5eed5eed) {
        ++bottom;
    }
    print(ticks);
    print(STACK_TOP - (uintptr_t)bottom);
    for (int i = 0; i < NET_OUTPUTS; ++i) {
        union { float number; uint32_t bits; } value = {y[i]};
        print(value.bits);
    }
    call(0x18, (const void *)0x20026); /* exit */
    return 0;
}
"""


def main() -> int:
    """Make the table; 1 if a result is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only check; write nothing")
    arguments = parser.parse_args()
    need(GCC, INSTALL)
    need("qemu-system-arm", INSTALL)
    lines = [
        "| network | weights | flash -Os | flash -O2 | static RAM | stack | instructions a step -O2 |",
        "|---|---|---|---|---|---|---|",
    ]
    right = True
    for name, network in networks():
        torch.manual_seed(0)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "net.onnx")
            module = s2o.build(network).eval()
            s2o.export(module, file)
            small, fast = (measure(file, Path(folder, flag), flag) for flag in ("-Os", "-O2"))
        error = max(small["error"], fast["error"])
        right = right and error <= TOLERANCE
        weights = sum(p.numel() for p in module.parameters())
        cells = [f"{weights:,}", _kb(small["flash"]), _kb(fast["flash"]), _kb(fast["static"]), _kb(fast["stack"])]
        lines.append(f"| {name} | {' | '.join(cells)} | {fast['instructions']:,.0f} |")
        print(f"{lines[-1]} largest error {error:.1e}; -Os {small['instructions']:,.0f}", flush=True)
    date = datetime.datetime.now(datetime.UTC).date()
    lines += ["", f"Measured on {date}: {_version(GCC)}, {_version('qemu-system-arm')}."]
    print(lines[-1])
    if not arguments.check:
        text = PAGE.read_text(encoding="utf-8")
        before, rest = text.split(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n\n" + "\n".join(lines) + f"\n\n{END}{rest.split(END)[1]}", encoding="utf-8")
    return int(not right)


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


def measure(file: Path, folder: Path, optimization: str) -> dict[str, float]:
    """Compile a file's C code, run it in QEMU, and compare the last result.

    Returns:
        flash, static (RAM), stack: bytes; instructions: of a step; error: the largest of the last result.
    """
    s2o.package(file, "c", folder)
    (folder / "main.c").write_text(MAIN.replace("< STEPS", f"< {STEPS}"))
    command = [GCC, *FLAGS, optimization, "main.c", "net.c", "-o", "net.elf", *LINK]
    subprocess.run(command, cwd=folder, check=True)
    sizes = subprocess.run(["arm-none-eabi-size", "net.elf"], cwd=folder, capture_output=True, text=True, check=True)
    text, data, bss = map(int, sizes.stdout.splitlines()[1].split()[:3])
    board = ["qemu-system-arm", "-M", "mps2-an386", "-nographic", "-monitor", "none", "-serial", "none"]
    board += ["-icount", "shift=0", "-semihosting-config", "enable=on,target=native", "-kernel", "net.elf"]
    ran = subprocess.run(board, cwd=folder, capture_output=True, text=True, check=True, timeout=60)
    ticks, stack, *bits = (int(line, 16) for line in (ran.stdout + ran.stderr).split())
    y = np.array(bits, np.uint32).view(np.float32)
    stream, answer = s2o.load(file).stream(), np.empty(0)
    for step in range(STEPS):
        answer = stream.step((((7 * np.arange(12) + 3 * step) % 11 - 5) / 5).astype(np.float32))
    return {
        "flash": text + data,
        "static": data + bss,
        "stack": stack,
        "instructions": ticks * NANOSECONDS / STEPS,
        "error": float(np.abs(y - answer).max()),
    }


def _kb(size: float) -> str:
    return f"{size / 1024:.1f} KB"


def _version(program: str) -> str:
    found = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return found.splitlines()[0]


if __name__ == "__main__":
    sys.exit(main())
