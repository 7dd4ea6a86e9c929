// ---- attention -----------------------------------------------------------------------------------------------------

/** The weights of a head over the whole text up to this step: rows read, columns are looked at. */
function weightsOf(block, head) {
  const rows = [];
  for (const step of app.steps.slice(0, app.step + 1)) {
    const stage = step.get(stageName('attn.weights', block));
    if (!stage) return null;
    const [, t, s] = stage.shape;
    for (let i = 0; i < t; i++) rows.push(stage.values.subarray((head * t + i) * s, (head * t + i + 1) * s));
  }
  return rows;
}
/** Where a row of it is stored: step, row, for the name of a number. */
function storedRow(query) {
  const n = app.prompt_len;
  return query < n ? [0, query] : [query - n + 1, 0];
}
/** A row without its first token, if so chosen: the rest is scaled to 1. */
function shown(row) {
  if (!app.skip_first || row.length < 2) return row;
  const rest = 1 - row[0];
  return row.map((w, i) => (i && rest > 0 ? w / rest : 0));
}

function renderAttention() {
  const { n_layer, n_head } = app.about.config;
  const block = app.head[0], n = now().past + now().ids.length;
  const cells = [el('span', { class: 'label' })];
  for (let h = 0; h < n_head; h++) cells.push(el('span', { class: 'label' }, 'head ' + h));
  for (let b = 0; b < n_layer; b++) {
    cells.push(el('span', { class: 'label' }, 'block ' + b));
    for (let h = 0; h < n_head; h++) {
      const rows = weightsOf(b, h), canvas = el('canvas', { style: { width: '44px', height: '44px' } });
      if (rows) paint(canvas, n, n, (i) => { const [q, k] = [Math.floor(i / n), i % n]; return k < rows[q].length && k <= q ? looked(shown(rows[q])[k]) : colours.paper; });
      cells.push(el('button', { type: 'button', class: isOff(b, h) ? 'off' : null, 'aria-label': `Block ${b}, head ${h}`, 'aria-pressed': String(b === block && h === app.head[1]), onclick: () => { app.head = [b, h]; renderAttention(); } }, canvas));
    }
  }
  $('heads').style.gridTemplateColumns = `auto repeat(${n_head}, auto)`;
  fill('heads', cells);
  renderHead();
}

function renderHead() {
  const [block, head] = app.head, rows = weightsOf(block, head);
  if (!rows) { fill('head', el('p', { class: 'note' }, 'The weights are not in this file, to keep it small.')); return; }
  const tokens = allTokens().map(({ id }) => id), n = rows.length;
  const query = Math.min(app.query ?? n - 1, n - 1);
  const row = shown(rows[query]);
  const size = 14, left = 110, top = 96, width = left + n * size + 8, height = top + n * size + 8;
  const label = (id) => { const text = plainText(id); return text.length > 13 ? text.slice(0, 12) + '…' : text; };
  const squares = [];
  rows.forEach((all, q) => shown(all).forEach((w, k) => {
    if (k > q) return;
    const [step, t] = storedRow(q);
    squares.push(el('rect', { x: left + k * size, y: top + q * size, width: size - 1, height: size - 1, fill: css(looked(w)), 'data-at': `${step}|${stageName('attn.weights', block)}|${head},${t},${k}`, 'data-value': String(all[k]),
      onpointermove: (event) => tip(event, `${quote(tokens[q])} looks at ${quote(tokens[k])}: ${exact(all[k])}` + (app.skip_first ? `\nwithout the first token ${short(w)}` : '')), onpointerleave: (event) => tip(event),
      onclick: () => { app.query = q; renderHead(); } }));
  }));
  const map = el('svg', { width, height, viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': `Attention of block ${block}, head ${head}: ${n} reading tokens by ${n} tokens looked at` },
    el('text', { x: 4, y: top - 6, class: 'quiet' }, 'reads ↓'), el('text', { x: left - 56, y: 12, class: 'quiet' }, 'looks at →'),
    tokens.slice(0, n).map((id, k) => el('text', { transform: `translate(${left + k * size + 10} ${top - 4}) rotate(-60)` }, label(id))),
    tokens.slice(0, n).map((id, q) => el('text', { x: left - 5, y: top + q * size + 11, 'text-anchor': 'end', 'font-weight': q === query ? 700 : 400 }, label(id))),
    el('rect', { x: left - 1, y: top + query * size - 1, width: (query + 1) * size + 1, height: size + 1, fill: 'none', stroke: css(colours.ink) }), squares);
  const gap = 16, lines = el('svg', { width: 300, height: n * gap + 26, viewBox: `0 0 300 ${n * gap + 26}`, role: 'img', 'aria-label': `What ${quote(tokens[query])} looks at` },
    el('text', { x: 108, y: 12, 'text-anchor': 'end', class: 'quiet' }, 'reads'), el('text', { x: 194, y: 12, class: 'quiet' }, 'is looked at'),
    tokens.slice(0, n).map((id, i) => [el('text', { x: 108, y: 30 + i * gap, 'text-anchor': 'end', 'font-weight': i === query ? 700 : 400, opacity: i === query ? 1 : 0.45 }, label(id)), i <= query ? el('text', { x: 194, y: 30 + i * gap }, label(id)) : null]),
    [...row].map((w, k) => w > 0.005 ? el('line', { x1: 114, y1: 26 + query * gap, x2: 188, y2: 26 + k * gap, stroke: css(colours.look), 'stroke-width': 0.5 + 5 * w, 'stroke-opacity': 0.15 + 0.85 * w }) : null));
  const strongest = [...row.keys()].sort((a, b) => row[b] - row[a]).slice(0, 4).filter((k) => row[k] > 0);
  const [step, t] = storedRow(query);
  fill('head', el('h3', {}, `Block ${block}, head ${head}`),
    el('p', {}, el('b', {}, quote(tokens[query])), ` (position ${query}) looks at `, strongest.flatMap((k, i) => [i ? ', ' : '', quote(tokens[k]), ' ', app.skip_first ? short(row[k]) : value(rows[query][k], `${step}|${stageName('attn.weights', block)}|${head},${t},${k}`)]), '. The weights of a row add up to 1.'),
    el('p', {}, el('label', {}, 'Reading token ', el('select', { id: 'query', onchange: (event) => { app.query = Number(event.target.value); renderHead(); $('query').focus(); } }, tokens.slice(0, n).map((id, q) => el('option', { value: q, selected: q === query }, `${q} ${plainText(id)}`)))), ' ',
      el('label', {}, el('input', { type: 'checkbox', id: 'skip', checked: app.skip_first, onchange: (event) => { app.skip_first = event.target.checked; renderAttention(); $('skip').focus(); } }), ' leave out the first token'), ' ',
      app.live ? el('button', { type: 'button', 'aria-pressed': String(isOff(block, head)), onclick: () => switchOff(block, head) }, isOff(block, head) ? 'Switch this head on' : 'Switch this head off') : null),
    el('div', { class: 'pair' }, el('div', { class: 'map' }, map), el('div', { class: 'map' }, lines)));
}
const isOff = (block, head) => app.without.some((part) => part.block === block && part.head === head);
