// Runs the cases of cases.txt in model.onnx with onnxruntime-node, and writes the results. Argument: where that is.

import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { runCases } from "./run_cases.mjs";

const ort = createRequire(import.meta.url)(process.argv[2]);
const buffer = (name) => new Uint8Array(readFileSync(name)).buffer;
const { lines, bytes } = await runCases(ort, buffer("model.onnx"), readFileSync("cases.txt", "ascii"), buffer("cases.bin"));
writeFileSync("results.txt", `${lines.join("\n")}\n`);
writeFileSync("results.bin", bytes);
