// Runs the cases of cases.txt in model.onnx, and writes the results. Argument: where onnxruntime-node is.

const fs = require("fs");
const ort = require(process.argv[2]);

const arrays = { float32: Float32Array, int32: Int32Array, int64: BigInt64Array };
const content = fs.readFileSync("cases.bin");
const parts = [], lines = [];
let size = 0;

function read([name, type, offset, ...dims]) {
  const shape = dims.map(Number), count = shape.reduce((a, b) => a * b, 1), width = arrays[type].BYTES_PER_ELEMENT;
  const bytes = content.buffer.slice(content.byteOffset + Number(offset), content.byteOffset + Number(offset) + count * width);
  return [name, new ort.Tensor(type, new arrays[type](bytes), shape)];
}

function write(name, tensor) {
  lines.push(["out", name, tensor.type, size, ...tensor.dims].join(" "));
  const bytes = Buffer.from(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength);
  parts.push(Buffer.from(bytes));
  size += bytes.length;
}

function cases() {
  const found = [];
  for (const line of fs.readFileSync("cases.txt", "ascii").trim().split("\n")) {
    const [word, ...rest] = line.split(" ");
    const last = found.at(-1);
    if (word === "case") found.push({ states: {}, runs: [] });
    if (word === "state") last.states[rest[0]] = read(rest)[1];
    if (word === "run") last.runs.push({ inputs: {}, names: [] });
    if (word === "in") last.runs.at(-1).inputs[rest[0]] = read(rest)[1];
    if (word === "out") last.runs.at(-1).names.push(rest[0]);
  }
  return found;
}

(async () => {
  const session = await ort.InferenceSession.create("model.onnx", { intraOpNumThreads: 1 });
  for (let { states, runs } of cases()) {
    lines.push("case");
    try {
      for (const { inputs, names } of runs) {
        const results = await session.run({ ...inputs, ...states }, names);
        lines.push("run");
        for (const name of names) write(name, results[name]);
        states = Object.fromEntries(Object.keys(states).map((name) => [name, results[`new_${name}`]]));
      }
    } catch (error) {
      lines.push(`error ${error.message.replace(/\s+/g, " ")}`);
    }
  }
  fs.writeFileSync("results.txt", `${lines.join("\n")}\n`);
  fs.writeFileSync("results.bin", Buffer.concat(parts));
})().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
