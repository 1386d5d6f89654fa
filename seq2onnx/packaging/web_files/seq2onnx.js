// Runs an ONNX file that seq2onnx wrote, step by step, in a browser.
//
//     import { Stream } from "./seq2onnx.js";
//     const stream = await Stream.load("model.onnx");
//     const scores = await stream.step(new Float32Array([0.1, 0.2]));
//
// It uses ort.js and ort-wasm-simd-threaded.wasm in the same folder, and nothing from elsewhere.

import * as ort from "./ort.js";

ort.env.wasm.numThreads = 1; // threads need headers that a static server does not send
ort.env.wasm.wasmPaths = { wasm: new URL("./ort-wasm-simd-threaded.wasm", import.meta.url).href };

const arrays = { float32: Float32Array, int32: Int32Array, int64: BigInt64Array };

/** One sequence that arrives step by step, with its state. */
export class Stream {
  #session;
  #states = {}; // by the name of their input
  #last = Promise.resolve();

  /**
   * Open a file.
   * @param {string | URL | Uint8Array} source its address or its bytes
   * @returns {Promise<Stream>}
   */
  static async load(source) {
    const bytes = source instanceof Uint8Array ? source : await fetchBytes(source);
    // The metadata is plain text in the file; onnxruntime-web does not give it.
    const mayLackValues = new TextDecoder("latin1").decode(bytes).includes('"missing": true');
    return new Stream(await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] }), mayLackValues);
  }

  constructor(session, mayLackValues = false) {
    this.#session = session;
    /** Whether NaN in a step is a missing value. */
    this.mayLackValues = mayLackValues;
    const inputs = Object.fromEntries(session.inputMetadata.map((input) => [input.name, input]));
    if (!inputs.x || !session.outputNames.includes("y")) throw new Error("expected one input x and one output y");
    /** How many numbers a step has. */
    this.features = inputs.x.shape.slice(2).reduce((a, b) => a * b, 1);
    this.x = inputs.x;
    /** A chunk has a multiple of this number of steps. */
    this.stride = typeof inputs.x.shape[1] === "number" ? inputs.x.shape[1] : 1;
    this.reset();
  }

  /** Forget all steps. */
  reset() {
    for (const { name, type, shape } of this.#session.inputMetadata) {
      if (name.startsWith("state_")) this.#states[name] = zeros(type, [1, ...shape.slice(1)]);
    }
  }

  /** The state: typed arrays by name, which are copies. Another stream of the same file may take it over. */
  get state() {
    return Object.fromEntries(Object.entries(this.#states).map(([name, tensor]) => [name, tensor.data.slice()]));
  }

  set state(state) {
    for (const [name, tensor] of Object.entries(this.#states)) {
      const values = state[name];
      if (values?.constructor !== tensor.data.constructor || values.length !== tensor.data.length) {
        throw new Error(`state: expected ${name} as ${tensor.data.constructor.name} of ${tensor.data.length}`);
      }
      this.#states[name] = new ort.Tensor(tensor.type, values.slice(), tensor.dims);
    }
  }

  /**
   * Run one step, or a chunk of steps one after another. Calls run in their order.
   * @param {Float32Array} values [features], or [steps · features]
   * @returns {Promise<Float32Array>} the results of the steps that have one, [results · outputs]; of a network that
   *     answers for the sequence, the answer so far. If the promise is rejected, the state is as it was.
   */
  step(values) {
    const result = this.#last.then(() => this.#run(values));
    this.#last = result.catch(() => {});
    return result;
  }

  async #run(values) {
    const steps = values.length / this.features;
    if (!Number.isInteger(steps)) throw new RangeError(`x: expected ${this.features} numbers for each step, got ${values.length}`);
    if (!this.mayLackValues && !values.every(Number.isFinite)) throw new RangeError("x: contains NaN or infinity");
    if (steps === 0) return new Float32Array();
    if (steps % this.stride) throw new RangeError(`x: expected a multiple of ${this.stride} steps, got ${steps}`);
    const fixed = typeof this.x.shape[1] === "number" ? this.stride : steps;
    let states = this.#states, found = new Float32Array();
    for (let first = 0; first < steps; first += fixed) {
      const part = values.slice(first * this.features, (first + fixed) * this.features);
      const data = this.x.type === "int64" ? BigInt64Array.from(part, (value) => BigInt(value)) : part;
      const feeds = { ...states, x: new ort.Tensor(this.x.type, data, [1, fixed, ...this.x.shape.slice(2)]) };
      if (this.#session.inputNames.includes("lengths")) feeds.lengths = new ort.Tensor("int32", [fixed], [1]);
      const results = await this.#session.run(feeds);
      states = Object.fromEntries(Object.keys(states).map((name) => [name, results[`new_${name}`]]));
      found = results.y.dims.length < 3 ? results.y.data : joined(found, valid(results));
    }
    for (const tensor of Object.values(states)) {
      if (tensor.type === "float32" && !tensor.data.every(Number.isFinite)) throw new RangeError("x: makes the state infinite");
    }
    this.#states = states;
    return found;
  }
}

function zeros(type, shape) {
  return new ort.Tensor(type, new arrays[type](shape.reduce((a, b) => a * b, 1)), shape);
}

/** The values of the steps that have a result. */
function valid(results) {
  if (!results.y_lengths) return results.y.data;
  const size = results.y.dims.slice(2).reduce((a, b) => a * b, 1);
  return results.y.data.slice(0, results.y_lengths.data[0] * size);
}

function joined(first, second) {
  const all = new Float32Array(first.length + second.length);
  all.set(first);
  all.set(second, first.length);
  return all;
}

async function fetchBytes(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status} ${response.statusText}`);
  return new Uint8Array(await response.arrayBuffer());
}
