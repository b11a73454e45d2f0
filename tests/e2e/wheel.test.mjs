// People and programs share the wheel: programs are seen, wait for people or are told, and can be removed.

import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { chromium } from 'playwright-core';
import { SandboxAgent } from 'sandbox-agent';
import WebSocket from 'ws';
import { servePages } from './lib/pages.mjs';
import { ROOT, Session } from './lib/session.mjs';
import { joinSession, launch } from './lib/viewer.mjs';
import { PATIENCE, until, within } from './lib/wait.mjs';

const OUT = join(ROOT, 'tests', 'out');
mkdirSync(OUT, { recursive: true });

let pages, session, browser, admin;
const open = new Set();
before(async () => {
  pages = await servePages();
  session = await Session.start(['--no-sound', '--url', pages.url('input.html')]);
  browser = await launch();
  admin = (await session.login('Helper')).token;
  await until('the page has focus', () => pages.reports.some(({ type }) => type === 'ready'));
});
afterEach(async () => {
  for (const socket of open) socket.terminate();
  open.clear();
  await Promise.all(browser.contexts().map((context) => context.close()));
  await mode('together');
  await session.api('POST', '/api/room/control/reset', undefined, admin);
});
after(async () => {
  await browser?.close();
  await session?.stop();
  await pages?.stop();
});

async function mode(mode) {
  const { status, body } = await session.api('POST', '/api/glasshouse/programs', { mode }, admin);
  assert.equal(status, 204, JSON.stringify(body));
}

/** A person with control, as a bare viewer. */
async function person(name = 'Ann') {
  const viewer = await joinSession(browser, session, { name, watch: false });
  await control(viewer);
  return viewer;
}
const control = async (viewer) => {
  await viewer.do((client) => client.send('control/request'));
  await viewer.until('has control', (client) => client.host === client.id);
};
const release = (viewer) => viewer.do((client) => client.send('control/release'));

/** A bare CDP client with a session of the first page; `words` go into its address. */
async function cdp(words = '', token = new URL(session.cdp).searchParams.get('token')) {
  const socket = new WebSocket(`${session.origin.replace('http', 'ws')}/cdp?token=${token}${words}`, { perMessageDeflate: false, handshakeTimeout: PATIENCE });
  open.add(socket);
  let next = 0;
  const waiting = new Map();
  const client = { socket, answers: [], closed: new Promise((done) => socket.on('close', (code, reason) => done({ code, reason: String(reason) }))) };
  socket.on('message', (data) => {
    const message = JSON.parse(data);
    if (message.id === undefined) return;
    client.answers.push(message.id);
    waiting.get(message.id)?.(message);
  });
  await new Promise((resolve, reject) => {
    socket.on('open', resolve);
    socket.on('error', reject);
    socket.on('unexpected-response', (_, response) => {
      let text = '';
      response.on('data', (bytes) => { text += bytes; }).on('end', () => reject(Object.assign(new Error(text), { status: response.statusCode })));
    });
  });
  client.call = (method, params = {}, sessionId = client.session) => {
    const id = ++next;
    const answer = new Promise((done) => waiting.set(id, done));
    socket.send(JSON.stringify({ id, method, params, sessionId }));
    return answer;
  };
  const { result } = await client.call('Target.getTargets');
  const { targetId } = result.targetInfos.find(({ type }) => type === 'page');
  client.session = (await client.call('Target.attachToTarget', { targetId, flatten: true })).result.sessionId;
  return client;
}
const click = (x, y) => ({ type: 'mousePressed', x, y, button: 'left', clickCount: 1 });

/** A call of computer use. */
const use = async (path, body, headers = {}) => {
  const response = await fetch(`${session.origin}/v1/desktop/${path}`, {
    method: body ? 'POST' : 'GET', body: body && JSON.stringify(body),
    headers: { authorization: `Bearer ${admin}`, ...(body ? { 'content-type': 'application/json' } : {}), ...headers },
  });
  return { status: response.status, body: await response.json() };
};
const programs = async () => (await session.api('GET', '/api/glasshouse/programs', undefined, admin)).body.programs;
const named = async (name) => {
  const { body } = await session.api('GET', '/api/sessions', undefined, admin);
  return body.find(({ profile }) => profile.name === name);
};
const downs = () => pages.reports.filter(({ type }) => type === 'mousedown').length;

