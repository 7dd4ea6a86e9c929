// Looks at the pages of `gpt2 explain` in a headless browser: operates every control, walks every number, takes pictures.
//
//     node tests/page.mjs PLAYWRIGHT GPT2 OUT
//
// PLAYWRIGHT is the folder of the npm package playwright-core, GPT2 the program, OUT where pages and
// pictures go. CHROMIUM names the browser; without it, that of Debian. `.ci/page` runs this.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';

const [playwright, gpt2, out] = process.argv.slice(2).map((path) => resolve(path));
const { chromium } = createRequire(playwright + '/')(playwright);
mkdirSync(out, { recursive: true });
const run = (...words) => execFileSync(gpt2, words, { encoding: 'utf8', maxBuffer: 1 << 28 });

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking'],
});

/** Opens a page; anything that it says or asks for is an error. */
async function open(file, { width = 1280, scheme = 'light' } = {}) {
  const page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme: scheme });
  page.said = [];
  page.on('console', (message) => page.said.push('console: ' + message.text()));
  page.on('pageerror', (error) => page.said.push('error: ' + error.stack));
  page.on('dialog', (dialog) => { page.said.push('dialog: ' + dialog.message()); dialog.dismiss(); });
  page.on('request', (request) => { if (!/^(file|blob|data):/.test(request.url())) page.said.push('request: ' + request.url()); });
  await page.goto('file://' + file);
  await page.waitForSelector('body[data-ready]', { timeout: 60_000 });
  return page;
}
async function close(page) {
  assert.deepEqual(page.said, []);
  assert.equal(await page.textContent('#problem'), '');
  await page.close();
}
const settled = (page) => page.evaluate(() => ask({ op: 'none' }).catch(() => 0)); // all earlier requests are answered
const text = (page, what) => page.locator(what).innerText();

/** The tensors of a safetensors file, as f32. */
function tensors(path) {
  const file = readFileSync(path), length = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.subarray(8, 8 + length));
  const floats = (name) => {
    const [from, to] = header[name].data_offsets.map((at) => at + 8 + length);
    return { shape: header[name].shape, values: new Float32Array(file.buffer.slice(file.byteOffset + from, file.byteOffset + to)) };
  };
  return { floats, choices: JSON.parse(header.__metadata__.choices) };
}

const PROMPT = ['Once upon a time', '--seed', '1'];
const WRITE = [...PROMPT, '--max-new-tokens', '6'];
const replay = `${out}/replay.html`, long = `${out}/long.html`;
run('explain', ...WRITE, '--out', replay);
run('explain', ...PROMPT, '--out', long);
const trace = `${out}/trace.safetensors`;
run('generate', ...WRITE, '--trace', trace);

