// ---- the residual stream and the stages ----------------------------------------------------------------------------

const BRANCHES = {
  embedding: ['transformer.wte', 'transformer.wpe', 'transformer.drop'],
  attn: ['ln_1', 'attn.c_attn', 'attn.scores', 'attn.weights', 'attn.heads', 'attn.c_proj', 'attn_residual'],
  mlp: ['ln_2', 'mlp.c_fc', 'mlp.act', 'mlp.c_proj', ''],
  end: ['transformer.ln_f', 'lm_head'],
};
const stageName = (short, block) => 'transformer.h.' + block + (short && '.' + short);
const stageAbout = (name) => app.about.stages.find((stage) => stage.name === name.replace(/\.h\.\d+/, '.h.{i}'));

/** The row of a stage at the position that this step reads last: values, and the index of the row. */
function lastRow(step, name) {
  const stage = step.get(name);
  if (!stage) return null;
  const { shape, values } = stage, width = shape.at(-1);
  if (shape.length === 3) { // [H, T, S]: the last reading token of each head
    const [h, t] = shape, row = new Float32Array(h * width);
    for (let i = 0; i < h; i++) row.set(values.subarray((i * t + t - 1) * width, (i * t + t) * width), i * width);
    return { values: row, width, index: (i) => [Math.floor(i / width), t - 1, i % width], shape };
  }
  const t = name === 'lm_head' ? step.ids.length : shape[0];
  return { values: values.subarray((shape[0] - 1) * width), width, index: (i) => [t - 1, i], shape };
}
const norm = (values) => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0));

function renderPath() {
  const step = now(), { n_layer } = app.about.config;
  const rows = [];
  const norms = ['transformer.drop', ...Array.from({ length: n_layer }, (_, i) => stageName('', i))].map((name) => { const row = lastRow(step, name); return row ? norm(row.values) : null; });
  const most = Math.max(...norms.filter((x) => x !== null), 1e-9);
  const lens = step.lens ?? null;
  const head = (label, i, open, what, onclick) => {
    const cells = [el('span', {}, label), el('span', {}, norms[i] === null || norms[i] === undefined ? '' : el('span', { class: 'norm', style: { width: (norms[i] / most) * 100 + '%' }, title: 'length of the vector: ' + short(norms[i]) }))];
    const says = what ? el('span', { class: 'says', title: 'read here, the model would say' }, tokenNodes(what.id), ' ' + percent(what.probability)) : el('span');
    return onclick ? el('button', { type: 'button', class: 'head', 'aria-expanded': String(open), onclick }, cells, says) : el('div', { class: 'head' }, cells, says);
  };
  const buttons = (names) => names.map((name) => el('button', { type: 'button', class: 'stage', 'aria-pressed': String(name === app.stage), onclick: () => openStage(name) }, name.replace(/^transformer\.(h\.\d+\.)?/, '').replace(/^h\.\d+$/, 'x')));
  rows.push(el('div', { class: 'row open' }, head('embedding', 0), el('div', { class: 'branch' }, el('b', {}, 'token + position'), el('span', {}, 'the vector begins'), el('div', {}, buttons(BRANCHES.embedding)))));
  for (let i = 0; i < n_layer; i++) {
    const open = app.block === i;
    rows.push(el('div', { class: 'row' + (open ? ' open' : '') }, head('block ' + i, i + 1, open, lens && lens[i] && lens[i][0], () => { app.block = open ? null : i; renderPath(); renderAttention(); }),
      open ? [el('div', { class: 'branch' }, el('b', {}, 'attention'), el('span', {}, 'reads x, adds what other tokens hold'), el('div', {}, buttons(BRANCHES.attn.map((name) => stageName(name, i))))),
        el('div', { class: 'branch' }, el('b', {}, 'MLP'), el('span', {}, 'reads x, adds what it makes of it'), el('div', {}, buttons(BRANCHES.mlp.map((name) => stageName(name, i)))))] : null));
  }
  rows.push(el('div', { class: 'row open' }, el('div', { class: 'branch' }, el('b', {}, 'output'), el('span', {}, 'one score per token'), el('div', {}, buttons(BRANCHES.end)))));
  fill('stream', rows);
  fill('stream-note', el('p', { class: 'note' }, 'Bars: the length of the vector. ', lens ? 'Right: what the model would say if it ended there (the logit lens).' : app.live ? el('button', { type: 'button', class: 'stage', onclick: loadLens }, 'read it after each block (logit lens)') : 'The logit lens is not in this file.'));
  renderStage();
}

