// A program asks for help, and a person in the room's own page gives it, or does not.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { overHttp } from './lib/mcp.mjs';
import { servePages } from './lib/pages.mjs';
import { Fleet } from './lib/serve.mjs';
import { ROOT, Session, runToEnd } from './lib/session.mjs';
import { launch } from './lib/viewer.mjs';
import { until } from './lib/wait.mjs';

const OUT = join(ROOT, 'tests', 'out');
const SECRET = 'a secret of the operator';
mkdirSync(OUT, { recursive: true });

let pages, session, browser, robot, hooks;

/** Keeps what is posted to it; answers 500 to the first that tells of a reason in `fails`. */
async function serveHooks() {
  const hooks = { calls: [], fails: new Set() };
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    hooks.calls.push({ body, signature: request.headers['glasshouse-signature'], path: request.url });
    response.writeHead(hooks.fails.delete(JSON.parse(body).reason) ? 500 : 204).end();
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  hooks.url = `http://127.0.0.1:${server.address().port}/hook?x=1`;
  hooks.stop = () => { server.closeAllConnections(); return new Promise((resolve) => server.close(resolve)); };
  return hooks;
}

before(async () => {
  [pages, hooks] = await Promise.all([servePages(), serveHooks()]);
  session = await Session.start(['--no-sound', '--url', pages.url('door.html'), '--app-flag=--kiosk', '--ask-webhook', hooks.url], { env: { GLASSHOUSE_ASK_WEBHOOK_SECRET: SECRET } });
  robot = (await session.login('Robot')).token;
  browser = await launch();
  await until('the page is shown', () => pages.reports.some(({ type }) => type === 'ready'));
});
afterEach(async () => {
  await Promise.all(browser.contexts().map((context) => context.close()));
  // What a failed test has left open is not the next one's.
  const { body } = await session.api('GET', '/v1/ask', undefined, robot);
  for (const { id } of body.asks ?? []) await session.api('DELETE', `/v1/ask/${id}`, undefined, robot);
});
after(async () => {
  await browser?.close();
  await session?.stop();
  await pages?.stop();
  await hooks?.stop();
});

/** The room's own page, with the picture. Sounds that it makes are counted. */
async function open(options = {}, { url, link = {} } = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  await page.addInitScript(() => {
    window.tones = 0;
    const start = OscillatorNode.prototype.start;
    OscillatorNode.prototype.start = function (...when) { window.tones += 1; return start.apply(this, when); };
  });
  if (!url) {
    const { status, body } = await session.api('POST', '/api/glasshouse/links', { admin: false, ...link }, robot);
    assert.equal(status, 200, JSON.stringify(body));
    url = `${session.origin}/#token=${body.token}`;
  }
  await page.goto(url);
  await until('the picture', () => page.evaluate(() => window.glasshouse?.state === 'live' && window.glasshouse.video?.frames > 0 && window.glasshouse.dataChannel));
  return page;
}
const hostIs = async (token) => {
  const [{ body: me }, { body: host }] = await Promise.all([session.api('GET', '/api/whoami', undefined, token), session.api('GET', '/api/room/control', undefined, robot)]);
  return host.host_id === me.id;
};
const banner = (page, reason) => page.getByRole('region', { name: 'A program asks for help' }).filter({ hasText: reason });
const ask = (body, token = robot) => session.api('POST', '/v1/ask', body, token);
/** Calls that tell of a reason: those of other tests may come late. */
const told = (reason) => hooks.calls.filter(({ body }) => JSON.parse(body).reason === reason);
const taken = async () => assert.equal((await session.api('POST', '/api/room/control/take', undefined, robot)).status, 204);

