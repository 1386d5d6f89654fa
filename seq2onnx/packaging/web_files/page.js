// The page: files, typed values and the microphone in, answers over time out.

import { Stream } from "./seq2onnx.js";

const at = (id) => document.getElementById(id);
// The outputs with the highest peaks have these colors and are in the legend. The others are thin lines.
const colors = ["#1769aa", "#d1495b", "#2e8b57", "#b8860b", "#7b4fa3", "#008b8b", "#a0522d", "#5f6b7a", "#e07b00", "#556b2f"];
const MOST_TYPED = 100; // numbers of a step that somebody types
const LONGEST = 100_000; // results that the page keeps
const SHOWN_EVENTS = 5; // the last ones

let stream, info;
let rows = []; // the results, each an array of numbers
let results = 0; // since the start, also those that were dropped
let events = []; // what is shown of them, the newest first
let drawing = false;
let running = Promise.resolve();

const count = (n, thing) => `${n.toLocaleString("en")} ${thing}${n === 1 ? "" : "s"}`;
const short = (value) => String(Number(value.toPrecision(4)));

async function start() {
  info = await (await fetch("model.json")).json();
  stream = await Stream.load("model.onnx");
  const step = info.channels ? info.channels.join(", ") : count(info.features, "number");
  at("about").textContent = `A step is: ${step}. ` + (info.labels.length ? `The labels: ${info.labels.join(", ")}.` : `A result is: ${count(info.outputs, "number")}.`);
  at("values").placeholder = Array(Math.min(info.features, 12)).fill("0").join(",");
  at("typed").hidden = info.features > MOST_TYPED;
  at("microphone").hidden = !info.sample_rate || info.features > 1;
  info.names = info.labels.length ? info.labels : Array.from({ length: info.outputs }, (_, k) => `output ${k + 1}`);
  at("drop").hidden = false;
}

/** Run steps, an array of arrays, and show the results. */
async function run(steps) {
  for (const step of steps) {
    const y = await stream.step(Float32Array.from(step));
    for (let i = 0; i < y.length; i += info.outputs) {
      const row = Array.from(y.subarray(i, i + info.outputs)), before = rows.at(-1);
      if (info.answers_events) row.forEach((on, k) => on && !before?.[k] && events.unshift(`${info.names[k]} ${when()}`));
      rows.push(row);
      results++;
    }
    events = events.slice(0, SHOWN_EVENTS);
    if (rows.length > LONGEST) rows = rows.slice(-LONGEST / 2);
    show();
  }
}

/** When the next result is known. */
const when = () => (info.sample_rate ? `at ${((results * info.time_stride + info.delay_steps + 1) / info.sample_rate).toFixed(2)} s` : `in step ${results + 1}`);

function show() {
  if (drawing || !rows.length) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    if (!rows.length) return;
    const last = rows.at(-1), best = last.indexOf(Math.max(...last));
    at("answer").textContent = info.answers_events
      ? events.join(", ") || "no event yet"
      : info.labels.length
      ? `${info.labels[best]} (${last[best].toFixed(3)})`
      : last.slice(0, colors.length).map(short).join(", ") + (last.length > colors.length ? ", …" : "");
    draw();
  });
}

function draw() {
  const canvas = at("chart");
  canvas.hidden = false;
  const scale = devicePixelRatio, width = (canvas.width = canvas.clientWidth * scale), height = (canvas.height = canvas.clientHeight * scale);
  const pen = canvas.getContext("2d");
  pen.font = `${11 * scale}px system-ui, sans-serif`;
  let low = info.labels.length ? 0 : Infinity, high = info.labels.length ? 1 : -Infinity;
  const peaks = Array(info.outputs).fill(-Infinity);
  for (const row of rows) row.forEach((value, k) => { low = Math.min(low, value); peaks[k] = Math.max(peaks[k], value); });
  high = Math.max(high, ...peaks);
  if (high === low) { low -= 1; high += 1; }
  const shown = peaks.map((_, k) => k).sort((a, b) => peaks[b] - peaks[a]).slice(0, colors.length).sort((a, b) => a - b);
  const edge = Math.max(...[low, high].map((value) => pen.measureText(short(value)).width)) + 8 * scale;
  const x = (i) => edge + (rows.length > 1 ? i / (rows.length - 1) : 0) * (width - edge - 4 * scale);
  const y = (value) => 6 * scale + (high - value) / (high - low) * (height - 24 * scale);
  pen.fillStyle = getComputedStyle(document.body).color;
  pen.fillText(short(high), 2 * scale, y(high) + 8 * scale);
  pen.fillText(short(low), 2 * scale, y(low));
  pen.fillText("1", edge, height - 4 * scale);
  const end = `result ${rows.length}`;
  pen.fillText(end, width - pen.measureText(end).width - 4 * scale, height - 4 * scale);
  const stride = Math.max(1, Math.floor(rows.length / (2 * width))); // no more points than pixels
  const line = (k, color, thickness) => {
    pen.strokeStyle = color;
    pen.lineWidth = thickness * scale;
    pen.beginPath();
    for (let i = 0; i < rows.length; i += stride) pen.lineTo(x(i), y(rows[i][k]));
    if (rows.length === 1) pen.lineTo(x(0) + 3 * scale, y(rows[0][k]));
    pen.stroke();
  };
  info.names.forEach((_, k) => shown.includes(k) || line(k, "#8888", 0.5));
  shown.forEach((k, i) => line(k, colors[i], 1.5));
  at("legend").replaceChildren(...(info.outputs > 1 ? shown : []).map((k, i) => {
    const entry = document.createElement("li"), sign = document.createElement("span");
    sign.style.background = colors[i];
    entry.append(sign, info.names[k]);
    return entry;
  }));
}

