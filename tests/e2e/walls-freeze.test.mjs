// A frozen session costs nothing, keeps its last picture, and wakes for whoever wants something from it.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { Session } from './lib/session.mjs';
import { joinSession, launch } from './lib/viewer.mjs';
import { until } from './lib/wait.mjs';

/** Changes all the time, so that it costs something while it is awake. */
const BUSY = 'data:text/html,<title>busy</title><style>@keyframes a{to{background:red}}body{animation:a 1s infinite alternate}</style>';

let browser, session, viewer, token;
before(async () => {
  browser = await launch();
  session = await Session.start(['--url', BUSY, '--app-flag=--kiosk']);
  viewer = await joinSession(browser, session, { name: 'watcher' });
  ({ token } = await session.login('keeper'));
});
after(async () => { await browser?.close(); await session?.stop(); });

const namespace = (pid) => { try { return readFileSync(`/proc/${pid}/cgroup`, 'latin1') && readFileSync(`/proc/${pid}/status`, 'latin1'); } catch { return ''; } };
/** Processes within the walls: they have another number there. */
const within = () => session.processes().filter(({ pid }) => /^NSpid:\s+\d+\s+\d+/m.test(namespace(pid)));
/** Clock ticks that processes have used, by number; none for one that has ended, as some of Chromium's do after a moment. */
const ticks = (processes) => processes.map(({ pid }) => {
  let text;
  try { text = readFileSync(`/proc/${pid}/stat`, 'latin1'); } catch { return 0; }
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return Number(fields[11]) + Number(fields[12]);
});
const sum = (numbers) => numbers.reduce((all, one) => all + one, 0);
const post = async (path, as = token) => (await session.api('POST', `/api/glasshouse/${path}`, undefined, as)).status;
const isTold = (asleep) => viewer.until(`is told: asleep ${asleep}`, `(client) => client.events.findLast(({ event }) => event === 'glasshouse/asleep')?.payload.asleep === ${asleep}`);
const isAwake = async () => {
  await isTold(false);
  const seen = within(), before = ticks(seen);
  await until('programs run', () => ticks(seen).some((now, index) => now > before[index]));
};

test('while frozen no program runs, and the last picture stays', async () => {
  assert.equal(await post('freeze'), 204);
  await isTold(true);
  const seen = within();
  assert.ok(seen.length > 6, JSON.stringify(seen));
  // One may still be leaving its processor, on a busy machine.
  let before = ticks(seen), held = Date.now();
  await until('all stand still', () => {
    const now = ticks(seen);
    if (now.join() !== before.join()) [before, held] = [now, Date.now()];
    return Date.now() - held > 500;
  });
  const ours = ticks([session]);
  const start = Date.now();
  await until('five seconds pass', () => Date.now() - start > 5000);
  assert.deepEqual(ticks(seen), before);
  // 100 ticks are a second: nothing of ours goes round in circles either. The pings of the connection are not nothing.
  const used = sum(ticks([session])) - sum(ours);
  assert.ok(used < 50, `our process has used ${used} ticks`);
  console.log(`frozen for 5 s: 0 ticks within, ${used} ticks of the server`);
  assert.deepEqual(await viewer.do((client) => [client.video.videoWidth, client.video.videoHeight, client.isReady]), [1280, 720, true]);
  assert.equal(await post('freeze'), 204, 'once more changes nothing');
  assert.equal((await session.api('GET', '/healthz')).status, 200);
  assert.equal(within().length, seen.length);
  assert.equal(await post('thaw'), 204);
  await isAwake();
});

test('the page says that it is asleep, and a click wakes it', async () => {
  const { body } = await session.api('POST', '/api/glasshouse/links', { admin: true }, token);
  const page = await (await browser.newContext()).newPage();
  await page.goto(`${session.origin}/#token=${body.token}`);
  await until('it is live', () => page.evaluate(() => window.glasshouse?.state === 'live' && window.glasshouse.video?.frames > 0));
  assert.equal(await post('freeze'), 204);
  const told = page.getByText('The session is asleep. Click or type to wake it.');
  await told.waitFor();
  await page.mouse.click(400, 300);
  await told.waitFor({ state: 'hidden' });
  await isAwake();
  await page.context().close();
});

test('input wakes it', async () => {
  await viewer.do((client) => client.send('control/request'));
  await viewer.until('is host', (client) => client.host === client.id);
  assert.equal(await post('freeze'), 204);
  await isTold(true);
  await viewer.do((client) => client.send('control/move', { x: 100, y: 100 }));
  await isAwake();
});

test('a new viewer wakes it, and sees it', async () => {
  assert.equal(await post('freeze'), 204);
  await isTold(true);
  const second = await joinSession(browser, session, { name: 'second' });
  await isAwake();
  await second.close();
});

test('who asks it something wakes it: screenshot, clipboard', async () => {
  for (const path of ['/api/room/screen/shot.jpg', '/api/room/keyboard/modifiers']) {
    assert.equal(await post('freeze'), 204);
    await isTold(true);
    assert.equal((await session.api('GET', path, undefined, token)).status, 200, path);
    await isAwake();
  }
});

test('SIGUSR2 freezes it and lets it go on', async () => {
  process.kill(session.pid, 'SIGUSR2');
  await isTold(true);
  process.kill(session.pid, 'SIGUSR2');
  await isAwake();
});

test('only admins may, and only where there are walls', async (t) => {
  const guest = await session.login('guest', false);
  assert.equal(await post('freeze', guest.token), 403);
  assert.equal(await post('thaw', guest.token), 403);
  const open = await Session.start(['--isolation', 'none', '--app', 'none', '--no-sound']);
  t.after(() => open.stop());
  const { token } = await open.login('admin');
  const { status, body } = await open.api('POST', '/api/glasshouse/freeze', undefined, token);
  assert.deepEqual([status, /--isolation=walls/.test(body.message)], [422, true], JSON.stringify(body));
});

for (const signal of ['SIGTERM', 'SIGKILL']) {
  test(`a frozen session ends by ${signal}`, async () => {
    const frozen = await Session.start(['--app', 'none', '--no-sound']);
    const { token } = await frozen.login('admin');
    assert.equal((await frozen.api('POST', '/api/glasshouse/freeze', undefined, token)).status, 204);
    await frozen.stop(signal);
  });
}