test('a person sees what is asked, takes over, does it, and says so; the program hears what has changed', async () => {
  const page = await open();
  // Browsers keep a page silent until it is used.
  await page.mouse.click(640, 400);
  await taken();
  pages.reports.length = 0;
  await session.api('POST', '/v1/desktop/open', { target: pages.url('door.html') }, robot);
  await until('the door', () => pages.reports.some(({ type, url }) => type === 'ready' && !url.includes('?')));
  const asking = ask({ reason: 'Please sign in <b>here</b>.', timeoutSeconds: 120 });
  await banner(page, 'Please sign in <b>here</b>.').waitFor();
  assert.match(await page.getByRole('alert').textContent(), /^Robot asks for help: Please sign in/);
  await until('the title', async () => await page.title() === 'Robot asks for help');
  await until('the sound', () => page.evaluate(() => window.tones === 2));

  const { body: call, signature, path } = await until('the webhook', () => told('Please sign in <b>here</b>.')[0]);
  const [, time, hash] = /^t=(\d+),v1=([0-9a-f]{64})$/.exec(signature);
  assert.equal(hash, createHmac('sha256', SECRET).update(`${time}.${call}`).digest('hex'));
  assert.ok(Math.abs(Number(time) - Date.now() / 1000) < 600);
  assert.equal(path, '/hook?x=1');
  const hook = JSON.parse(call);
  assert.deepEqual([hook.event, hook.by, hook.reason, hook.timeoutSeconds, hook.link, hook.session], ['ask', 'Robot', 'Please sign in <b>here</b>.', 120, `${session.origin}/`, null]);

  await page.screenshot({ path: join(OUT, 'ask-light.png') });
  await page.getByRole('button', { name: 'Take over' }).click();
  await page.getByRole('button', { name: 'Done' }).waitFor();
  assert.ok(!(await hostIs(robot)));
  await page.mouse.click(640, 300);
  await until('the person goes in', () => pages.reports.some(({ type, url }) => type === 'ready' && url.endsWith('?in')));
  await page.getByRole('button', { name: 'Add a note' }).click();
  await page.getByLabel('Note for the program').fill('all set');
  await page.screenshot({ path: join(OUT, 'ask-taken.png') });
  await page.getByRole('button', { name: 'Done' }).click();
  const { status, body } = await asking;
  assert.equal(status, 200);
  assert.deepEqual([body.outcome, body.note, body.changed.url, body.changed.title, body.changed.screen], [
    'done', 'all set', { before: pages.url('door.html'), after: pages.url('door.html?in') }, { before: 'Door', after: 'Inside' }, true,
  ]);
  assert.match(body.by, /^Guest/);
  assert.ok(body.waitedMs > 0);
  // Whoever asked had control, and has it again.
  assert.ok(await hostIs(robot));
  await banner(page, 'sign in').waitFor({ state: 'detached' });
  await until('the title is as before', async () => await page.title() !== 'Robot asks for help');
});