const parts = {
  async 'every number is that of the trace'() {
    const page = await open(replay), traced = tensors(trace);
    let walked = 0, rows = 0;
    const steps = await page.evaluate(() => app.steps.length);
    for (let step = 0; step < steps; step++) {
      await page.evaluate((step) => go(step), step);
      await settled(page);
      const names = await page.evaluate(() => [...now().stored.keys()]);
      assert.equal(names.length, 6 * 12 + 5);
      for (const name of names) {
        await page.evaluate((name) => { app.block = Number(/h\.(\d+)/.exec(name)?.[1] ?? 0); openStage(name); }, name);
        const shown = await page.$$eval('[data-at]', (all) => all.map(({ dataset }) => [dataset.at, dataset.value]));
        for (const [at, value] of shown) {
          const [step, stage, index] = at.split('|');
          const { shape, values } = traced.floats((Number(step) ? `step.${step}.` : '') + stage);
          const place = index.split(',').reduce((at, i, axis) => at * shape[axis] + Number(i), 0);
          assert.equal(Object.is(Number(value), values[place]) || Number(value) === values[place], true, `${at}: ${value}, not ${values[place]}`);
          walked++;
        }
        // the whole row that is painted
        const row = await page.evaluate((name) => { const row = lastRow(now(), name); return [[...row.values], row.shape]; }, name);
        const { values } = traced.floats((step ? `step.${step}.` : '') + name);
        if (row[1].length === 2) {
          const last = values.subarray(values.length - row[0].length);
          assert.ok(row[0].every((x, i) => Object.is(x, last[i])), name);
        }
        rows++;
      }
      // the draw
      const probs = traced.floats((step ? `step.${step}.` : '') + 'probs').values;
      const drawn = await page.evaluate(() => [...app.drawn.numbers]);
      assert.ok(drawn.every((p, id) => Object.is(p, probs[id])), `the distribution of step ${step}`);
      const report = JSON.parse(run('why', ...PROMPT, '--step', String(step), '--json'));
      for (const [name, value] of await page.$$eval('[data-why]', (all) => all.map(({ dataset }) => [dataset.why, dataset.value]))) {
        assert.equal(report.parts.find((part) => part.name === name).value, Number(value), name);
      }
      const { model } = traced.choices[step];
      for (const { id, probability } of model) {
        const shown = await page.getAttribute(`[data-probability="${step}|${id}"]`, 'data-value');
        assert.equal(Number(shown), probability, `token ${id} of step ${step}`);
      }
    }
    assert.ok(walked > 3000 && rows === steps * 77, `${walked} numbers, ${rows} rows`);
    await close(page);
  },

  async 'every number answers'() {
    const page = await open(replay);
    await page.evaluate(() => openStage('transformer.h.2.attn.heads'));
    await page.click('#stage .known');
    const how = await page.$eval('[data-how]', ({ dataset }) => ({ ...dataset }));
    const [step, stage, index] = how.how.split('|');
    const told = JSON.parse(run('how', `${stage}[${index}]`, ...PROMPT, '--json'));
    assert.equal(told.bits, how.bits);
    assert.equal(step, '0');
    // one whose operands are not inside: the command that tells
    await page.click('#stage .numbers button:not(.known)');
    const command = await text(page, '#how code');
    assert.match(command, /^gpt2 how '?transformer/);
    const printed = execFileSync('sh', ['-c', command.replace(/^gpt2/, `'${gpt2}'`)], { encoding: 'utf8' });
    assert.match(printed, /^transformer\.h\.2\.attn\.heads\[/);
    await close(page);
  },

  async 'every control works'() {
    const page = await open(replay);
    const where = () => text(page, '#where');
    await page.click('#next');
    assert.match(await where(), /^step 1 of 5/);
    await page.click('#previous');
    await page.fill('#step', '4');
    assert.match(await where(), /^step 4 of 5/);
    await page.click('#first');
    await page.click('#play');
    await page.waitForFunction(() => app.step >= 1);
    await page.click('#play');
    await page.click('[data-token="6"]');
    assert.match(await where(), /^step 2 of 5/);
    assert.match(await text(page, '#token'), /Position 6, id \d+/);
    await page.click('[data-token="0"]');
    assert.match(await text(page, '#token'), /merge \d+/);
    for (const block of [3, 3, 5]) await page.click(`#stream button.head >> nth=${block}`);
    for (const button of await page.$$('#stream .stage')) await button.evaluate((button) => button.isConnected && button.click());
    for (const name of ['h.5.attn.weights', 'h.5.mlp.act', 'ln_f', 'lm_head', 'wte']) {
      await page.fill('#find', name);
      await page.press('#find', 'Enter');
      assert.equal(await text(page, '#stage-h'), 'transformer.'.repeat(name !== 'lm_head') + name);
    }
    await page.fill('#find', 'met');
    await page.press('#find', 'Enter');
    assert.match(await text(page, '#token'), /“ met”/);
    // the picture of the numbers
    await page.evaluate(() => openStage('transformer.h.5.mlp.act'));
    const box = await page.locator('canvas.values').boundingBox();
    await page.mouse.move(box.x + 5, box.y + 5);
    assert.match(await text(page, '#tip'), /^transformer\.h\.5\.mlp\.act\[\d+, 0\] = /);
    await page.mouse.click(box.x + 5, box.y + 5);
    assert.match(await text(page, '#how'), /mlp\.act\[\d+, 0\]/);
    await page.mouse.move(0, 0);
    // attention
    await page.click('#heads button >> nth=9');
    assert.match(await text(page, '#head h3'), /Block 2, head 1/);
    await page.selectOption('#query', '2');
    assert.match(await text(page, '#head'), /“ a” \(position 2\)/);
    await page.check('#skip');
    await page.uncheck('#skip');
    await page.click('#head rect[data-at] >> nth=0');
    // why
    await page.click('#parts .stage >> nth=1');
    assert.match(await text(page, '#parts'), /less that of/);
    await page.click('#parts .stage >> nth=0');
    // the draw
    const before = await text(page, '#drawn');
    for (const [name, value] of [['temperature', '1.5'], ['top_k', '7'], ['top_p', '0.5'], ['min_p', '0.1']]) {
      await page.fill('#' + name, value);
      await settled(page);
    }
    await settled(page);
    const step = await page.evaluate(() => app.step);
    const moved = await page.evaluate(() => app.drawn.json);
    assert.deepEqual(moved.steps.map((one) => one.step), ['temperature', 'top-k', 'top-p', 'min-p']);
    const ids = await page.evaluate(() => app.steps.slice(0, app.step + 1).flatMap((one) => one.ids).join(','));
    const command = ['trace', '--ids', ids, '--seed', '1', '--temperature', '1.5', '--top-k', '7', '--top-p', '0.5', '--min-p', '0.1', '--json'];
    const own = JSON.parse(run(...command)).choice.steps;
    const likeliest = (steps) => steps.map((one) => one.after[0].probability);
    assert.deepEqual(likeliest(moved.steps), likeliest(own), `step ${step}`);
    await page.click('#reset');
    await settled(page);
    assert.equal(await text(page, '#drawn'), before);
    await close(page);
  },

  async 'the keyboard suffices'() {
    const page = await open(replay);
    await page.keyboard.press('ArrowRight');
    assert.match(await text(page, '#where'), /^step 1 /);
    await page.keyboard.press('End');
    assert.match(await text(page, '#where'), /^step 5 /);
    await page.keyboard.press('Home');
    await page.keyboard.press('/');
    await page.keyboard.type('lm_head');
    await page.keyboard.press('Enter');
    await page.keyboard.press('Escape');
    assert.equal(await text(page, '#stage-h'), 'lm_head');
    // Tab reaches every kind of control, and each shows that it has the focus
    await page.evaluate(() => document.activeElement.blur());
    const reached = new Set();
    for (let i = 0; i < 220; i++) {
      await page.keyboard.press('Tab');
      reached.add(await page.evaluate(() => { const a = document.activeElement; return a.id || a.className || a.tagName; }));
    }
    for (const id of ['first', 'next', 'play', 'step', 'find', 'stage', 'values', 'code', 'query', 'skip', 'temperature', 'reset']) {
      assert.ok(id === 'first' || [...reached].some((name) => String(name).split(' ').includes(id)), `${id} of ${[...reached]}`);
    }
    await page.focus('canvas.values');
    await page.keyboard.press('ArrowRight');
    await page.keyboard.press('ArrowDown');
    assert.match(await text(page, '#stage output'), /lm_head\[3, 256\] = /);
    await page.keyboard.press('Enter');
    assert.match(await text(page, '#how'), /lm_head\[3, 256\]/);
    await close(page);
  },

  async 'a screen reader finds its way'() {
    const page = await open(replay);
    const tree = await page.locator('body').ariaSnapshot();
    writeFileSync(`${out}/tree.yaml`, tree);
    assert.doesNotMatch(tree, /- (button|textbox|slider|checkbox|combobox|img)( \[[^\]]*\])*:?$/m, 'a control without a name');
    for (const name of ['The text, token by token', 'Inside one step', 'Where attention looks', 'Why this token?', 'From scores to a token', 'One other token']) {
      assert.ok(tree.includes(`heading "${name}" [level=2]`), name);
    }
    assert.equal(await page.locator('h1').count(), 1);
    assert.match(tree, /button "“ before”, 1\.63% likely"/);
    await close(page);
  },

  async 'hostile text stays text'() {
    const file = `${out}/hostile.html`;
    const prompt = '</script><img src=x onerror=alert(1)>"\'&<b>\u202eevil\u200b\t\r\n犬🐕`${1}';
    run('explain', prompt, '--seed', '2', '--max-new-tokens', '3', '--out', file);
    const page = await open(file);
    for (let token = 0; token < (await page.evaluate(() => allTokens().length)); token++) await page.click(`[data-token="${token}"]`);
    await page.fill('#find', '<img');
    await page.press('#find', 'Enter');
    assert.equal(await page.locator('img, b:has-text("evil"), iframe').count(), 0);
    const shown = await page.locator('#tokens').innerText();
    for (const part of ['script', 'img', 'onerror', 'e2 80', 'U+200B', '⇥', '↵']) assert.ok(shown.includes(part), `${part} in ${shown}`);
    await close(page);
  },

  async 'both themes, two widths'() {
    for (const [name, width, scheme] of [['light', 1280, 'light'], ['dark', 1280, 'dark'], ['narrow', 390, 'light'], ['narrow-dark', 390, 'dark']]) {
      const page = await open(long, { width, scheme });
      await page.evaluate(() => { go(12); openStage('transformer.h.0.attn.heads'); });
      await settled(page);
      await page.evaluate(() => document.querySelector('#stage .known').click());
      await page.waitForTimeout(300);
      const [all, seen] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
      assert.ok(all <= seen, `${name}: ${all} pixels in ${seen}`);
      await page.evaluate(() => scrollTo(0, 0));
      await page.screenshot({ path: `${out}/${name}.png`, fullPage: true });
      await page.screenshot({ path: `${out}/${name}-first.png` });
      await close(page);
    }
    assert.ok(statSync(long).size <= 12e6, `${statSync(long).size} bytes`);
  },

  async 'live: the same bits'() {
    const file = `${out}/live.html`;
    run('explain', ...WRITE, '--live', '--out', file);
    assert.ok(statSync(file).size <= 20e6, `${statSync(file).size} bytes`);
    const begun = performance.now();
    const page = await open(file);
    const first = performance.now() - begun;
    await page.waitForSelector('body[data-written="1"]', { timeout: 60_000 });
    const ids = () => page.evaluate(() => allTokens().filter((token) => token.step >= 0).map(({ id }) => id));
    const native = (...words) => JSON.parse(run('generate', ...words, '--json')).ids;
    assert.deepEqual(await ids(), native(...WRITE));
    assert.match(await text(page, '#engine'), /the same bits/);
    const written = async (act) => {
      const n = Number(await page.evaluate(() => document.body.dataset.written));
      await act();
      await page.waitForFunction((n) => Number(document.body.dataset.written) > n, n, { timeout: 120_000 });
      await settled(page);
    };
    const prompts = ['The king', 'Once', '"Who are you?" said', 'naïve 犬 🐕', 'It was cold', '1 2 3', 'a a a', 'In the wood', 'She', 'Why'];
    for (const [seed, prompt] of prompts.entries()) {
      await page.fill('#prompt', prompt);
      await page.fill('#seed', String(seed));
      await page.fill('#count', '12');
      await written(() => page.click('#ask button[type=submit]'));
      assert.deepEqual(await ids(), native(prompt, '--seed', String(seed), '--max-new-tokens', '12'), prompt);
      const bits = await page.evaluate(() => [...now().get('lm_head').values].slice(0, 50));
      const step = await page.evaluate(() => app.step);
      assert.equal(bits.length, 50, `step ${step}`);
    }
    // any number answers, by bits
    await page.evaluate(() => { go(3); openStage('transformer.h.4.mlp.c_fc'); });
    await page.click('#stage .numbers button >> nth=5');
    await page.waitForSelector('[data-how]');
    const how = await page.$eval('[data-how]', ({ dataset }) => ({ ...dataset }));
    const shown = await page.evaluate((key) => { const [step, name, index] = key.split('|'); const { shape, values } = app.steps[step].get(name); return values[index.split(',').reduce((at, i, axis) => at * shape[axis] + Number(i), 0)]; }, how.how);
    const view = new DataView(new ArrayBuffer(4));
    view.setFloat32(0, shown);
    assert.equal(view.getUint32(0).toString(16).padStart(8, '0'), how.bits);
    // lens, why, beams, speculation on request
    await page.click('#stream-note button');
    await page.waitForFunction(() => now().lens?.length === 6);
    await page.click('#parts button');
    await page.waitForSelector('[data-why]');
    await page.click('#tree button');
    await page.waitForSelector('#tree svg');
    await page.click('#lanes button');
    await page.waitForSelector('#lanes .lane');
    // force a token, switch a head off
    await written(() => page.click('#candidates button >> nth=2'));
    assert.ok((await ids()).length >= 4);
    assert.match(await text(page, '#forced'), /takes the place of/);
    const before = await ids();
    await written(() => page.click('#head button:has-text("Switch this head off")'));
    assert.match(await text(page, '#off'), /Switched off: block 0 head 0/);
    assert.notDeepEqual(await page.evaluate(() => app.steps[0].get('lm_head').values[0]), before);
    await written(() => page.click('#head button:has-text("Switch this head on")'));
    // speed
    await page.fill('#prompt', 'Once upon a time');
    await page.fill('#count', '60');
    await written(() => page.click('#ask button[type=submit]'));
    const speed = await page.evaluate(() => document.getElementById('where').dataset.speed);
    // stop
    await page.fill('#count', '400');
    await written(async () => { await page.click('#ask button[type=submit]'); await page.waitForFunction(() => app.steps.length > 3); await page.click('#stop'); });
    assert.ok((await ids()).length < 400);
    // a folder
    const folder = resolve('tests/fixtures/models/base');
    await written(() => page.setInputFiles('#folder', folder));
    assert.match(await text(page, '#about'), /base: /);
    // wrong folders
    await page.setInputFiles('#folder', resolve('src/guide'));
    await page.waitForFunction(() => /config\.json/.test(document.getElementById('problem').textContent));
    await page.evaluate(() => { document.getElementById('problem').textContent = ''; });
    await page.evaluate(() => scrollTo(0, 0));
    await page.screenshot({ path: `${out}/live.png` });
    console.log(`    first token ${(first / 1000).toFixed(2)} s after opening, ${speed} tokens a second`);
    await close(page);
  },
};

let failed = 0;
for (const [name, part] of Object.entries(parts)) {
  if (process.env.ONLY && !name.includes(process.env.ONLY)) continue;
  try {
    await part();
    console.log(`ok: ${name}`);
  } catch (error) {
    failed++;
    console.log(`FAILED: ${name}\n${error.stack}`);
  }
}
await browser.close();
process.exit(failed ? 1 : 0);