test('a program is a member that people see point, click and type, by name, in words, and in the list', async () => {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
  const page = await context.newPage();
  await page.goto(`${session.origin}/#token=${await session.link()}`);
  await until('the picture', () => page.evaluate(() => window.glasshouse?.state === 'live' && window.glasshouse.video?.frames > 0));
  await page.evaluate(() => {
    window.seen = { ripples: 0, typing: 0 };
    new MutationObserver((changes) => {
      for (const { addedNodes, target } of changes) {
        for (const node of addedNodes) if (node.className === 'gh-ripple') window.seen.ripples += 1;
        if (target.classList?.contains('gh-typing')) window.seen.typing += 1;
      }
    }).observe(document.querySelector('.gh-pointers'), { childList: true, subtree: true, attributes: true });
  });
  const watcher = await joinSession(browser, session, { name: 'watcher', watch: false });
  const playwright = await chromium.connectOverCDP(`${session.cdp}&name=Shop%20bot`, { timeout: PATIENCE });
  try {
    const robot = playwright.contexts()[0].pages()[0];
    await robot.mouse.move(300, 200);
    const name = () => page.evaluate(() => [...document.querySelectorAll('.gh-pointer .gh-name')].map(({ textContent }) => textContent));
    await until('its name is at its pointer', async () => (await name()).includes('Shop bot'));
    await until('words for screen readers', () => page.evaluate(() => [...document.querySelectorAll('[aria-live=polite]')].some(({ textContent }) => textContent === 'Shop bot is acting.')));

    // Where people see it is where the page has it.
    const { id } = await named('Shop bot');
    const last = () => watcher.do((client, id) => client.events.filter(({ event }) => event === 'glasshouse/cursors').flatMap(({ payload }) => payload).findLast((one) => one.id === id), id);
    const { x, y } = await until('its place', async () => {
      await robot.mouse.move(310, 210);
      await robot.mouse.move(300, 200);
      const place = await last();
      // Of the second move, and below the browser's bar.
      return place && place.x < 305 && place.y > 205 && place;
    });
    // A little beside it, where the program has never been: reports of its own moves may still be on their way.
    assert.equal((await use('mouse/move', { x: x + 27, y: y + 15 })).status, 200);
    const isThere = (report) => report.type === 'mousemove' && Math.abs(report.x - 327) <= 1 && Math.abs(report.y - 215) <= 1;
    await until(`the page sees the mouse beside ${x},${y}`, () => pages.reports.some(isThere));

    await robot.mouse.click(300, 120);
    await until('a ripple', () => page.evaluate(() => window.seen.ripples > 0));
    await robot.keyboard.type('hello');
    await until('a mark of typing', () => page.evaluate(() => window.seen.typing > 0));
    await page.mouse.move(640, 4);
    await page.screenshot({ path: join(OUT, 'wheel-acting.png') });

    await page.getByRole('button', { name: 'People' }).click();
    const entry = page.locator('.members li', { hasText: 'Shop bot' });
    assert.match(await entry.textContent(), /program · DevTools/);
    assert.equal(await entry.locator('.robot svg').count(), 1, 'with an icon');
    // Computer use is one, too, under what it calls itself.
    const agent = await SandboxAgent.connect({ baseUrl: session.origin, token: admin, headers: { 'X-Glasshouse-Name': 'Desk agent' } });
    await agent.clickDesktopMouse?.({ x: 500, y: 400 });
    await until('the second one', () => page.locator('.members li', { hasText: 'Desk agent' }).count());
    await agent.dispose?.();
    await page.screenshot({ path: join(OUT, 'wheel-people-light.png') });
    await page.emulateMedia({ colorScheme: 'dark' });
    await page.screenshot({ path: join(OUT, 'wheel-people-dark.png') });
    await page.setViewportSize({ width: 390, height: 844 });
    await page.screenshot({ path: join(OUT, 'wheel-people-phone.png') });
  } finally {
    await playwright.close();
  }
  await until('it is gone', async () => !(await named('Shop bot')));
  await until('its pointer, too', () => page.evaluate(() => ![...document.querySelectorAll('.gh-name')].some(({ textContent }) => textContent === 'Shop bot')));
});

test('person first: input and navigation of CDP wait in order until control is released, others go on', async () => {
  await mode('person-first');
  const ann = await person();
  const [robot, other] = [await cdp('&name=Waiter'), await cdp('&name=Reader')];
  pages.reports.length = 0;
  const all = [
    robot.call('Input.dispatchMouseEvent', { type: 'mouseMoved', x: 200, y: 150 }), robot.call('Input.dispatchMouseEvent', click(200, 150)),
    robot.call('Input.dispatchMouseEvent', { ...click(200, 150), type: 'mouseReleased' }), robot.call('Input.insertText', { text: 'a' }),
    robot.call('Runtime.evaluate', { expression: '1' }), robot.call('Input.insertText', { text: 'b' }),
  ];
  const before = robot.answers.length;
  for (let i = 0; i < 20; i++) assert.ok((await other.call('Runtime.evaluate', { expression: '1' })).result, 'another client reads on');
  assert.equal(robot.answers.length, before, 'all that it sent after waits with it');
  assert.equal(downs(), 0);
  await release(ann);
  for (const answer of await Promise.all(all)) assert.ok(answer.result, JSON.stringify(answer));
  // Of answers, Chromium gives some sooner than those before them.
  await until('the text in order', () => pages.reports.some(({ type, text }) => type === 'text' && text?.endsWith('ab')));
  assert.equal(downs(), 1);

  // A change of the mode ends the wait as well, and the connection's end.
  await control(ann);
  const reload = robot.call('Page.reload');
  await mode('together');
  assert.ok((await reload).result);
  await mode('person-first');
  void robot.call('Page.reload');
  robot.socket.close();
  await until('it has left', async () => !(await named('Waiter')));
});

