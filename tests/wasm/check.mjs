// Runs the hashes of tests/bits in WebAssembly, and measures how fast it decodes: node check.mjs MODULE
import { readFileSync, readdirSync, statSync } from "node:fs";

const tests = new URL("..", import.meta.url);
const file = readFileSync(process.argv[2]);
const { exports: wasm } = (await WebAssembly.instantiate(file, {})).instance;

const give = (bytes) => {
    const start = wasm.alloc(bytes.length);
    new Uint8Array(wasm.memory.buffer, start, bytes.length).set(bytes);
    return [start, bytes.length];
};

const models = new URL("fixtures/models/", tests);
for (const folder of readdirSync(models)) {
    if (!statSync(new URL(folder, models)).isDirectory()) continue;
    for (const name of readdirSync(new URL(folder, models))) {
        const bytes = readFileSync(new URL(`${folder}/${name}`, models));
        wasm.file(...give(Buffer.from(`${folder}/${name}`)), ...give(bytes));
    }
}

const start = wasm.hashes();
const length = new DataView(wasm.memory.buffer).getUint32(start, true);
const lines = Buffer.from(wasm.memory.buffer, start + 4, length).toString().trim().split("\n");
const snapshot = readFileSync(new URL("bits/snapshots/bits__golden__golden.snap", tests), "utf8");
const expected = snapshot.slice(snapshot.indexOf("\n---\n") + 5).trim().split("\n");

const differ = expected.filter((line, i) => line !== lines[i]);
if (lines.length !== expected.length || differ.length > 0) {
    console.error(`${differ.length} of ${expected.length} lines differ, ${lines.length} were computed:`);
    console.error(differ.slice(0, 20).join("\n"));
    process.exit(1);
}
console.log(`all ${lines.length} lines are those of x86-64`);

for (const [model, name, tokens] of [[0, "tales-8m, bf16", 100], [1, "124M, bf16", 10], [2, "124M, int8", 20]]) {
    wasm.decode(model, 2);
    const begin = performance.now();
    wasm.decode(model, tokens);
    console.log(`${name}: ${((tokens * 1000) / (performance.now() - begin)).toFixed(1)} tokens/s`);
}