test('who comes late sees it, in the dark and on a phone too; who cannot, says why; who watches only sees it', async () => {
  const asking = ask({ reason: 'Solve the puzzle, please: it wants to know whether I am a person, and I am not one.', timeoutSeconds: 120, webhook: false });
  const watcher = await open({}, { link: { view_only: true } });
  await banner(watcher, 'Solve the puzzle').waitFor();
  assert.equal(await watcher.getByRole('button', { name: 'Take over' }).count(), 0);
  const dark = await open({ colorScheme: 'dark' });
  await banner(dark, 'Solve the puzzle').waitFor();
  await dark.screenshot({ path: join(OUT, 'ask-dark.png') });
  const phone = await open({ viewport: { width: 390, height: 780 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true });
  await banner(phone, 'Solve the puzzle').waitFor();
  await phone.screenshot({ path: join(OUT, 'ask-phone.png') });
  await phone.getByRole('button', { name: 'Add a note' }).tap();
  await phone.getByLabel('Note for the program').fill('No puzzles today.');
  await phone.screenshot({ path: join(OUT, 'ask-phone-note.png') });
  await phone.getByRole('button', { name: 'I can’t' }).tap();
  const { body } = await asking;
  assert.deepEqual([body.outcome, body.note], ['declined', 'No puzzles today.']);
  for (const page of [watcher, dark, phone]) await banner(page, 'Solve the puzzle').waitFor({ state: 'detached' });
  // It can be silent.
  await dark.mouse.click(640, 400);
  await dark.mouse.move(640, 4);
  await dark.getByRole('button', { name: 'Settings' }).click();
  await dark.getByRole('switch', { name: 'Sound when a program asks for help' }).uncheck();
  const before = await dark.evaluate(() => window.tones);
  const { body: second } = await ask({ reason: 'Quietly', waitSeconds: 0 });
  await banner(dark, 'Quietly').waitFor();
  assert.equal(await dark.evaluate(() => window.tones), before);
  assert.equal((await session.api('DELETE', `/v1/ask/${second.id}`, undefined, robot)).status, 204);
});

test('it ends by itself, is withdrawn, survives a lost connection, and wakes a frozen session', async () => {
  const page = await open();
  const late = await ask({ reason: 'Too late', timeoutSeconds: 1 });
  assert.equal(late.body.outcome, 'timeout');
  await banner(page, 'Too late').waitFor({ state: 'detached' });

  const withdrawn = ask({ reason: 'Never mind' });
  await banner(page, 'Never mind').waitFor();
  const { body: { asks: [{ id }] } } = await session.api('GET', '/v1/ask', undefined, robot);
  assert.equal((await session.api('DELETE', `/v1/ask/${id}`, undefined, robot)).status, 204);
  assert.equal((await withdrawn).body.outcome, 'cancelled');
  await banner(page, 'Never mind').waitFor({ state: 'detached' });
  assert.equal((await session.api('DELETE', `/v1/ask/${id}`, undefined, robot)).status, 404);

  // The connection is lost; the question is not, nor its answer.
  const cut = new AbortController();
  const response = await fetch(`${session.origin}/v1/ask`, {
    method: 'POST', signal: cut.signal, headers: { authorization: `Bearer ${robot}`, 'content-type': 'application/json' }, body: JSON.stringify({ reason: 'Hold the line' }),
  });
  const kept = response.headers.get('x-ask-id');
  cut.abort();
  await banner(page, 'Hold the line').waitFor();
  const read = (query = '', token = robot) => session.api('GET', `/v1/ask/${kept}${query}`, undefined, token);
  assert.deepEqual((await read()).body, { id: kept, outcome: 'open' });
  const waiting = read('?waitSeconds=120');
  await page.getByRole('button', { name: 'I can’t' }).click();
  assert.equal((await waiting).body.outcome, 'declined');
  assert.equal((await read()).body.outcome, 'declined');
  const stranger = (await session.login('Other', false)).token;
  assert.equal((await read('', stranger)).status, 404);

  assert.equal((await session.api('POST', '/api/glasshouse/freeze', undefined, robot)).status, 204);
  await page.getByText('The session is asleep').waitFor();
  const woken = await ask({ reason: 'Wake up', waitSeconds: 0 });
  assert.equal(woken.body.outcome, 'open');
  await page.getByText('The session is asleep').waitFor({ state: 'detached' });
});

test('questions are bounded, and asked and answered by those who may control', async () => {
  for (const [body, words] of [
    [{}, /reason/], [{ reason: '  ' }, /what a person/], [{ reason: 'x'.repeat(501) }, /at most 500/], [{ reason: 'x', timeoutSeconds: 0 }, /from 1 to 3600/],
    [{ reason: 'x', timeoutSeconds: 3601 }, /from 1 to 3600/], [{ reason: 'x', webhook: 'http://127.0.0.1/' }, /webhook|boolean/], [{ reason: 'x', url: 'y' }, /unknown field/],
  ]) {
    const refused = await ask(body);
    assert.equal(refused.status, 400, JSON.stringify(body));
    assert.match(refused.body.detail, words);
  }
  assert.equal((await ask({ reason: 'x' }, null)).status, 401);
  const { body: link } = await session.api('POST', '/api/glasshouse/links', { view_only: true }, robot);
  const watcher = (await session.api('POST', '/api/login', { username: 'W', password: link.token })).body.token;
  assert.equal((await ask({ reason: 'x' }, watcher)).status, 403);

  const first = (await ask({ reason: 'one', waitSeconds: 0 })).body.id;
  await ask({ reason: 'two', waitSeconds: 0 });
  assert.equal((await ask({ reason: 'three', waitSeconds: 0 })).status, 429);
  const answer = (body, token) => session.api('POST', `/v1/ask/${first}/answer`, body, token);
  assert.equal((await answer({ outcome: 'done' }, watcher)).status, 403);
  assert.equal((await answer({ outcome: 'done' }, robot)).status, 403);
  const person = (await session.login('Person', false)).token;
  assert.equal((await answer({ outcome: 'perhaps' }, person)).status, 400);
  assert.equal((await answer({ outcome: 'done', note: 'x'.repeat(1001) }, person)).status, 400);
  // A rule of the room holds here too.
  await session.api('POST', '/api/room/settings', { locked_controls: true }, robot);
  await session.api('POST', '/api/room/control/reset', undefined, robot);
  assert.equal((await session.api('POST', `/v1/ask/${first}/take`, undefined, person)).status, 403);
  await session.api('POST', '/api/room/settings', { locked_controls: false }, robot);
  assert.equal((await session.api('POST', `/v1/ask/${first}/take`, undefined, person)).status, 204);
  assert.ok(await hostIs(person));
  assert.equal((await answer({ outcome: 'done' }, person)).status, 204);
  assert.ok(!(await hostIs(person)));
  assert.equal((await answer({ outcome: 'done' }, person)).status, 404);
  assert.equal((await session.api('GET', `/v1/ask/${first}?waitSeconds=60`, undefined, robot)).body.by, 'Person');
});

test('a webhook that fails is tried again, and never holds anybody up; without a secret there is none', async () => {
  hooks.fails.add('again');
  const { body } = await ask({ reason: 'again', waitSeconds: 0 });
  await until('it is told again', () => told('again').length === 2);
  assert.deepEqual(told('again').map((call) => JSON.parse(call.body).id), [body.id, body.id]);
  const without = await runToEnd(['session', '--listen', '127.0.0.1:0', '--no-sound', '--app', 'none', '--ask-webhook', hooks.url], { env: { GLASSHOUSE_ASK_WEBHOOK_SECRET: '' } });
  assert.notEqual(without.code, 0);
  assert.match(without.err, /GLASSHOUSE_ASK_WEBHOOK_SECRET/);
});

test('ask_human: a model waits with progress, and a person answers; cancelled, it is withdrawn', async () => {
  const mcp = await overHttp(`${session.origin}/`, robot);
  try {
    const page = await open();
    const progress = [];
    const asking = mcp.call('ask_human', { reason: 'Which one, left or right?', timeout_seconds: 120 }, { onprogress: (one) => progress.push(one) });
    await banner(page, 'Which one').waitFor();
    await until('progress', () => progress.length > 0);
    assert.deepEqual([progress[0].total, progress[0].message], [120, 'Waiting for a person']);
    await page.getByRole('button', { name: 'Add a note' }).click();
    await page.getByLabel('Note for the program').fill('Left.');
    await page.getByRole('button', { name: 'I can’t' }).click();
    assert.match((await asking).text, /^Guest \d+ cannot do it, or will not\. Their note: “Left\.”/);

    const cancel = new AbortController();
    const cancelled = mcp.call('ask_human', { reason: 'Cancel me' }, { signal: cancel.signal });
    await banner(page, 'Cancel me').waitFor();
    cancel.abort();
    await assert.rejects(cancelled);
    await banner(page, 'Cancel me').waitFor({ state: 'detached' });
  } finally {
    await mcp.close();
  }
});

test('through a server', async () => {
  const fleet = await Fleet.start([], { session: ['--ask-webhook', hooks.url], env: { GLASSHOUSE_ASK_WEBHOOK_SECRET: SECRET } });
  try {
    const { id } = await fleet.create({ app: 'none', sound: false });
    const call = async (method, path, body, token) => {
      const response = await fetch(`${fleet.url}s/${id}/${path}`, { method, headers: { 'content-type': 'application/json', ...(token ? { authorization: `Bearer ${token}` } : {}) }, body: body && JSON.stringify(body) });
      const text = await response.text();
      return text ? JSON.parse(text) : null;
    };
    const login = async (username) => {
      const { body: link } = await fleet.api('POST', `api/v1/sessions/${id}/links`, { admin: true });
      return (await call('POST', 'api/login', { username, password: link.token })).token;
    };
    const [program, person] = [await login('Program'), await login('Person')];
    const asking = call('POST', 'v1/ask', { reason: 'From afar' }, program);
    const hook = JSON.parse((await until('the webhook', () => told('From afar')[0])).body);
    assert.deepEqual([hook.session, hook.link], [id, `/s/${id}/`]);
    await call('POST', `v1/ask/${hook.id}/answer`, { outcome: 'done' }, person);
    const done = await asking;
    assert.deepEqual([done.outcome, done.by, done.changed.url], ['done', 'Person', { before: null, after: null }]);
  } finally {
    await fleet.stop();
  }
});
