// Runs cases with an onnxruntime for JavaScript: onnxruntime-node or onnxruntime-web.

const arrays = { float32: Float32Array, int32: Int32Array, int64: BigInt64Array };

/**
 * @param ort the module of onnxruntime
 * @param {ArrayBuffer} model the file
 * @param {string} text the content of cases.txt
 * @param {ArrayBuffer} content that of cases.bin
 * @returns {Promise<{lines: string[], bytes: Uint8Array}>} the lines of results.txt, and the content of results.bin
 */
export async function runCases(ort, model, text, content) {
  const session = await ort.InferenceSession.create(new Uint8Array(model), { intraOpNumThreads: 1 });
  const lines = [], parts = [];
  let size = 0;
  for (let { states, runs } of read(ort, text, content)) {
    lines.push("case");
    try {
      for (const { inputs, names } of runs) {
        const results = await session.run({ ...inputs, ...states }, names);
        lines.push("run");
        for (const name of names) {
          const { type, data, dims } = results[name];
          lines.push(["out", name, type, size, ...dims].join(" "));
          parts.push(new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice());
          size += data.byteLength;
        }
        states = Object.fromEntries(Object.keys(states).map((name) => [name, results[`new_${name}`]]));
      }
    } catch (error) {
      lines.push(`error ${error.message.replace(/\s+/g, " ")}`);
    }
  }
  const bytes = new Uint8Array(size);
  parts.reduce((offset, part) => (bytes.set(part, offset), offset + part.length), 0);
  return { lines, bytes };
}

/** The cases of the two files. */
function read(ort, text, content) {
  const tensor = (type, offset, ...dims) => {
    const shape = dims.map(Number), count = shape.reduce((a, b) => a * b, 1);
    const bytes = content.slice(Number(offset), Number(offset) + count * arrays[type].BYTES_PER_ELEMENT);
    return new ort.Tensor(type, new arrays[type](bytes), shape);
  };
  const cases = [];
  for (const line of text.trim().split("\n")) {
    const [word, name, ...rest] = line.split(" ");
    const last = cases.at(-1);
    if (word === "case") cases.push({ states: {}, runs: [] });
    if (word === "state") last.states[name] = tensor(...rest);
    if (word === "run") last.runs.push({ inputs: {}, names: [] });
    if (word === "in") last.runs.at(-1).inputs[name] = tensor(...rest);
    if (word === "out") last.runs.at(-1).names.push(name);
  }
  return cases;
}
