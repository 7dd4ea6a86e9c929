// ---- why, and the draw ---------------------------------------------------------------------------------------------

function renderWhy() {
  const step = now();
  const found = step.why;
  if (!found) {
    fill('parts', el('p', { class: 'note' }, app.live ? '' : 'Not in this file. In a terminal: ', app.live ? null : el('code', {}, command('why')),
      app.live && step.next !== null ? el('button', { type: 'button', onclick: () => loadWhy(null) }, 'Measure what each part adds') : null));
    return;
  }
  const sign = (x) => css(colours[x < 0 ? 'minus' : 'plus']);
  const others = step.choice.model.filter(({ id }) => id !== step.next).slice(0, 5);
  const table = (why) => {
    const most = Math.max(...why.parts.map((part) => Math.abs(part.value)), 1e-9);
    const parts = why.parts.map((part, i) => ({ ...part, i })).sort((a, b) => Math.abs(b.value) - Math.abs(a.value) || a.i - b.i);
    const first = parts.slice(0, 14), rest = parts.slice(14).reduce((sum, part) => sum + part.value, 0);
    return el('div', { class: 'scroll' }, el('table', { class: 'bars' }, el('thead', {}, el('tr', {}, el('th', {}, 'part'), el('th', { class: 'n' }, 'adds'), el('th', { class: 'track' }))), el('tbody', {},
      first.map((part) => el('tr', {}, el('th', { scope: 'row', class: 'mono' }, partName(part.name)), el('td', { class: 'n' }, el('span', { 'data-why': part.name, 'data-value': String(part.value) }, short(part.value))), el('td', { class: 'track' }, bar(Math.abs(part.value) / most, sign(part.value))))),
      parts.length > 14 ? el('tr', {}, el('th', { scope: 'row' }, `the other ${parts.length - 14}`), el('td', { class: 'n' }, short(rest)), el('td')) : null,
      el('tr', { class: 'chosen' }, el('th', { scope: 'row' }, 'sum'), el('td', { class: 'n' }, short(why.sum)), el('td')),
      el('tr', {}, el('th', { scope: 'row' }, 'rounding'), el('td', { class: 'n' }, short(why.rounding)), el('td')))));
  };
  const why = app.against !== null && step.against?.[app.against] ? step.against[app.against] : found;
  fill('parts', el('p', {}, why.against ? ['The logit of ', el('b', {}, quote(why.token.id)), ' less that of ', el('b', {}, quote(why.against.id)), ' is '] : ['The logit of ', el('b', {}, quote(why.token.id)), ' is '],
    el('span', { title: String(why.token.logit) }, short(why.token.logit)), '. The vector is a sum of what each part wrote, so the logit is a sum as well: this is what each part adds to it, read through the last layer norm at its actual scale.'),
    el('p', {}, 'Against ', el('button', { type: 'button', class: 'stage', 'aria-pressed': String(why === found), onclick: () => { app.against = null; renderWhy(); } }, 'none'),
      others.filter(({ id }) => app.live || step.against?.[id]).map(({ id }) => el('button', { type: 'button', class: 'stage', 'aria-pressed': String(app.against === id && why !== found), onclick: () => loadWhy(id) }, quote(id)))), table(why));
}
const partName = (name) => name.replace('transformer.', '').replace(/^h\.(\d+)\./, 'block $1 ').replace('attn.head.', 'head ').replace('attn.bias', 'attention bias').replace('mlp', 'MLP');
async function loadWhy(id) {
  const step = now(), i = app.step;
  app.against = id;
  if (id === null) step.why ??= (await ask({ op: 'why', step: i, token: step.next })).json;
  else {
    step.against ??= {};
    step.against[id] ??= (await ask({ op: 'why', step: i, token: step.next, against: id })).json;
  }
  renderWhy();
}

const KNOBS = [['temperature', 0.05, 2, 0.05, 1], ['top_k', 0, 200, 1, 0], ['top_p', 0, 1, 0.01, 1], ['min_p', 0, 0.5, 0.005, 0]];

function makeKnobs() {
  const given = app.options;
  app.knobs = { ...given };
  fill('knobs', KNOBS.map(([name, from, to, by, off]) => {
    const start = given[name] ?? off;
    const output = el('output', { id: name + '-is' }, String(start));
    return el('label', {}, name.replace('_', '-'), output, el('input', { type: 'range', id: name, min: from, max: to, step: by, value: start, oninput: (event) => {
      const x = Number(event.target.value);
      app.knobs = { ...app.knobs, greedy: false, [name]: x };
      if (name !== 'temperature' && x === off) delete app.knobs[name];
      output.value = String(x);
      renderDraw();
    } }));
  }), el('label', {}, el('button', { type: 'button', id: 'reset', onclick: () => { makeKnobs(); renderDraw(); } }, 'As the text was written')));
}

