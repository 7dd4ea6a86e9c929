// ---- the model inside the page -------------------------------------------------------------------------------------

/** Gives the files of a model to the engine and opens it. */
async function openModel(name, files) {
  for (const { name, bytes, size } of files) await ask({ op: 'file', name, bytes, size });
  await ask({ op: 'open', name });
}

async function startLive(wasm) {
  $('live').hidden = false;
  const begun = performance.now();
  const packed = await gunzip(bytesOf('model')), length = new DataView(packed.buffer).getUint32(0, true);
  const list = JSON.parse(new TextDecoder().decode(packed.subarray(4, 4 + length)));
  let from = 4 + length;
  const files = list.map(({ name, size, width }) => {
    const bytes = together(packed.subarray(from, from + size), width);
    from += size;
    return { name, bytes, size };
  });
  await openModel(app.name, files);
  await opened(wasm, begun);
  $('prompt').value = app.prompt;
  $('count').value = app.options.max_new_tokens;
  $('seed').value = app.options.seed ?? 0;
  await write(app.prompt_ids);
  $('ask').onsubmit = (event) => { event.preventDefault(); again(); };
  $('stop').onclick = () => { writing++; };
  $('folder').onchange = (event) => drop([...event.target.files], wasm).catch(failed);
  for (const kind of ['dragover', 'dragleave', 'drop']) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      document.body.classList.toggle('drop', kind === 'dragover');
      if (kind === 'drop') filesOf(event.dataTransfer).then((files) => drop(files, wasm)).catch(failed);
    });
  }
}

/** The model is open: what it is, and whether its numbers are the native program's. */
async function opened(wasm, begun) {
  app.about = (await ask({ op: 'about' })).json;
  const { hash } = (await ask({ op: 'golden' })).json;
  const seconds = ((performance.now() - begun) / 1000).toFixed(2);
  const expected = app.golden;
  fill('engine', `Ready after ${seconds} s. `, expected ? [`Hash of the logits computed here: `, el('code', { id: 'golden' }, hash), ', of the native program: ', el('code', {}, expected), hash === expected ? ': the same bits.' : ': different bits!'] : ['Hash of the logits computed here: ', el('code', { id: 'golden' }, hash), '.']);
}

let writing = 0;
/** Writes a text from its prompt; earlier steps up to `keep` stay. */
async function write(ids, { force = null, keep = 0 } = {}) {
  const ticket = ++writing;
  play(false);
  $('stop').disabled = false;
  $('problem').textContent = '';
  if (keep) await ask({ op: 'back', step: keep });
  else {
    await ask({ op: 'begin', ids, options: app.options, without: app.without });
    app.prompt_len = ids.length;
    app.prompt_ids = ids;
    Object.assign(app, { hows: {}, beams: null, speculation: null });
  }
  app.forced = null;
  app.steps.length = keep;
  const begun = performance.now();
  for (;;) {
    const { json, numbers } = await ask(force === null ? { op: 'step' } : { op: 'step', force });
    force = null;
    if (!json || ticket !== writing) break;
    app.steps.push(new Step(json, numbers));
    if (app.steps.length === keep + 1) { app.step = keep; show(); }
    else { const rest = allTokens(); fill('tokens', rest.map(chip)); $('step').max = app.steps.length - 1; }
    if (json.end) break;
  }
  const n = app.steps.length - keep, seconds = (performance.now() - begun) / 1000;
  if (ticket === writing) $('stop').disabled = true;
  $('where').dataset.speed = (n / seconds).toFixed(1);
  Object.assign(app, { step: Math.min(app.step, app.steps.length - 1) });
  show();
  document.body.dataset.written = String(Number(document.body.dataset.written ?? 0) + 1);
}

function again() {
  app.options = { ...app.options, max_new_tokens: Number($('count').value), seed: Number($('seed').value), greedy: false };
  app.options = { ...app.options, ...Object.fromEntries(KNOBS.map(([name]) => [name, app.knobs[name] ?? null])) };
  ask({ op: 'encode', text: $('prompt').value }).then(({ json }) => write(json.ids)).catch(failed);
}

/** Puts a token at this step and writes on; the text before is kept for comparison. */
function force(id) {
  const step = app.step, before = allTokens().filter((token) => token.step >= step);
  write(app.prompt_ids, { force: id, keep: step }).then(() => {
    app.forced = { step, tokens: before };
    renderForced();
  }).catch(failed);
}

function switchOff(block, head) {
  app.without = isOff(block, head) ? app.without.filter((part) => part.block !== block || part.head !== head) : [...app.without, { block, head }];
  $('off').textContent = app.without.length ? 'Switched off: ' + app.without.map((part) => `block ${part.block} head ${part.head}`).join(', ') + '.' : '';
  write(app.prompt_ids).catch(failed);
}

/** All files of a dropped folder, or the dropped files. */
async function filesOf(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const files = [];
  const walk = async (entry) => {
    if (entry.isFile) files.push(await new Promise((resolve, reject) => entry.file(resolve, reject)));
    else {
      const reader = entry.createReader();
      for (;;) {
        const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
        if (!some.length) break;
        for (const one of some) if (one.isFile) await walk(one);
      }
    }
  };
  for (const entry of entries) await walk(entry);
  return files;
}

/** Opens a dropped model in a new engine; the old one goes. */
async function drop(files, wasm) {
  const wanted = files.filter(({ name }) => /\.(json|txt|safetensors)$/.test(name));
  if (!wanted.some(({ name }) => name === 'config.json')) throw new Error('the folder has no config.json; drop a folder in Hugging Face’s layout');
  writing++;
  $('engine').textContent = 'Reading…';
  const begun = performance.now(), engine = await Engine.start(wasm), before = app.engine;
  app.engine = engine;
  try {
    await openModel(files[0].webkitRelativePath?.split('/')[0] || 'a dropped model', wanted.map((file) => ({ name: file.name, bytes: file, size: file.size })));
  } catch (error) {
    app.engine = before;
    engine.stop();
    $('engine').textContent = '';
    throw error;
  }
  before.stop();
  app.golden = null;
  Object.assign(app, { without: [], block: 0, head: [0, 0], stage: 'transformer.drop', command: 'a dropped folder' });
  await opened(wasm, begun);
  const { json } = await ask({ op: 'encode', text: $('prompt').value });
  const known = json.ids.filter((id) => id < app.about.config.vocab_size); // a folder without a tokenizer has GPT-2's
  await write(known.length ? known : [0]);
}
