"""The package for browsers, in headless Chromium."""

from __future__ import annotations

import functools
import http.server
import json
import re
import shutil
import subprocess
import threading
import wave
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import seq2onnx as s2o
from seq2onnx.packaging import web
from tests.clock import HANG
from tests.conftest import CLASSES, built, random_data, small_network
from tests.small_networks import exported, gappy, strided

MODELS = Path(__file__).resolve().parents[1] / "models"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason="needs chromium; tools/ci_setup.sh installs it"),
    pytest.mark.skipif(shutil.which("npm") is None, reason="needs npm; tools/ci_setup.sh installs it"),
]


@pytest.fixture(scope="module")
def runtime(tmp_path_factory):
    """The unpacked package onnxruntime-web."""
    with web.runtime(None) as dist:
        folder = tmp_path_factory.mktemp("runtime")
        (folder / "dist").mkdir()
        for name in web.RUNTIME:
            shutil.copy(dist / name, folder / "dist")
        shutil.copy(dist.parent / "package.json", folder)
    return folder


class Handler(http.server.SimpleHTTPRequestHandler):
    def send_response(self, code, message=None):
        self.server.answered[self.path] = code
        super().send_response(code, message)

    def do_POST(self):
        self.server.found = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()
        self.server.done.set()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def browse(tmp_path):
    """Open a page of a folder with a script of our own; return what the script posts."""
    servers = []

    def show(folder, script, page="<!DOCTYPE html><head></head>", options=()):
        (folder / "driver.js").write_text(script)
        own = '<script type="module" src="driver.js"></script></head>'
        (folder / "driven.html").write_text(page.replace("</head>", own))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
        server.answered, server.done = {}, threading.Event()
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
        command += [f"--user-data-dir={tmp_path / 'profile'}", *options]
        command += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--remote-debugging-port=0"]
        address = f"http://127.0.0.1:{server.server_address[1]}/driven.html"
        with (tmp_path / "console").open("w+") as log:
            with subprocess.Popen([*command, address], stdout=log, stderr=log) as browser:
                done = server.done.wait(HANG)
                browser.terminate()
            log.seek(0)
            console = [line for line in log if "CONSOLE" in line]
        assert console == []
        assert done
        assert {path for path, code in server.answered.items() if code != 200} <= {"/favicon.ico"}
        return server.found

    yield show
    for server in servers:
        server.shutdown()
        server.server_close()


MODULE = """
import { Stream } from "./seq2onnx.js";
const stream = await Stream.load("model.onnx"), found = {};
const x = %s;
const size = stream.features;
found.steps = [];
const steps = (first, last) => Float32Array.from(x.slice(first * size, last * size));
for (let i = 0; i < x.length / size; i++) found.steps.push(...await stream.step(steps(i, i + 1)));
const state = stream.state;
stream.reset();
found.chunk = Array.from(await stream.step(Float32Array.from(x)));
stream.state = state;
const one = stream.step(steps(0, 1)), two = stream.step(steps(1, 2)); // neither waits for the other
found.further = [...await one, ...await two];
found.refused = [];
for (const bad of [[1], Array(size).fill(NaN)]) {
  await stream.step(Float32Array.from(bad)).catch((error) => found.refused.push(error.message));
}
found.after = Array.from(await stream.step(steps(2, 3)));
await fetch("found", { method: "POST", body: JSON.stringify(found) });
"""


@pytest.mark.parametrize("kind", ["per step", "strided"])
def test_the_module_streams_in_the_browser(kind, tmp_path, runtime, browse):
    if kind == "per step":
        s2o.export(built(small_network("sequence"), random_data(per_step=True)), tmp_path / "model.onnx")
        model = s2o.load(tmp_path / "model.onnx")
    else:
        model, _ = exported(tmp_path, strided())
    s2o.package(tmp_path / "model.onnx", "web", tmp_path / "package", runtime_folder=runtime)
    x = np.random.default_rng(0).normal(size=(9, model.model.inputs[0].shape[0])).astype(np.float32)
    found = browse(tmp_path / "package", MODULE % np.ravel(x).tolist())
    stream = model.stream()
    whole = np.ravel(stream.step(x))
    assert found["steps"] == pytest.approx(whole, abs=1e-5)
    assert found["chunk"] == pytest.approx(whole, abs=1e-5)
    assert found["further"] == pytest.approx(np.ravel(stream.step(x[:2])), abs=1e-5)
    assert re.match(r"x: expected \d numbers for each step, got 1", found["refused"][0])
    assert found["refused"][1] == "x: contains NaN or infinity"
    assert found["after"] == pytest.approx(np.ravel(stream.step(x[2:3])), abs=1e-5)