let drawing = 0;
async function renderDraw() {
  const step = now(), logits = step.get('lm_head'), ticket = ++drawing;
  if (!logits) { fill('drawn', el('p', { class: 'note' }, 'The logits are not in this file.')); return; }
  const ids = [...app.steps.slice(0, app.step + 1).flatMap((one) => one.ids)];
  const last = logits.values.slice(-app.about.config.vocab_size);
  const request = { op: 'draw', ids, prompt_len: app.prompt_len, eos: app.about.config.eos, options: Object.fromEntries(Object.entries({ ...app.knobs, max_new_tokens: undefined }).filter(([, x]) => x !== undefined && x !== null)) };
  const { json, numbers } = await ask(request, last);
  if (ticket !== drawing) return; // a later one is on its way
  app.drawn = { json, numbers };
  const columns = [['the model says', json.model], ...json.steps.map((one) => [one.step, one.after, one])];
  const order = [];
  for (const [, list] of columns.toReversed()) for (const { id } of list) if (!order.includes(id) && order.length < 12) order.push(id);
  const chosen = json.chosen;
  if (chosen && !order.includes(chosen.id)) order.push(chosen.id);
  const cell = (list, id) => {
    const found = list.find((one) => one.id === id);
    return el('td', {}, found ? [el('span', { class: 'mono', 'data-drawn': id, 'data-value': String(found.probability) }, percent(found.probability)), bar(found.probability, css(colours.likely))] : el('span', { class: 'says' }, '–'));
  };
  const effect = (one) => one ? el('div', { class: 'says' }, one.removed ? `removes ${one.removed.toLocaleString('en')}` : 'removes none', el('br'), `${one.left.toLocaleString('en')} left`) : el('div', { class: 'says' }, 'all ' + last.length.toLocaleString('en'));
  const moved = JSON.stringify(app.knobs) !== JSON.stringify(app.options);
  fill('drawn', el('p', { class: 'note' }, moved ? 'With these settings, from the same scores and the same random number:' : 'As the text was written. Move a slider: the distribution is computed again over the whole vocabulary, by the program’s own code.'),
    el('div', { class: 'scroll' }, el('table', { class: 'bars' }, el('thead', {}, el('tr', {}, el('th', {}, 'token'), columns.map(([name, , one]) => el('th', {}, name, effect(one))))), el('tbody', {}, order.map((id) => el('tr', { class: chosen && id === chosen.id ? 'chosen' : null }, el('th', { scope: 'row', class: 'token' }, tokenNodes(id)), columns.map(([, list]) => cell(list, id))))))),
    chosen ? lineOf(numbers, chosen) : el('p', {}, 'No token can be chosen.'));
}

/** The line from 0 to 1: the stretch of each token in order of id, and the drawn number. */
function lineOf(probabilities, chosen) {
  let whole = 0;
  for (const p of probabilities) if (p > 0) whole += p;
  const stretches = [];
  let from = 0;
  probabilities.forEach((p, id) => { if (p > 0) { stretches.push([id, from / whole, (from + p) / whole]); from += p; } });
  const W = Math.min(1000, $('drawn').clientWidth || 1000), u = chosen.uniform;
  const draw = (a, b, label) => {
    const x = (at) => ((at - a) / (b - a)) * W, inside = stretches.filter(([, s, e]) => e > a && s < b && (e - s) / (b - a) > 0.0008);
    return el('svg', { width: W, height: 84, viewBox: `0 -14 ${W} 84`, role: 'img', 'aria-label': label },
      el('rect', { x: 0, y: 18, width: W, height: 22, fill: css(colours.faint) }),
      inside.map(([id, s, e]) => { const [l, r] = [Math.max(0, x(s)), Math.min(W, x(e))], hit = id === chosen.id; return el('g', {}, el('rect', { x: l, y: 18, width: Math.max(0.6, r - l - 0.8), height: 22, fill: css(mix('paper', 'likely', hit ? 0.9 : 0.3)), onpointermove: (event) => tip(event, `${quote(id)}  from ${s.toFixed(6)} to ${e.toFixed(6)}`), onpointerleave: (event) => tip(event) }), r - l > 8 * plainText(id).length + 6 ? el('text', { x: (l + r) / 2, y: 56, 'text-anchor': 'middle', 'font-weight': hit ? 700 : 400 }, plainText(id)) : null); }),
      u === null ? null : [el('line', { x1: x(u), x2: x(u), y1: 6, y2: 44, stroke: css(colours.ink), 'stroke-width': 2 }), el('text', { x: Math.min(W - 40, Math.max(40, x(u))), y: 2, 'text-anchor': 'middle' }, u.toFixed(6))]);
  };
  const [s, e] = chosen.stretch, around = Math.max((e - s) * 3, 0.004), a = Math.max(0, (s + e - around) / 2), b = Math.min(1, a + around);
  return el('div', {}, el('h3', {}, u === null ? 'Greedy: the likeliest token' : 'The number drawn'),
    el('p', {}, u === null ? ['Nothing is drawn; ', el('b', {}, quote(chosen.id)), ` is the likeliest, with ${percent(chosen.probability)}.`]
      : ['All tokens that are left lie side by side, in order of id, on the line from 0 to 1. The random number ', el('span', { class: 'mono', 'data-u': String(u) }, u.toFixed(6)), ' falls into ', el('b', {}, quote(chosen.id)), `, from ${s.toFixed(6)} to ${e.toFixed(6)}: rank ${chosen.rank} of ${chosen.candidates.toLocaleString('en')}.`]),
    el('div', { class: 'wide-svg' }, draw(0, 1, 'The line from 0 to 1')),
    e - s < 0.2 && u !== null ? [el('p', { class: 'note' }, `Nearer: from ${a.toFixed(4)} to ${b.toFixed(4)}.`), el('div', { class: 'wide-svg' }, draw(a, b, 'The line around the drawn number'))] : null);
}
