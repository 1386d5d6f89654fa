"""Target "web": a static folder with a page that runs the file in a browser, without requests to other sites."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seq2onnx.errors import MissingExtra, SpecError
from seq2onnx.packaging.source import Source
from seq2onnx.texts import fill, html, json_text, markdown

PACKAGE = "onnxruntime-web@^1.24"
_FILES = Path(__file__).with_name("web_files")
RUNTIME = {"ort.wasm.bundle.min.mjs": "ort.js", "ort-wasm-simd-threaded.wasm": "ort-wasm-simd-threaded.wasm"}
NPM_SECONDS = 300


def write_web(source: Source, folder: Path) -> str:
    """Write the page, seq2onnx.js, model.onnx, onnxruntime-web, and a sample with its result; return README.md.

    Raises:
        SpecError: the file has several inputs or outputs, results that are no vectors, words, lookahead or no states;
            or the runtime folder lacks a file.
        MissingExtra: npm is not there, or cannot download onnxruntime-web.
    """
    model = source.model
    source.check_runs_in("the page")
    source.check_streams()
    for file in _FILES.iterdir():
        shutil.copyfile(file, folder / file.name)
    page = folder / "index.html"
    page.write_text(fill(page.read_text(encoding="utf-8"), {"TITLE": html(source.title)}), encoding="utf-8")
    about = {
        "title": source.title,
        "features": source.features,
        "outputs": source.outputs,
        "channels": model.inputs[0].channels,
        "labels": source.labels,
        "sample_rate": model.contract.sample_rate,
        "time_stride": model.contract.time_stride,
        "delay_steps": model.contract.delay_steps,
        "answers_events": model.contract.answer == "events",
        "missing": model.contract.missing,
    }
    (folder / "model.json").write_text(json_text(about) + "\n", encoding="utf-8")
    shutil.copyfile(source.path, folder / "model.onnx")
    source.write_sample(folder)
    with runtime(source.runtime_folder) as files:
        for name, new_name in RUNTIME.items():
            shutil.copyfile(files / name, folder / new_name)
        version = json.loads((files.parent / "package.json").read_text(encoding="utf-8"))["version"]
    return _readme(source, version)


@contextmanager
def runtime(folder: Path | None) -> Iterator[Path]:
    """Give the folder dist of onnxruntime-web: from a folder that the caller has, or from npm."""
    if folder is not None:
        dist = folder / "dist" if (folder / "dist").is_dir() else folder
        lacking = [name for name in RUNTIME if not (dist / name).is_file()]
        if lacking or not (dist.parent / "package.json").is_file():
            raise SpecError(
                f"{folder}: expected the unpacked npm package onnxruntime-web, with dist/{next(iter(RUNTIME))}; "
                f"`npm pack {PACKAGE}` downloads it"
            )
        yield dist
        return
    with tempfile.TemporaryDirectory() as name:
        command = ["npm", "pack", "--silent", "--pack-destination", name, PACKAGE]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=NPM_SECONDS, cwd=name)
        except (OSError, subprocess.SubprocessError) as error:
            reason = getattr(error, "stderr", None) or error
            raise MissingExtra(
                f"onnxruntime-web: `npm pack {PACKAGE}` failed ({str(reason).strip():.300}); run it where npm has a "
                "connection, unpack the file, and give its folder as runtime_folder (--runtime-folder)"
            ) from None
        (archive,) = Path(name).glob("*.tgz")
        with tarfile.open(archive) as packed:
            packed.extractall(name, filter="data")
        yield Path(name, "package", "dist")


def _readme(source: Source, version: str) -> str:
    text = f"""\
# {markdown(source.title)} in a browser

```sh
python3 -m http.server
```

Then open http://localhost:8000. The page runs steps from a CSV file, typed values and the sample, and shows the results
over time. Any static server will do: no request leaves it, and nothing is sent to it.

| file | content |
|---|---|
| `index.html`, `page.js`, `page.css`, `microphone.js`, `icon.svg`, `model.json` | the page |
| `seq2onnx.js` | `Stream.load`, `step`, `reset` and `state`, for pages of your own |
| `model.onnx` | the model |
| `ort.js`, `ort-wasm-simd-threaded.wasm` | onnxruntime-web {markdown(version)}, © Microsoft Corporation, MIT licence |
| `sample_input.csv`, `expected_output.csv` | a sample, and what the model answers |

```js
import {{ Stream }} from "./seq2onnx.js";

const stream = await Stream.load("model.onnx");
const result = await stream.step(new Float32Array({source.features})); // {source.outputs} numbers
```

A step has {source.features} numbers, a result {source.outputs}.
"""
    return text + source.labels_text()
