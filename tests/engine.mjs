// Runs the engine of the page in Node: answers one request per line of standard input, with the model of a folder.
//
//     node tests/engine.mjs data/engine.wasm.gz data/tales-8m < requests
//
// Each answer is a line {"json": ..., "numbers": sha256 of their bytes}. `draw` takes the logits of the last step.
import { createHash } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { gunzipSync } from 'node:zlib';

const [engine, folder] = process.argv.slice(2);
const { instance } = await WebAssembly.instantiate(gunzipSync(readFileSync(engine)), {});
const wasm = instance.exports;
const bytes = (at, length) => new Uint8Array(wasm.memory.buffer, at, length);
const put = (data) => {
  const at = wasm.take(data.length) >>> 0;
  bytes(at, data.length).set(data);
  return at;
};
function answer(request, numbers = new Uint8Array()) {
  const text = new TextEncoder().encode(request);
  const at = wasm.answer(put(text), text.length, put(numbers), numbers.length) >>> 0;
  const view = new DataView(wasm.memory.buffer);
  const [length, count] = [view.getUint32(at, true), view.getUint32(at + 4, true)];
  const json = new TextDecoder().decode(bytes(at + 8, length)).trim(); // as it is: 1.0 stays 1.0
  const own = bytes(at + 8 + Math.ceil(length / 4) * 4, 4 * count).slice();
  wasm.give_back();
  return { json, numbers: own };
}

for (const name of readdirSync(folder).filter((name) => /\.(json|txt|safetensors)$/.test(name))) {
  const [file, text] = [readFileSync(`${folder}/${name}`), new TextEncoder().encode(name)];
  const at = wasm.file(put(text), text.length, file.length) >>> 0;
  bytes(at, file.length).set(file);
}
const opened = answer('{"op": "open", "name": "tales-8m"}').json;
if (opened !== 'null') throw new Error(opened);

let logits = new Uint8Array();
let [steps, begun] = [0, performance.now()];
for await (const request of createInterface({ input: process.stdin })) {
  const { op } = JSON.parse(request);
  const { json, numbers } = answer(request, op === 'draw' ? logits : undefined);
  const { arrays, end } = JSON.parse(json) ?? {};
  if (op === 'begin') [steps, begun] = [0, performance.now()];
  if (arrays) {
    logits = numbers.slice(-4 * arrays.at(-1).shape.at(-1));
    steps++;
  }
  console.log(`{"json": ${json}, "numbers": "${createHash('sha256').update(numbers).digest('hex')}"}`);
  if (end) console.error(`${(steps / ((performance.now() - begun) / 1000)).toFixed(1)} steps a second`);
}