PAGE = """
const at = (id) => document.getElementById(id);
const wait = async (ready) => {
  for (let i = 0; i < 1200 && !ready(); i++) await new Promise((resolve) => setTimeout(resolve, 25));
};
await wait(() => !at("drop").hidden);
const shown = { about: at("about").textContent };
at("sample").click();
await wait(() => at("answer").textContent);
await new Promise((r) => setTimeout(r, 500));
shown.sample = at("answer").textContent;
shown.chart = !at("chart").hidden;
at("reset").click();
await wait(() => !at("answer").textContent);
at("values").value = "1, 2, 3, 4";
at("typed").requestSubmit();
await wait(() => at("answer").textContent);
shown.typed = at("answer").textContent;
at("values").value = "1, 2";
at("typed").requestSubmit();
await wait(() => at("error").textContent);
shown.error = at("error").textContent;
const file = new DataTransfer();
file.items.add(new File(["time,d,b,a,c\\n0,4,2,1,3\\n"], "steps.csv"));
at("answer").textContent = "";
at("drop").dispatchEvent(new DragEvent("drop", { dataTransfer: file, bubbles: true, cancelable: true }));
await wait(() => at("answer").textContent);
shown.dropped = at("answer").textContent;
Object.assign(document.body.style, { width: "368px", margin: 0, padding: "0 16px" }); // as on a telephone
shown.right = Math.max(...[...document.querySelectorAll("body *")].map((e) => e.getBoundingClientRect().right));
await fetch("found", { method: "POST", body: JSON.stringify(shown) });
"""


def test_the_page_runs_the_sample_typed_values_and_a_dropped_file(tmp_path, runtime, browse):
    module = built(small_network(), random_data())
    s2o.export(module, tmp_path / "model.onnx", classes=CLASSES, channels=["a", "b", "c", "d"])
    s2o.package(tmp_path / "model.onnx", "web", tmp_path / "package", runtime_folder=runtime)
    shown = browse(tmp_path / "package", PAGE, (tmp_path / "package" / "index.html").read_text())
    label, *scores = (tmp_path / "package" / "expected_output.csv").read_text().splitlines()[-1].split(",")
    assert shown["about"] == "A step is: a, b, c, d. The labels: left, right, up."
    assert shown["sample"] == f"{label} ({max(map(float, scores)):.3f})"
    assert shown["chart"]
    y = s2o.load(tmp_path / "model.onnx").stream().step(np.float32([1, 2, 3, 4]))
    assert shown["typed"] == f"{CLASSES[y.argmax()]} ({y.max():.3f})"
    assert shown["error"] == "line 1: expected 4 numbers, got 2"
    assert shown["dropped"] == shown["typed"]
    assert shown["right"] <= 400  # nothing sticks out


GAPS = """
import { Stream } from "./seq2onnx.js";
const stream = await Stream.load("model.onnx?again"), found = [...await stream.step(Float32Array.from([NaN, 1, 2]))];
const at = (id) => document.getElementById(id);
const wait = async (ready) => {
  for (let i = 0; i < 1200 && !ready(); i++) await new Promise((resolve) => setTimeout(resolve, 25));
};
await wait(() => !at("drop").hidden);
for (const text of [",1,2", "nan,1,2", ",,", "x,1,2"]) {
  at("answer").textContent = at("error").textContent = "";
  at("values").value = text;
  at("typed").requestSubmit();
  await wait(() => at("answer").textContent || at("error").textContent);
  found.push(at("answer").textContent || at("error").textContent);
}
await fetch("found", { method: "POST", body: JSON.stringify(found) });
"""


def test_the_page_takes_gaps(tmp_path, runtime, browse):
    model, _ = exported(tmp_path, gappy(), classes=["a", "b"])
    s2o.package(tmp_path / "model.onnx", "web", tmp_path / "package", runtime_folder=runtime)
    first, second, *shown = browse(tmp_path / "package", GAPS, (tmp_path / "package" / "index.html").read_text())
    stream = model.stream()
    assert [first, second] == pytest.approx(stream.step(np.float32([np.nan, 1, 2])), abs=1e-5)
    stream.reset()
    typed = [stream.step(np.float32(x)) for x in ([np.nan, 1, 2], [np.nan, 1, 2], [np.nan] * 3)]
    assert shown[-1] == "line 1: expected finite numbers, got x,1,2"
    assert shown[:3] == [f"{'ab'[row.argmax()]} ({row.max():.3f})" for row in typed]


LISTENING = """
const at = (id) => document.getElementById(id);
const wait = async (ready) => {
  for (let i = 0; i < 1200 && !ready(); i++) await new Promise((resolve) => setTimeout(resolve, 25));
};
await wait(() => !at("drop").hidden);
const found = { hidden: at("microphone").hidden, buttons: [] };
at("microphone").click();
await wait(() => Number(at("answer").textContent) > 3.9 || at("error").textContent);
found.answer = at("answer").textContent;
found.error = at("error").textContent;
found.buttons.push(at("microphone").textContent);
at("microphone").click();
found.buttons.push(at("microphone").textContent);
await fetch("found", { method: "POST", body: JSON.stringify(found) });
"""