/** Read the lines of a CSV text as steps; a first line without a number is a header, read by the names of the channels. */
function parse(text) {
  const lines = text.replace(/^\ufeff/, "").split(/\r?\n/).map((line, i) => [i + 1, line]).filter(([, line]) => line.trim());
  let places = Array.from({ length: info.features }, (_, i) => i), width = info.features;
  const cells = (line) => line.split(",").map((cell) => cell.trim().replace(/^"(.*)"$/, "$1"));
  const number = (cell) => (cell === "" ? NaN : Number(cell));
  const isMissing = (cell) => info.missing && (cell === "" || /^[+-]?(nan|inf|infinity)$/i.test(cell));
  if (lines.length && cells(lines[0][1]).every((cell) => !isMissing(cell) && Number.isNaN(number(cell)))) {
    const header = cells(lines.shift()[1]);
    width = header.length;
    if (info.channels) places = info.channels.map((name) => header.indexOf(name));
    if (places.includes(-1)) throw new Error(`the header has no column ${info.channels[places.indexOf(-1)]}`);
  }
  return lines.map(([n, line]) => {
    const values = cells(line).map(number);
    if (values.length !== width) throw new Error(`line ${n}: expected ${width} numbers, got ${values.length}`);
    const step = places.map((place) => values[place]);
    const isValid = (place) => Number.isFinite(values[place]) || isMissing(cells(line)[place]);
    if (!places.every(isValid)) throw new Error(`line ${n}: expected finite numbers, got ${line.slice(0, 80)}`);
    return step;
  });
}

/** Do one thing after another, and show what went wrong. */
function then(work) {
  running = running.then(async () => {
    at("error").textContent = "";
    try {
      await work();
    } catch (error) {
      at("error").textContent = error.message;
    }
  });
}

function restart() {
  stream.reset();
  rows = [];
  results = 0;
  events = [];
  at("answer").textContent = "";
  at("chart").hidden = true;
  at("legend").replaceChildren();
}

async function runText(text) {
  const steps = parse(text);
  restart();
  await run(steps);
}

async function listen() {
  if (!navigator.mediaDevices) throw new Error("a browser gives the microphone to pages from https:// or localhost only");
  const sound = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false } });
  const context = new AudioContext({ sampleRate: info.sample_rate });
  await context.audioWorklet.addModule("microphone.js");
  const node = new AudioWorkletNode(context, "microphone");
  context.createMediaStreamSource(sound).connect(node);
  restart();
  const waiting = []; // samples
  node.port.onmessage = ({ data }) => then(async () => {
    waiting.push(...data);
    const ready = waiting.splice(0, waiting.length - (waiting.length % stream.stride));
    if (ready.length) await run([ready]);
  });
  const button = at("microphone");
  button.textContent = "Stop listening";
  button.onclick = () => {
    node.port.onmessage = null;
    sound.getTracks().forEach((track) => track.stop());
    context.close();
    button.textContent = "Listen to the microphone";
    button.onclick = () => then(listen);
  };
}

at("reset").onclick = () => then(restart);
at("sample").onclick = () => then(async () => runText(await (await fetch("sample_input.csv")).text()));
at("microphone").onclick = () => then(listen);
at("typed").onsubmit = (event) => {
  event.preventDefault();
  then(async () => {
    const steps = parse(at("values").value);
    if (!steps.length) throw new Error(`expected ${info.features} numbers with commas between`);
    await run(steps);
  });
};
at("file").onchange = ({ target }) => then(async () => target.files.length && runText(await target.files[0].text()));
const drop = at("drop");
addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
addEventListener("dragleave", () => drop.classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  const [file] = event.dataTransfer.files;
  if (file) then(async () => runText(await file.text()));
});
addEventListener("resize", show);
start().catch((error) => { at("about").textContent = ""; at("error").textContent = error.message; });