async function loadLens() {
  const i = app.step;
  app.steps[i].lens = (await ask({ op: 'lens', step: i })).json;
  render();
}

function openStage(name) {
  app.stage = name;
  app.picked = null;
  renderPath();
  fill('how');
}

function renderStage() {
  const step = now(), name = app.stage, about = stageAbout(name), row = lastRow(step, name);
  const sizes = { T: step.ids.length, n_embd: app.about.config.n_embd, n_head: app.about.config.n_head, n_inner: app.about.config.n_inner, n_vocab: app.about.config.vocab_size };
  const actual = row ? row.shape.map((n, i) => (name === 'lm_head' && i === 0 ? step.ids.length : n)) : null;
  const position = step.past + step.ids.length - 1;
  fill('stage', el('h3', { id: 'stage-h' }, name),
    el('p', {}, about.question ? [el('b', {}, about.question), ' ', about.sentence] : null),
    el('p', {}, el('code', {}, about.formula), '   ', el('code', {}, about.shape), actual ? [' here ', el('code', {}, `[${actual.join(', ')}]`)] : null,
      el('span', { class: 'hidden' }, Object.entries(sizes).map(([k, n]) => `${k} ${n}`).join(', '))),
    el('pre', { class: 'code', tabindex: 0, 'aria-label': about.file }, about.code.map((line, i) => el('span', { class: about.first + i === about.line ? 'here' : null }, line || ' '))),
    el('p', { class: 'note' }, `${about.file}, line ${about.line}`),
    row ? numbersOf(step, name, row, position) : el('p', { class: 'note' }, 'The numbers of this stage are not in this file, to keep it small. ', el('code', {}, command('trace'))));
  const here = $('stage').querySelector('.here'), code = $('stage').querySelector('.code');
  if (here) code.scrollTop = here.offsetTop - code.offsetTop - 60;
}

/** The numbers of the last position: as a strip of squares, and the largest as buttons. */
function numbersOf(step, name, row, position) {
  const { values, width, index } = row, finite = [...values].map((x) => Number.isFinite(x) ? Math.abs(x) : 0), most = Math.max(...sliceMax(finite));
  const columns = values.length > 2048 ? 256 : row.shape.length === 3 ? width : Math.min(values.length, innerWidth < 700 ? 32 : 64), lines = Math.ceil(values.length / columns);
  const weights = name.endsWith('attn.weights');
  const canvas = el('canvas', { class: 'values', tabindex: 0, role: 'application', 'aria-label': `${values.length} numbers at position ${position}; arrow keys choose one, Enter asks how it came about`, style: { 'aspect-ratio': `${columns} / ${lines}`, 'max-height': values.length > 2048 ? '9rem' : '16rem', 'object-fit': 'fill' } });
  paint(canvas, columns, lines, (i) => i >= values.length ? colours.paper : weights ? looked(values[i]) : signed(values[i], most));
  const place = (i) => `${name}[${index(i).join(', ')}]`;
  const at = (event) => { const box = canvas.getBoundingClientRect(); return Math.floor((event.clientY - box.top) / box.height * lines) * columns + Math.floor((event.clientX - box.left) / box.width * columns); };
  const said = el('output', { class: 'mono' });
  const pick = (i) => { if (i < 0 || i >= values.length) return; app.picked = i; said.replaceChildren(place(i), ' = ', value(values[i], key(app.step, name, index(i)))); };
  canvas.addEventListener('pointermove', (event) => { const i = at(event); tip(event, i < values.length && i >= 0 ? `${place(i)} = ${exact(values[i])}${name === 'lm_head' ? '  ' + quote(i) : ''}` : ''); });
  canvas.addEventListener('pointerleave', (event) => tip(event));
  canvas.addEventListener('click', (event) => { pick(at(event)); if (app.picked !== null) showHow(name, index(app.picked)); });
  canvas.addEventListener('keydown', (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    if (by) pick((app.picked ?? -1) + by < 0 ? 0 : (app.picked ?? -1) + by);
    else if (event.key === 'Enter' && app.picked !== null) showHow(name, index(app.picked));
    else return;
    event.preventDefault(); event.stopPropagation();
  });
  const largest = largestOf(values, 6, name === 'lm_head');
  return [el('p', { class: 'note' }, row.shape.length === 3 ? 'A row per head, a column per token that is looked at. ' : `The ${values.length.toLocaleString('en')} numbers at position ${position}, ${columns} a row. `,
    weights ? 'Blue: the weight.' : 'Orange is above 0, violet below. Choose one to see how it came about.'), canvas, said,
    el('p', { class: 'note' }, name === 'lm_head' ? 'The highest scores:' : 'Those farthest from 0:'),
    el('ul', { class: 'numbers' }, largest.map((i) => el('li', {}, el('button', { type: 'button', class: known(app.step, name, index(i)) ? 'known' : null, onclick: () => showHow(name, index(i)) }, `[${index(i).join(', ')}] `, value(values[i], key(app.step, name, index(i))), name === 'lm_head' ? [' ', tokenNodes(i)] : null))))];
}
const sliceMax = (all) => all.length ? [all.reduce((a, b) => Math.max(a, b), 0)] : [1];
/** The places of the largest: of logits the highest, of all others those farthest from 0. */
function largestOf(values, n, highest = false) {
  const best = [];
  for (let i = 0; i < values.length; i++) {
    const size = !Number.isFinite(values[i]) ? -Infinity : highest ? values[i] : Math.abs(values[i]);
    if (best.length < n || size > best.at(-1)[0]) {
      best.push([size, i]);
      best.sort((a, b) => b[0] - a[0] || a[1] - b[1]);
      best.length = Math.min(best.length, n);
    }
  }
  return best.map(([, i]) => i);
}
const key = (step, name, index) => `${step}|${name}|${index.join(',')}`;
const known = (step, name, index) => app.live || app.hows[key(step, name, index)];
/** The command that shows this step in a terminal. */
const command = (what, number) => `gpt2 ${what}${number ? ' ' + shell(number) : ''} ${app.arguments}${app.step ? ' --step ' + app.step : ''}`;