test('person first: who chose not to wait is told who has control, over CDP, HTTP and computer use', async () => {
  await mode('person-first');
  const ann = await person('Ann B.');
  const made = await session.api('POST', '/cdp/tokens', { patience: 0 }, new URL(session.cdp).searchParams.get('token'));
  assert.equal(made.status, 200);
  for (const client of [await cdp('&patience=0'), await cdp('', made.body.token)]) {
    for (const [method, params] of [['Input.dispatchMouseEvent', click(1, 1)], ['Page.navigate', { url: 'about:blank' }], ['Target.createTarget', { url: 'about:blank' }]]) {
      const { id, error, sessionId } = await client.call(method, params);
      assert.ok(id && sessionId === client.session);
      assert.equal(error?.code, -32000);
      assert.match(error.message, new RegExp(`^${method} is not possible now: Ann B\\. has control`));
    }
    assert.ok((await client.call('Runtime.evaluate', { expression: '1' })).result, 'reading goes on');
  }
  const brief = await cdp('&patience=1');
  assert.match((await brief.call('Page.reload')).error.message, /Ann B\. has control, and did not let go of it within 1 s/);
  const token = new URL(session.cdp).searchParams.get('token');
  const locked = await fetch(`${session.origin}/json/new?token=${made.body.token}&about:blank`, { method: 'PUT' });
  assert.equal(locked.status, 423);
  await assert.rejects(cdp('&patience=601', token), ({ status }) => status === 400);

  for (const [path, body] of [['mouse/click', { x: 5, y: 5 }], ['wait/turn', {}]]) {
    const refused = await use(path, body, { 'x-glasshouse-patience': '0' });
    assert.equal(refused.status, 423, path);
    assert.match(refused.body.detail, /^Ann B\. has control/);
  }
  assert.equal((await use('display/info')).status, 200);
  const waits = use('keyboard/type', { text: 'x' });
  const also = use('mouse/move', { x: 700, y: 500 }, { 'x-glasshouse-name': 'Another' });
  await until('both are here', async () => (await programs()).filter(({ way }) => way === 'computer').length >= 2);
  await release(ann);
  assert.deepEqual([(await waits).status, (await also).status], [200, 200]);
});

test('watch only: nothing acts, reading goes on', async () => {
  await mode('watch-only');
  const client = await cdp();
  for (const [method, params] of [['Input.insertText', { text: 'x' }], ['Page.reload', {}]]) {
    assert.match((await client.call(method, params)).error.message, /programs only watch here now/);
  }
  assert.ok((await client.call('Runtime.evaluate', { expression: '1' })).result);
  assert.ok((await client.call('Page.captureScreenshot')).result);
  for (const [path, body] of [['mouse/move', { x: 1, y: 1 }], ['keyboard/press', { key: 'a' }], ['open', { target: 'about:blank' }]]) {
    const { status, body: problem } = await use(path, body);
    assert.equal(status, 403, path);
    assert.match(problem.detail, /only watch/);
  }
  const started = await session.api('POST', '/v1/processes/run', { command: 'true' }, admin);
  assert.equal(started.status, 403, 'nor is anything started that could act');
  assert.equal((await use('display/info')).status, 200);
  for (const wrong of [{ mode: 'alone' }, {}]) assert.equal((await session.api('POST', '/api/glasshouse/programs', wrong, admin)).status, 400);
  const guest = (await session.login('guest', false)).token;
  assert.equal((await session.api('POST', '/api/glasshouse/programs', { mode: 'together' }, guest)).status, 403, 'for admins');
});

test('a program that an admin removes is out, and stays out for a while', async () => {
  const client = await cdp('&name=Rude');
  const { id } = await named('Rude');
  assert.equal((await session.api('DELETE', `/api/sessions/${id}`, undefined, admin)).status, 204);
  assert.deepEqual(await within('it is closed', client.closed), { code: 1008, reason: 'an admin of the session removed this program' });
  await assert.rejects(cdp('&name=Rude'), ({ status, message }) => status === 403 && /removed this program/.test(message));

  const headers = { 'x-glasshouse-name': 'Rude agent' };
  assert.equal((await use('mouse/move', { x: 9, y: 9 }, headers)).status, 200);
  const agent = await named('Rude agent');
  assert.equal((await session.api('DELETE', `/api/sessions/${agent.id}`, undefined, admin)).status, 204);
  for (const path of ['mouse/position', 'display/info']) assert.equal((await use(path, undefined, headers)).status, 403);
  assert.equal((await use('display/info')).status, 200, 'others are not');
});