@pytest.mark.parametrize("form", ["dynamic", "step"])
def test_the_page_listens_to_the_microphone(form, tmp_path, runtime, browse):
    # The answer is four times the mean of ten samples; a chunk of the microphone is no multiple of ten.
    window = s2o.Network([s2o.SequenceInput(1), s2o.AvgPool1d(10, 10, "causal"), s2o.FullyConnected(1)])
    module = s2o.build(window).eval()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.fill_(4.0 if name.endswith("weights") else 0.0)
    s2o.export(module, tmp_path / "model.onnx", form=form)
    model = onnx.load(tmp_path / "model.onnx")
    for entry in model.metadata_props:
        if entry.key == "seq2onnx":
            entry.value = json.dumps(json.loads(entry.value) | {"sample_rate": 8000})
    onnx.save(model, tmp_path / "model.onnx")
    with wave.open(str(tmp_path / "sound.wav"), "wb") as sound:
        sound.setparams((1, 2, 48000, 0, "NONE", ""))
        sound.writeframes(np.full(48000, 32767, np.int16).tobytes())
    s2o.package(tmp_path / "model.onnx", "web", tmp_path / "package", runtime_folder=runtime)
    options = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    options += [f"--use-file-for-fake-audio-capture={tmp_path / 'sound.wav'}"]
    found = browse(tmp_path / "package", LISTENING, (tmp_path / "package" / "index.html").read_text(), options)
    assert not found["hidden"]
    assert found["error"] == ""
    assert float(found["answer"]) == pytest.approx(4, abs=0.1)
    assert found["buttons"] == ["Stop listening", "Listen to the microphone"]


HEARING = """
// Sound at the speed of the machine: every sample arrives, however busy the machine is.
const samples = Float32Array.from(await (await fetch("samples.json")).json());
let arrived = 0;
navigator.mediaDevices.getUserMedia = async () => ({ getTracks: () => [] });
window.AudioContext = class extends OfflineAudioContext {
  constructor({ sampleRate }) {
    super({ length: samples.length, sampleRate });
  }
  createMediaStreamSource() {
    const source = this.createBufferSource();
    source.buffer = this.createBuffer(1, samples.length, this.sampleRate);
    source.buffer.copyToChannel(samples, 0);
    source.start();
    setTimeout(() => this.startRendering());
    return source;
  }
};
window.AudioWorkletNode = class extends AudioWorkletNode {
  constructor(...given) {
    super(...given);
    this.port.addEventListener("message", ({ data }) => (arrived += data.length));
  }
};
const at = (id) => document.getElementById(id);
const wait = async (ready) => {
  while (!ready()) await new Promise((resolve) => setTimeout(resolve, 25));
};
await wait(() => !at("drop").hidden);
at("microphone").click();
await wait(() => arrived === samples.length || at("error").textContent);
const error = at("error").textContent;
at("values").value = "1, 2"; // refused when all before it is done
at("typed").requestSubmit();
await wait(() => at("error").textContent.includes("got 2") && at("answer").textContent);
await new Promise(requestAnimationFrame);
await fetch("found", { method: "POST", body: JSON.stringify({ error, answer: at("answer").textContent }) });
"""


def test_the_page_finds_key_words_with_the_microphone(tmp_path, runtime, browse):
    file, data = MODELS / "keyword" / "model.onnx", s2o.SequenceDataset.load(MODELS / "keyword" / "test_slice.npz")
    x = data.sequences[0]
    x = x[: len(x) - len(x) % 256]  # the page gets pieces of 256 samples
    s2o.package(file, "web", tmp_path / "package", runtime_folder=runtime)
    (tmp_path / "package" / "samples.json").write_text(json.dumps(np.ravel(x).tolist()))
    found = browse(tmp_path / "package", HEARING, (tmp_path / "package" / "index.html").read_text())
    assert found["error"] == ""
    heard = [float(time) for time in re.findall(r"conference at (\d+\.\d\d) s", found["answer"])][::-1]
    expected = (np.flatnonzero(s2o.load(file).predict([x])[0][:, 1]) + 1) * 0.02
    assert len(expected) >= 2
    assert heard == pytest.approx(expected, abs=0.011)


def test_the_runtime_is_looked_for_in_the_folder(tmp_path):
    exported(tmp_path, small_network())
    (tmp_path / "empty").mkdir()
    with pytest.raises(s2o.SpecError, match=r"empty: expected the unpacked npm package .*npm pack onnxruntime-web"):
        s2o.package(tmp_path / "model.onnx", "web", tmp_path / "package", runtime_folder=tmp_path / "empty")
    assert not (tmp_path / "package").exists()


def test_without_npm_the_error_says_how_to_get_the_runtime(tmp_path, monkeypatch):
    exported(tmp_path, small_network())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(s2o.MissingExtra, match=r"npm pack onnxruntime-web.*--runtime-folder"):
        s2o.package(tmp_path / "model.onnx", "web", tmp_path / "package")
    assert not (tmp_path / "package").exists()


def test_a_network_that_cannot_stream_is_refused(tmp_path):
    exported(tmp_path, s2o.Network([s2o.SequenceInput(2), s2o.BiLSTM(3), s2o.FullyConnected(2)]))
    with pytest.raises(s2o.NotStreamable, match="model.onnx: keeps no states"):
        s2o.package(tmp_path / "model.onnx", "web", tmp_path / "package")
