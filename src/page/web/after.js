// ---- one other token, beams, speculation ---------------------------------------------------------------------------

function renderForced() {
  const other = app.forced;
  if (!other) { fill('forced', el('p', { class: 'note' }, app.live ? 'Force a token above: the text before and after is compared here.' : 'Not in this file.')); return; }
  const mine = allTokens().filter((token) => token.step >= other.step);
  const theirs = other.tokens;
  const sums = (all) => { let sum = 0; return [0, ...all.map((token) => (sum += token.logprob))]; };
  const lines = [['the text', sums(mine), 'ink'], ['with ' + quote(theirs[0].id), sums(theirs), 'plus']];
  const W = 640, H = 220, n = Math.max(...lines.map(([, all]) => all.length - 1), 1), least = Math.min(...lines.flatMap(([, all]) => all), -1);
  const x = (i) => 44 + (i / n) * (W - 130), y = (s) => 12 + (s / least) * (H - 40);
  const chart = el('svg', { width: W, height: H, viewBox: `0 0 ${W} ${H}`, role: 'img', 'aria-label': 'The sum of the log-probabilities, token by token' },
    [0, 0.5, 1].map((t) => [el('line', { x1: 44, x2: W - 86, y1: y(t * least), y2: y(t * least), stroke: css(colours.line) }), el('text', { x: 38, y: y(t * least) + 4, 'text-anchor': 'end', class: 'quiet' }, (t * least).toFixed(0).replace('-', '−'))]),
    lines.map(([name, all, colour]) => [el('polyline', { points: all.map((s, i) => `${x(i)},${y(s)}`).join(' '), fill: 'none', stroke: css(colours[colour]), 'stroke-width': 2 }), el('text', { x: x(all.length - 1) + 5, y: y(all.at(-1)) + (colour === 'plus' ? 12 : 0), 'font-weight': 600 }, name)]),
    el('text', { x: 44, y: H - 6, class: 'quiet' }, 'new tokens →'));
  const strip = (all) => el('p', { class: 'tokens' }, all.map((token) => el('span', { class: 'chip', style: { background: likely(Math.exp(token.logprob)) }, title: percent(Math.exp(token.logprob)) }, tokenNodes(token.id))));
  fill('forced', el('p', {}, `At step ${other.step}, `, el('b', {}, quote(theirs[0].id)), ' takes the place of ', el('b', {}, quote(mine[0].id)), '. All later tokens are chosen with the same options and the same random numbers, but after another text. One pair of texts proves nothing about errors in general; the notebook on the loop measures many.'),
    el('h3', {}, 'The sum of the log-probabilities'), el('div', { class: 'wide-svg' }, chart), el('h3', {}, 'The text'), strip(mine), el('h3', {}, 'With ' + quote(theirs[0].id)), strip(theirs));
}

function renderBeams() {
  const tree = app.beams;
  if (!tree) { fill('tree', app.live ? el('button', { type: 'button', onclick: async () => { app.beams = (await ask({ op: 'beams', num_beams: 3, max_new_tokens: Math.min(10, app.options.max_new_tokens) })).json; renderBeams(); } }, 'Search with three beams') : el('p', { class: 'note' }, 'Not in this file.')); return; }
  const { nodes, found } = tree, best = new Set();
  for (let node = found[0]; node !== null && node !== undefined; node = nodes[node].parent) best.add(node);
  const steps = Math.max(...nodes.map((node) => node.step), 1), columns = Array.from({ length: steps + 1 }, () => []);
  nodes.forEach((node, i) => columns[node.step].push(i));
  const W = 128, H = 24, tall = Math.max(...columns.map((column) => column.length), 1), at = new Map();
  columns.forEach((column, step) => column.forEach((i, rank) => at.set(i, [8 + (step - 1) * W, 26 + rank * H])));
  const width = steps * W + 16, height = tall * H + 40;
  const colour = { kept: css(colours.ink), finished: css(colours.likely), pruned: css(colours.muted) };
  fill('tree', el('p', { class: 'note' }, 'At each step every kept beginning is continued by its likeliest tokens; the best of all are kept and the others pruned. Bold: the text that is found. The number is the sum of the log-probabilities.'),
    el('div', { class: 'wide-svg' }, el('svg', { width, height, viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': `A beam search of ${steps} steps; it finds ${textOf(found[0], nodes)}` },
      columns.slice(1).map((_, i) => el('text', { x: 8 + i * W, y: 12, class: 'quiet' }, 'step ' + (i + 1))),
      nodes.map((node, i) => { const [x, y] = at.get(i), from = node.parent === null ? [x - 18, y] : [at.get(node.parent)[0] + 96, at.get(node.parent)[1]]; return el('path', { d: `M${from[0]} ${from[1]} C${from[0] + 14} ${from[1]} ${x - 14} ${y} ${x - 2} ${y}`, fill: 'none', stroke: best.has(i) ? css(colours.ink) : css(colours.line), 'stroke-width': best.has(i) ? 2 : 1 }); }),
      nodes.map((node, i) => { const [x, y] = at.get(i), text = plainText(node.id); return el('g', {}, el('title', {}, `${quote(node.id)}: ${node.fate}, score ${exact(node.score)}`), el('text', { x, y: y + 4, 'font-weight': best.has(i) ? 700 : 400, style: { fill: colour[node.fate] }, 'text-decoration': node.fate === 'pruned' ? 'line-through' : null }, text.length > 8 ? text.slice(0, 7) + '…' : text), el('text', { x: x + 92, y: y + 4, 'text-anchor': 'end', class: 'quiet' }, node.score.toFixed(2).replace('-', '−'))); }))),
    el('p', {}, 'Found: ', el('b', {}, textOf(found[0], nodes))));
}
const textOf = (node, nodes) => { const ids = []; for (; node !== null && node !== undefined; node = nodes[node].parent) ids.push(nodes[node].id); return '“' + ids.reverse().map(plainText).join('') + '”'; };

function renderSpeculation() {
  const found = app.speculation;
  if (!found) { fill('lanes', app.live ? el('button', { type: 'button', onclick: async () => { app.speculation = (await ask({ op: 'speculation' })).json; renderSpeculation(); } }, 'Write this text with a draft') : el('p', { class: 'note' }, 'Not in this file.')); return; }
  const passes = found.turns.length, tokens = found.turns.reduce((n, turn) => n + turn.written.length, 0);
  fill('lanes', el('p', { class: 'note' }, `A draft (${found.draft}) guesses some tokens; the model reads them all in one pass and checks each. The text is the same, in ${passes} passes for ${tokens} tokens.`),
    found.turns.map(({ guessed, written }, i) => {
      let right = 0;
      while (right < guessed.length && right < written.length && guessed[right] === written[right]) right++;
      return el('div', { class: 'lane' }, el('span', { class: 'what' }, 'pass ' + (i + 1)), el('span', {},
        guessed.slice(0, right).map((id) => el('span', { class: 'right', title: 'guessed, and right' }, tokenNodes(id))),
        guessed.slice(right).map((id) => el('span', { class: 'wrong', title: 'guessed, and not chosen' }, tokenNodes(id))),
        written.slice(right).map((id) => el('span', { class: 'fixed', title: 'chosen by the model' }, tokenNodes(id)))));
    }),
    el('p', { class: 'legend' }, el('span', { class: 'right' }, 'guessed and right'), ' ', el('span', { class: 'wrong' }, 'guessed, not chosen'), ' ', el('span', { class: 'fixed' }, 'chosen by the model')));
}
