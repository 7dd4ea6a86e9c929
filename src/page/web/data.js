// ---- what is inside the file, and who answers ----------------------------------------------------------------------

const $ = (id) => document.getElementById(id);

/** Base64 -> bytes. */
function bytesOf(id) {
  const text = atob($(id).textContent.trim());
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = text.charCodeAt(i);
  $(id).textContent = ''; // frees the memory
  return bytes;
}

async function gunzip(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Undoes the order of the bytes in the file: all first bytes, all second bytes, ... */
function together(bytes, width) {
  const n = bytes.length / width, out = new Uint8Array(bytes.length);
  for (let b = 0; b < width; b++) for (let i = 0; i < n; i++) out[i * width + b] = bytes[b * n + i];
  return out;
}

/** The JSON and the numbers of a packed part of the file. */
async function unpack(id) {
  const bytes = await gunzip(bytesOf(id));
  const length = new DataView(bytes.buffer).getUint32(0, true);
  const json = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  return { json, numbers: new Float32Array(together(bytes.subarray(4 + length), 4).buffer) };
}

/** One step: what it says of itself, and its arrays by name. */
class Step {
  constructor(about, numbers, from = 0) {
    Object.assign(this, about);
    this.stored = new Map();
    for (const { name, shape } of about.arrays) {
      const length = shape.reduce((a, b) => a * b, 1);
      this.stored.set(name, { shape, values: numbers.subarray(from, from + length) });
      from += length;
    }
    this.end_of_numbers = from;
  }
  get(name) { return this.stored.get(name); }
}

/** The engine: the crate as WebAssembly, in a worker, so that the page stays responsive. One request at a time. */
class Engine {
  constructor(worker) {
    this.worker = worker;
    this.waiting = [];
    worker.onmessage = ({ data }) => {
      const { resolve, reject } = this.waiting.shift();
      data.json && data.json.error ? reject(new Error(data.json.error)) : resolve(data);
    };
    worker.onerror = (event) => { event.preventDefault(); this.waiting.splice(0).forEach(({ reject }) => reject(new Error(event.message))); };
  }
  static async start(wasm) {
    const url = URL.createObjectURL(new Blob([`(${worker})()`], { type: 'text/javascript' }));
    const engine = new Engine(new Worker(url));
    URL.revokeObjectURL(url);
    await engine.ask({ op: 'start', wasm });
    return engine;
  }
  ask(request, numbers) {
    return new Promise((resolve, reject) => {
      this.waiting.push({ resolve, reject });
      this.worker.postMessage({ request, numbers });
    });
  }
  stop() { this.worker.terminate(); this.waiting.splice(0).forEach(({ reject }) => reject(new Error('stopped'))); }
}

/** What runs in the worker. It is turned into text, so it uses nothing from outside. */
function worker() {
  let wasm;
  const encoder = new TextEncoder(), decoder = new TextDecoder();
  const put = (bytes) => {
    const at = wasm.take(bytes.length) >>> 0;
    new Uint8Array(wasm.memory.buffer).set(bytes, at);
    return at;
  };
  const call = (request, numbers) => {
    const text = encoder.encode(JSON.stringify(request)), raw = new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength);
    const at = wasm.answer(put(text), text.length, put(raw), raw.length) >>> 0;
    const view = new DataView(wasm.memory.buffer), length = view.getUint32(at, true), count = view.getUint32(at + 4, true);
    const json = JSON.parse(decoder.decode(new Uint8Array(wasm.memory.buffer, at + 8, length)));
    const answer = new Float32Array(wasm.memory.buffer.slice(at + 8 + Math.ceil(length / 4) * 4, at + 8 + Math.ceil(length / 4) * 4 + 4 * count));
    wasm.give_back();
    return { json, numbers: answer };
  };
  const handle = async ({ request, numbers }) => {
    if (request.op === 'start') {
      wasm = (await WebAssembly.instantiate(request.wasm, {})).instance.exports;
      return { json: null };
    }
    if (request.op === 'file') { // a piece of a file of the model
      const { name, bytes, size } = request, text = encoder.encode(name);
      const at = wasm.file(put(text), text.length, size) >>> 0;
      if (!at) return { json: { error: `${name} does not fit into memory` } };
      let done = 0;
      const pieces = bytes instanceof Blob ? bytes : new Blob([bytes]);
      while (done < size) {
        const piece = new Uint8Array(await pieces.slice(done, done + (8 << 20)).arrayBuffer());
        new Uint8Array(wasm.memory.buffer).set(piece, at + done);
        done += piece.length;
        if (!piece.length) return { json: { error: `${name} ends early` } };
      }
      return { json: null };
    }
    return call(request, numbers || new Float32Array());
  };
  let queue = Promise.resolve();
  onmessage = ({ data }) => {
    queue = queue.then(() => handle(data)).catch((error) => ({ json: { error: String(error.message || error) } }))
      .then((answer) => postMessage(answer, answer.numbers ? [answer.numbers.buffer] : []));
  };
}
