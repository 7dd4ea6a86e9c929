// ---- how tokens, numbers and colours look --------------------------------------------------------------------------

/** An element: el('li', { class: 'x', onclick }, 'text', child). Text is always text, never markup. */
function el(name, attributes = {}, ...children) {
  const svg = ['svg', 'g', 'line', 'rect', 'text', 'path', 'circle', 'title', 'polyline'].includes(name);
  const element = svg ? document.createElementNS('http://www.w3.org/2000/svg', name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else if (key === 'style') Object.entries(value).forEach(([property, what]) => element.style.setProperty(property, what));
    else element.setAttribute(key, value === true ? '' : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}
const fill = (id, ...children) => $(id).replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));

/** The bytes of a token in the alphabet of vocab.json. */
const BYTES = (() => {
  const map = new Map();
  let other = 256;
  for (let byte = 0; byte < 256; byte++) {
    const visible = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    map.set(String.fromCodePoint(visible ? byte : other++), byte);
  }
  return map;
})();
function bytesOfToken(id) {
  const spelling = app.about.vocabulary[id] ?? '';
  const out = [];
  for (const character of spelling) {
    const byte = BYTES.get(character);
    byte === undefined ? out.push(...new TextEncoder().encode(character)) : out.push(byte);
  }
  return new Uint8Array(out);
}
const DECODER = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
/** The text of a token, with what cannot be seen written out. `parts`: [text, whether it is written out]. */
function parts(id) {
  const bytes = bytesOfToken(id);
  let text;
  try { text = DECODER.decode(bytes); } catch { // part of a character
    return [[[...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(' '), true]];
  }
  if (text === '') return [['(empty)', true]];
  const out = [];
  for (const character of text) {
    const code = character.codePointAt(0);
    const plain = { '\n': '↵', '\t': '⇥' }[character];
    const unseen = code < 32 || (code >= 127 && code < 161) || /[\u00ad\u200b-\u200f\u2028-\u202f\u205f-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/u.test(character) || (/\p{M}/u.test(character) && text.length === character.length);
    out.push(plain ? [plain, true] : unseen ? ['U+' + code.toString(16).toUpperCase().padStart(4, '0'), true] : [character, false]);
  }
  return out;
}
const plainText = (id) => parts(id).map(([text]) => text).join('');
const quote = (id) => '“' + plainText(id) + '”';
/** A token as elements: a leading space is a visible, faint dot. */
function tokenNodes(id) {
  return parts(id).map(([text, odd]) => odd ? el('span', { class: 'odd' }, text) : text === ' ' ? el('span', { class: 'odd', 'aria-label': 'space' }, '·') : text);
}

/** A probability as the program prints it. */
function percent(p) {
  const x = p * 100;
  return x === 0 ? '0%' : x < 0.001 ? x.toExponential(1) + '%' : x < 0.1 ? x.toFixed(3) + '%' : x < 9.95 ? x.toFixed(2) + '%' : x.toFixed(1) + '%';
}
/** A number, short; the exact one is in its title. */
function short(x) {
  if (!Number.isFinite(x)) return x === -Infinity ? '−∞' : x === Infinity ? '∞' : 'NaN';
  const size = Math.abs(x);
  const text = size === 0 ? '0' : size >= 1e5 || size < 1e-3 ? x.toExponential(2) : x.toPrecision(4);
  return text.replace('-', '−');
}
/** The shortest decimal that is this f32. */
function exact(x) {
  if (!Number.isFinite(x)) return String(x);
  for (let digits = 1; digits < 10; digits++) {
    const text = x.toPrecision(digits);
    if (Math.fround(Number(text)) === x) return String(Number(text));
  }
  return String(x);
}
/** A number of a stage, with the place it comes from. */
const value = (x, at, attributes = {}) => el('span', { 'data-at': at, 'data-value': String(x), title: exact(x), ...attributes }, short(x));

// Colours mean one thing each: green a probability, blue attention, orange and violet the sign of a number.
const colours = {};
function readColours() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ['paper', 'ink', 'faint', 'muted', 'likely', 'look', 'plus', 'minus', 'line']) {
    colours[name] = style.getPropertyValue('--' + name).trim().split(/\s+/).map(Number);
  }
}
const mix = (from, to, t) => colours[from].map((a, i) => Math.round(a + (colours[to][i] - a) * t));
const css = ([r, g, b]) => `rgb(${r} ${g} ${b})`;
const likely = (p) => css(mix('paper', 'likely', 0.08 + 0.67 * Math.sqrt(Math.max(0, p))));
const signed = (x, most) => Number.isFinite(x) ? mix('paper', x < 0 ? 'minus' : 'plus', Math.min(1, Math.sqrt(Math.abs(x) / (most || 1)))) : colours.faint;
const looked = (w) => mix('paper', 'look', Math.sqrt(Math.max(0, Math.min(1, w))));

/** Paints values as squares. */
function paint(canvas, width, height, colour) {
  canvas.width = width; canvas.height = height;
  const context = canvas.getContext('2d'), image = context.createImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    const [r, g, b] = colour(i);
    image.data.set([r, g, b, 255], 4 * i);
  }
  context.putImageData(image, 0, 0);
}

/** Shows text beside the pointer. */
function tip(event, text) {
  const box = $('tip');
  if (!text) { box.hidden = true; return; }
  box.textContent = text;
  box.hidden = false;
  const x = Math.min(event.pageX + 14, scrollX + document.documentElement.clientWidth - box.offsetWidth - 8);
  box.style.left = Math.max(scrollX + 4, x) + 'px';
  box.style.top = event.pageY + 18 + 'px';
}

/** A bar whose length is a share of the largest. */
const bar = (share, colour) => el('div', { class: 'bar', style: { width: Math.max(0, Math.min(1, share)) * 100 + '%', background: colour } });