async function showHow(name, index) {
  const found = app.hows[key(app.step, name, index)] ?? (app.live ? (await ask({ op: 'how', step: app.step, stage: name, index })).json : null);
  if (!found) {
    const full = now().past ? [...index.slice(0, -2), index.at(-2) + now().past, index.at(-1)] : index;
    fill('how', el('h3', {}, `${name}[${index.join(', ')}]`), el('p', {}, 'Its operands are not in this file. In a terminal: ', el('code', {}, command('how', `${name}[${full.join(',')}]`))));
    return;
  }
  const most = Math.max(...found.terms.map((term) => Math.abs(term.value)), 1e-30);
  const real = (x) => typeof x === 'number' ? short(x) : x;
  fill('how', el('h3', {}, `${found.stage}[${found.index.join(', ')}] = `, el('span', { class: 'mono', 'data-how': key(app.step, name, index), 'data-bits': found.bits }, typeof found.value === 'number' ? exact(Math.fround(found.value)) : found.value)),
    el('p', { class: 'mono' }, '= ' + found.formula),
    found.terms.length ? el('div', { class: 'scroll' }, el('table', { class: 'bars' }, el('thead', {}, el('tr', {}, el('th', {}, 'operands'), el('th', { class: 'n' }, 'adds'), el('th', {}), el('th', {}, 'where they come from'))), el('tbody', {}, found.terms.map((term) => el('tr', {},
      el('td', { class: 'mono' }, term.factors.map((factor) => real(factor.value)).join(' × ')), el('td', { class: 'n' }, real(term.value)),
      el('td', { style: { width: '20%' } }, bar(Math.abs(term.value) / most, css(colours[term.value < 0 ? 'minus' : 'plus']))), el('td', { class: 'mono' }, term.factors.map((factor) => factor.name).join(' × ')))),
      found.rest.count ? el('tr', {}, el('td', {}, `the other ${found.rest.count}`), el('td', { class: 'n' }, real(found.rest.sum)), el('td'), el('td')) : null))) : null,
    el('ul', {}, found.steps.map((part) => el('li', { class: 'mono' }, part.name + ': ' + (typeof part.value === 'number' ? String(part.value) : part.value)))),
    el('p', { class: 'note' }, `The same bits as in the pass: ${found.bits ?? found.value}. ${found.file}, line ${found.line}.`));
  $('how').scrollIntoView({ block: 'nearest' });
}
