// ---- the text, token by token --------------------------------------------------------------------------------------

/** All tokens: { id, step that chose it or -1, probability under the model }. */
function allTokens() {
  const [first] = app.steps;
  if (!first) return [];
  const tokens = first.ids.map((id, i) => ({ id, step: -1, logprob: i ? first.logprobs[i - 1] : null }));
  app.steps.forEach((step, i) => {
    if (step.next !== null) tokens.push({ id: step.next, step: i, logprob: step.logprobs.at(-1), forced: step.forced });
  });
  return tokens;
}

function chip(token, i) {
  const now = token.step === app.step, later = token.step > app.step;
  const p = token.logprob === null ? null : Math.exp(token.logprob);
  const words = [quote(token.id), p !== null ? percent(p) + ' likely' : i ? 'not a finite number' : 'the first token', token.step < 0 ? 'prompt' : token.forced ? 'forced' : ''].filter(Boolean).join(', ');
  const node = el('button', {
    type: 'button', class: 'chip' + (token.step < 0 ? ' prompt' : '') + (now ? ' now' : '') + (later ? ' later' : ''),
    style: token.step < 0 ? {} : { background: likely(p) }, 'aria-label': words, 'aria-current': now ? 'step' : null, 'data-token': i,
    onclick: () => { if (token.step >= 0) go(token.step); showToken(token, i); },
    onpointermove: (event) => tip(event, words), onpointerleave: (event) => tip(event),
  }, tokenNodes(token.id));
  const broken = parts(token.id).some(([text]) => text === '↵');
  return el('li', {}, node, broken ? el('br') : null);
}

function renderText() {
  const tokens = allTokens();
  fill('tokens', tokens.map(chip));
  const gradient = [0, 0.05, 0.25, 1].map((p) => likely(p)).join(', ');
  fill('legend', 'Grey: the prompt. Green: a new token; its probability, from 0 ',
    el('span', { class: 'scale', style: { background: `linear-gradient(to right, ${gradient})` } }), ' to 100%. A dot is a space. Choose a token to go to its step.');
  const step = now();
  const read = step.past + step.ids.length, v = app.about.config.vocab_size.toLocaleString('en');
  const chosen = step.choice.chosen;
  $('lead').replaceChildren(...lead(step, tokens.length));
  const says = [`After ${read} token${read === 1 ? '' : 's'} the model gives each of its ${v} tokens a probability. `];
  if (step.next === null) says.push('Its scores are not finite numbers, so no token can be chosen.');
  else if (step.forced) says.push(el('b', {}, quote(step.next)), ' was put there, whatever the model says. ');
  else if (chosen.uniform === null) says.push('The likeliest one, ', el('b', {}, quote(step.next)), ', is appended');
  else says.push('One of them is drawn: ', el('b', {}, quote(step.next)), ' is appended');
  if (step.next !== null) says.push(step.forced ? '' : '.', ` The model gave it ${percent(Math.exp(step.logprobs.at(-1)))}.`);
  says.push(step.end ? ` The text ends here: ${step.end}.` : ' Then the same begins again with one token more.');
  fill('says', says);
  fill('candidates', candidateTable(step));
}

function lead(step, n) {
  const { prompt_len } = app;
  return ['It reads the tokens so far, gives every token of its vocabulary a probability, draws one, appends it, and reads again. Here ',
    el('b', {}, app.about.name), ` continues a prompt of ${prompt_len} token${prompt_len === 1 ? '' : 's'} by ${n - prompt_len}. Every number is the program’s own.`];
}

/** The likeliest tokens, under the model and as they are drawn. */
function candidateTable(step) {
  const rows = step.choice.model.slice(0, 8);
  if (step.next !== null && !rows.some(({ id }) => id === step.next)) {
    const { chosen } = step.choice;
    if (chosen && chosen.id === step.next) rows.push({ id: step.next, probability: chosen.model_probability });
  }
  const most = rows[0] ? rows[0].probability : 1;
  return el('table', { class: 'bars' }, el('caption', { class: 'hidden' }, 'The likeliest next tokens'), el('tbody', {}, rows.map(({ id, probability }) =>
    el('tr', { class: id === step.next ? 'chosen' : null }, el('th', { scope: 'row', class: 'token' }, tokenNodes(id)),
      el('td', { class: 'n' }, el('span', { 'data-probability': app.step + '|' + id, 'data-value': String(probability) }, percent(probability))),
      el('td', { class: 'track' }, bar(probability / most, css(colours.likely))),
      app.live ? el('td', {}, el('button', { type: 'button', class: 'stage', 'aria-label': `Force ${quote(id)} here`, onclick: () => force(id) }, 'force')) : null))));
}

/** A token's id, bytes and merges. */
async function showToken(token, i) {
  const bytes = [...bytesOfToken(token.id)].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
  const merges = app.merges?.[token.id] ?? (app.live ? (await ask({ op: 'merges', text: plainBytes(token.id) })).json : null);
  const steps = merges && merges.flatMap((piece) => piece.merges);
  fill('token', el('h3', {}, 'Token ', el('span', { class: 'mono' }, quote(token.id))),
    el('p', {}, `Position ${i}, id ${token.id}, spelled `, el('code', {}, app.about.vocabulary[token.id] ?? ''), ` in the vocabulary, bytes `, el('code', {}, bytes), '.'),
    steps && steps.length ? el('p', {}, 'Byte-pair encoding joins neighbours, the pair that comes first in the list of merges first: ', steps.flatMap((merge, k) => [k ? ', ' : '',
      el('span', { class: 'mono' }, plainText(merge.left) + ' + ' + plainText(merge.right) + ' → ' + plainText(merge.merged)), ` (merge ${merge.rank})`]), '.')
      : el('p', {}, steps ? 'It is one byte, so nothing is merged.' : 'Its merges: ', steps ? null : el('code', {}, `gpt2 tokenize --merges ${shell(plainBytes(token.id))}`)));
}
const plainBytes = (id) => new TextDecoder().decode(bytesOfToken(id));
const shell = (text) => "'" + text.replace(/'/g, `'\\''`) + "'";
