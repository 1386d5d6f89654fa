"""Run the networks of models/ and random ones in other runtimes, in each form, and write the table of the docs.

    python tools/make_where_it_runs.py [--networks 25] [--check]

A file is right if all results are within 1e-4 of onnxruntime's, relative to max(1, largest number): whole, as a ragged
batch, step by step and in chunks, one of them empty. The table goes into docs/where-it-runs.md. The exit code is 1 if
a portable or step file is wrong anywhere but in tract, which refuses portable files with lengths. A runtime that is not
installed is named and left out. With --check, nothing is written, and the exit code is also 1 if a runtime is not
installed. What installs each: pip install openvino tract; apt-get install g++ libonnxruntime-dev chromium; and in this
folder npm install --ignore-scripts onnxruntime-node, which is read from here.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import datetime
import functools
import http.server
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

import seq2onnx as s2o
from seq2onnx.hosts import HOSTS, check_host
from seq2onnx.hosts.cases import Case, Tensors, make_cases, read_results, write_cases
from seq2onnx.hosts.programs import SOURCES
from seq2onnx.packaging import web
from seq2onnx.parity import ParityReport
from seq2onnx.runtime.model import Model

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "where-it-runs.md"
BEGIN, END = "<!-- table: tools/make_where_it_runs.py -->", "<!-- end of table -->"
FORMS = ("dynamic", "portable", "step")
REFUSED = ("tract", "portable")  # tract has no LSTM with lengths; it says so, and gives no result
TITLES = {
    "cpp": "onnxruntime, C++",
    "node": "onnxruntime, node",
    "wasm": "onnxruntime, WebAssembly in Chromium",
    "openvino": "OpenVINO, precision hint f32",
    "tract": "tract",
    "c": "C code of `package`",
}


def main() -> int:
    """Make the table; 1 if a portable or step file is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=25, help="how many random networks (default: 25)")
    parser.add_argument("--check", action="store_true", help="only check; write nothing")
    arguments = parser.parse_args()
    HOSTS.update(tract=run_tract, wasm=run_wasm)
    os.environ["NODE_PATH"] = str(ROOT / "node_modules")
    right: dict[tuple[str, str], list[bool]] = {}
    missing: dict[str, str] = {}
    for name, module in modules(arguments.networks):
        for form in FORMS:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "model.onnx")
                try:
                    s2o.export(module, path, form=form)  # type: ignore[arg-type]
                except (s2o.SpecError, s2o.NotStreamable):
                    continue  # the network has no such form
                for runtime in TITLES:
                    if runtime in missing or (runtime == "c" and form != "step"):
                        continue
                    try:
                        report = check_host(path, runtime)
                    except s2o.MissingExtra as error:
                        missing[runtime] = str(error)
                        continue
                    except (s2o.SpecError, s2o.NotStreamable):
                        continue  # the package for C does not run it
                    right.setdefault((runtime, form), []).append(report.ok)
                    if not report.ok:
                        print(f"{name}, {form}, {runtime}: {_first_wrong(report)}", flush=True)
    for runtime, message in missing.items():
        print(f"not measured: {TITLES[runtime]}: {message}")
    lines = table(right)
    print("\n".join(lines))
    if not arguments.check:
        text = PAGE.read_text(encoding="utf-8")
        before, rest = text.split(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n\n" + "\n".join(lines) + f"\n\n{END}{rest.split(END)[1]}", encoding="utf-8")
    wrong = not all(all(found) for key, found in right.items() if key[1] != "dynamic" and key != REFUSED)
    return int(wrong or (arguments.check and bool(missing)))


def modules(count: int) -> Iterator[tuple[str, Any]]:
    """Give the networks of models/ and `count` random networks."""
    sys.path.insert(0, str(ROOT))
    from tests.networks import compose

    for path in sorted((ROOT / "models").glob("*/model.onnx")):
        with contextlib.suppress(s2o.ModelFileError):  # guests have no layers, so they have no forms
            yield path.parent.name, s2o.restore(path)
    for number in range(count):
        torch.manual_seed(number)
        yield f"random {number}", s2o.build(compose(random.Random(f"where {number}"))).eval()


def table(right: Mapping[tuple[str, str], list[bool]]) -> list[str]:
    """Return the lines of the table: right files of all files, by runtime and form."""
    lines = [f"| runtime | {' | '.join(FORMS)} |", f"|---|{'---|' * len(FORMS)}"]
    for runtime, title in TITLES.items():
        cells = [right.get((runtime, form)) for form in FORMS]
        if any(cells):
            shown = [f"{sum(cell)} of {len(cell)}" if cell else "–" for cell in cells]
            lines.append(f"| {f'{title} {versions()[runtime]}'.strip()} | {' | '.join(shown)} |")
    date = datetime.datetime.now(datetime.UTC).date()
    return [*lines, "", f"Measured on {date}, against onnxruntime {_version('onnxruntime')} in Python."]


@functools.cache
def versions() -> dict[str, str]:
    """Return the version of each runtime that can tell it."""
    found = subprocess.run(
        ["dpkg-query", "-W", "-f=${Version}", "libonnxruntime-dev"], capture_output=True, text=True, check=False
    )
    node = ROOT / "node_modules" / "onnxruntime-node" / "package.json"
    return {
        "cpp": found.stdout.partition("+")[0],
        "node": json.loads(node.read_text())["version"] if node.exists() else "",
        "wasm": json.loads((_web().parent / "package.json").read_text())["version"] if shutil.which("npm") else "",
        "openvino": _version("openvino"),
        "tract": _version("tract"),
        "c": "",
    }


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _first_wrong(report: ParityReport) -> str:
    row = next(row for row in report.rows if not row.ok)
    notes = [note for note in report.notes if note.startswith(row.check)]
    return notes[0] if notes else f"{row.check}, {row.tensor}: {row.max_rel:.1e}"


def run_tract(model: Model) -> list[tuple[Case, list[Tensors] | str]]:
    """Run the cases of a file in tract."""
    try:
        import tract
    except ImportError:
        raise s2o.MissingExtra("tract is not installed. Run: pip install tract") from None
    names = [tensor.name for tensor in model.session.get_inputs()]
    outputs = [tensor.name for tensor in model.session.get_outputs()]

    def run(case: Case) -> list[Tensors] | str:
        states, results = case.states, []
        try:
            runnable = tract.onnx().load(str(model.path)).into_model().into_runnable()
            for one in case.runs:
                feeds = one.inputs | states
                found = runnable.run([tract.Tensor.from_numpy(feeds[name]) for name in names])
                results.append(dict(zip(outputs, [tensor.to_numpy() for tensor in found], strict=True)))
                states = {name: results[-1][f"new_{name}"] for name in states}
        except tract.TractError as error:
            return " ".join(str(error).split())[:300]
        return results

    return [(case, run(case)) for case in make_cases(model)]


WASM = """
import * as ort from "./ort.js";
import { runCases } from "./run_cases.mjs";
ort.env.wasm.numThreads = 1;
const get = async (name) => (await fetch(name)).arrayBuffer();
let answer;
try {
  const text = new TextDecoder().decode(await get("cases.txt"));
  answer = await runCases(ort, await get("model.onnx"), text, await get("cases.bin"));
} catch (error) {
  answer = { error: error.message };
}
if (!answer.error) await fetch("results.bin", { method: "POST", body: answer.bytes });
const text = answer.error ? `error ${answer.error}` : answer.lines.join("\\n") + "\\n";
await fetch("done", { method: "POST", body: text });
"""


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, and writes into it what the page posts."""

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        Path(self.translate_path(self.path)).write_bytes(content)
        self.send_response(200)
        self.end_headers()
        if self.path == "/done":
            self.server.done.set()  # type: ignore[attr-defined]

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


def run_wasm(model: Model) -> list[tuple[Case, list[Tensors] | str]]:
    """Run the cases of a file with onnxruntime-web in Chromium."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None or shutil.which("npm") is None:
        raise s2o.MissingExtra("chromium or npm is not installed. Run: apt-get install chromium npm")
    cases = make_cases(model)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        for file, new_name in web.RUNTIME.items():
            (folder / new_name).symlink_to(_web() / file)
        shutil.copy(SOURCES / "run_cases.mjs", folder)
        shutil.copy(model.path, folder / "model.onnx")
        write_cases(cases, folder)
        (folder / "page.js").write_text(WASM)
        (folder / "index.html").write_text('<!DOCTYPE html><script type="module" src="page.js"></script>')
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Handler, directory=name))
        server.done = threading.Event()  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
        command += [f"--user-data-dir={folder / 'profile'}", f"http://127.0.0.1:{server.server_address[1]}/"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            done = server.done.wait(120)  # type: ignore[attr-defined]
            process.terminate()
        server.shutdown()
        server.server_close()
        text = (folder / "done").read_text() if done else "error the page did not end"
        if text.startswith("error "):
            return [(case, text.removeprefix("error ")) for case in cases]
        (folder / "done").rename(folder / "results.txt")
        return list(zip(cases, read_results(cases, folder), strict=True))


@functools.cache
def _web() -> Path:
    """Download onnxruntime-web once for this process."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder)
    with web.runtime(None) as dist:
        shutil.copytree(dist.parent, Path(folder, "package"))
    return Path(folder, "package", "dist")


if __name__ == "__main__":
    sys.exit(main())
