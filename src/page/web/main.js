// ---- the page as a whole -------------------------------------------------------------------------------------------

const app = { step: 0, steps: [], block: 0, stage: 'transformer.drop', head: [0, 0], query: null, skip_first: false, without: [], against: null, picked: null, hows: {}, live: false, beams: null, speculation: null, forced: null };
const now = () => app.steps[app.step];
const ask = (request, numbers) => app.engine.ask(request, numbers);
const failed = (error) => { if (String(error.message) !== 'stopped') $('problem').textContent = error.message || String(error); };

function render() {
  if (!now()) return;
  const last = app.steps.length - 1, step = now();
  $('step').max = last;
  $('step').value = app.step;
  $('where').textContent = `step ${app.step} of ${last}: ` + (step.next === null ? 'nothing' : quote(step.next));
  $('first').disabled = $('previous').disabled = app.step === 0;
  $('next').disabled = app.step === last;
  readColours();
  renderText(); renderPath(); renderAttention(); renderWhy(); renderDraw().catch(failed); renderForced(); renderBeams(); renderSpeculation();
}
function go(step) {
  step = Math.max(0, Math.min(app.steps.length - 1, step));
  if (step === app.step) return;
  Object.assign(app, { step, query: null, against: null, picked: null });
  fill('how');
  render();
}
let timer = null;
function play(on) {
  clearInterval(timer);
  timer = on ? setInterval(() => (app.step < app.steps.length - 1 ? go(app.step + 1) : play(false)), 900) : null;
  $('play').setAttribute('aria-pressed', String(on));
  $('play').textContent = on ? 'Pause' : 'Play';
}

/** Finds the next token with this text, or a stage. */
function find(text) {
  const tokens = allTokens(), small = text.trim().toLowerCase();
  if (!small) return;
  const stage = app.about.stages.map(({ name }) => name.replace('{i}', app.block ?? 0)).filter((name) => lastRow(now(), name)).find((name) => name.replace('transformer.', '') === small || name.endsWith('.' + small) || name === small);
  if (stage) { openStage(stage); $('stage').scrollIntoView({ block: 'nearest' }); return; }
  const order = tokens.map((_, i) => (i + app.step + app.prompt_len + 1) % tokens.length);
  const hit = order.find((i) => plainText(tokens[i].id).toLowerCase().includes(small));
  if (hit === undefined) { $('where').textContent = `no token with ${text}`; return; }
  if (tokens[hit].step >= 0) go(tokens[hit].step);
  showToken(tokens[hit], hit);
}

function listen() {
  $('first').onclick = () => go(0);
  $('previous').onclick = () => go(app.step - 1);
  $('next').onclick = () => go(app.step + 1);
  $('play').onclick = () => play(timer === null);
  $('step').oninput = (event) => go(Number(event.target.value));
  $('find').onkeydown = (event) => { if (event.key === 'Enter') find(event.target.value); if (event.key === 'Escape') event.target.blur(); };
  document.addEventListener('keydown', (event) => {
    if (event.target.matches('input, textarea, select') || event.ctrlKey || event.metaKey || event.altKey) return;
    const act = { ArrowLeft: () => go(app.step - 1), ArrowRight: () => go(app.step + 1), Home: () => go(0), End: () => go(Infinity), '/': () => $('find').focus() }[event.key];
    if (act) { event.preventDefault(); act(); }
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', render);
}

function footer() {
  const { about } = app, { config } = about;
  fill('about', el('p', {}, `${about.name}: ${about.parameters.toLocaleString('en')} parameters in ${about.dtype}, ${config.n_layer} blocks, ${config.n_head} heads, ${config.n_embd} numbers per vector, ${config.vocab_size.toLocaleString('en')} tokens. Written by ${about.version}, arithmetic ${about.arithmetic}.`),
    el('p', {}, 'Made by ', el('code', {}, app.command), '.'),
    app.left_out.length ? el('p', {}, 'Left out to keep the file small: ', app.left_out.join('; '), '.') : null,
    el('p', {}, 'Keys: ← and → step, Home and End jump, / finds. This file asks no network for anything.'));
}

async function begin() {
  const { json, numbers } = await unpack('data');
  Object.assign(app, json.page);
  let from = 0;
  app.steps = (json.steps ?? []).map((about) => { const step = new Step(about, numbers, from); from = step.end_of_numbers; return step; });
  readColours();
  listen();
  const wasm = await gunzip(bytesOf('wasm'));
  app.engine = await Engine.start(wasm);
  if (app.live) await startLive(wasm);
  else show();
}
function show() {
  makeKnobs();
  app.block = Math.min(app.block ?? 0, app.about.config.n_layer - 1);
  render();
  footer();
  document.title = app.steps.length ? 'How GPT-2 writes: ' + allTokens().map(({ id }) => plainText(id)).join('').slice(0, 60) : document.title;
  document.body.dataset.ready = 'yes';
}
addEventListener('unhandledrejection', (event) => { event.preventDefault(); failed(event.reason); });
begin().catch(failed);
