// The examples, as they are, against a real server; models are scripted.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { decodePng, findColour, serveModel } from './lib/model.mjs';
import { servePages } from './lib/pages.mjs';
import { runProgram, runPython } from './lib/python.mjs';
import { Fleet } from './lib/serve.mjs';
import { ROOT, exposed } from './lib/session.mjs';
import { until } from './lib/wait.mjs';

const EXAMPLES = join(ROOT, 'examples');

let pages, fleet;
before(async () => {
  pages = await servePages();
  fleet = await Fleet.start(['--max-sessions', '4'], { session: ['--no-sound', ...[...exposed].map((port) => `--expose=${port}`)] });
});
after(async () => {
  fleet?.kill();
  await pages?.stop();
});

/** Runs one on our page, and sees that it has left no session. */
async function run(name, { env = {}, python } = {}) {
  const settings = { cwd: EXAMPLES, env: { GLASSHOUSE_SERVER: fleet.origin, GLASSHOUSE_TOKEN: fleet.token, ...env } };
  const line = [join(EXAMPLES, name), pages.url('link.html')];
  const { code, out, err } = await (python ? runPython(python, line, settings) : runProgram([process.execPath, ...line], settings));
  assert.equal(code, 0, `${name}: ${out}\n${err}`);
  await until('its session is over', async () => (await fleet.api('GET', 'api/v1/sessions')).body.sessions.length === 0);
  return { lines: out.trim().split('\n'), err };
}

test('Playwright', async () => {
  const { lines: [watch, ...titles] } = await run('playwright.mjs');
  assert.match(watch, /^watch it: http.*\/s\/.*#token=gh_/);
  assert.deepEqual(titles, ['First page', 'Second page']);
});

test('Puppeteer', async () => {
  assert.deepEqual((await run('puppeteer.mjs')).lines, ['First page', 'Second page']);
});

test('Playwright for Python', async () => {
  const { lines: [watch, ...titles] } = await run('playwright_async.py', { python: 'clients' });
  assert.match(watch, /^watch it: http/);
  assert.deepEqual(titles, ['First page', 'Second page']);
});

test('Selenium', async () => {
  const { lines } = await run('selenium_attach.py', { python: 'clients' });
  assert.deepEqual(lines.slice(0, 2), ['First page', 'Second page']);
  assert.match(lines[2], /^Chrome\//);
});

test('a model that sees the screen and clicks', async () => {
  const seen = ({ messages }) => {
    const url = messages.flatMap(({ content }) => (Array.isArray(content) ? content : [])).filter(({ type }) => type === 'image_url').at(-1).image_url.url;
    return decodePng(Buffer.from(url.split(',')[1], 'base64'));
  };
  let looks = 0, clicks = 0;
  // It waits for the page, clicks where its link is, and says what it then sees.
  const step = async (body) => {
    const picture = seen(body), link = findColour(picture, '00a040');
    if (findColour(picture, '2040c0')) return { content: 'The page is blue.' };
    looks += 1;
    assert.ok(looks < 19, 'the page never comes');
    const [name, given] = link ? ['click', link] : ['press', { key: 'F15' }];
    // The page is on its way, or the one behind the link is, and the example's patience is a number of steps.
    if (!link || clicks > 0) await pause(2_000);
    if (link) clicks += 1;
    return { tool_calls: [{ id: `call_${looks}`, type: 'function', function: { name, arguments: JSON.stringify(given) } }] };
  };
  const model = await serveModel([step]);
  try {
    const { lines } = await run('computer_use.mjs', { env: { OPENAI_BASE_URL: model.url, OPENAI_API_KEY: 'none', MODEL: 'scripted' } });
    assert.deepEqual(model.errors, []);
    assert.deepEqual(lines, ['The page is blue.']);
    assert.ok(model.requests.length >= 2);
  } finally {
    await model.stop();
  }
});

test('browser-use', async () => {
  // The page as the agent last described it: its instructions have examples of pages too.
  const page = (body) => {
    const text = JSON.stringify(body.messages);
    return text.slice(text.lastIndexOf('<browser_state>'));
  };
  const act = (action) => ({ content: JSON.stringify({ thinking: '', evaluation_previous_goal: '', memory: '', next_goal: '', action: [action] }) });
  let steps = 0;
  const step = (body) => {
    const text = page(body);
    steps += 1;
    assert.ok(steps < 12, 'it never gets there');
    if (text.includes('Second page') || text.includes('You are there')) return act({ done: { text: 'Second page', success: true } });
    const link = /\[(\d+)\]<a/.exec(text)?.[1];
    return act(link ? { click: { index: Number(link) } } : { navigate: { url: pages.url('link.html') } });
  };
  const model = await serveModel([step]);
  // It leaves its pictures, downloads and settings behind.
  const scratch = mkdtempSync(join(tmpdir(), 'gh-browser-use-'));
  try {
    const env = { TMPDIR: scratch, BROWSER_USE_CONFIG_DIR: scratch, OPENAI_BASE_URL: model.url, OPENAI_API_KEY: 'none', MODEL: 'scripted', ANONYMIZED_TELEMETRY: 'false', BROWSER_USE_LOGGING_LEVEL: 'result' };
    const { lines } = await run('browser_use_agent.py', { python: 'browser-use', env });
    assert.deepEqual(model.errors, []);
    assert.equal(lines.at(-1), 'Second page');
  } finally {
    rmSync(scratch, { recursive: true, force: true });
    await model.stop();
  }
});

test('the server leaves nothing', async () => {
  assert.equal(await fleet.stop(), 0);
});
