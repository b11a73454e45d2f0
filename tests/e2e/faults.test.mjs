// What goes wrong is one clear line and a code, or a state that people see; never a hang, never something left behind.

import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { isAlive } from './lib/process.mjs';
import { Session, runToEnd } from './lib/session.mjs';
import { joinSession, launch } from './lib/viewer.mjs';
import { until } from './lib/wait.mjs';

const fails = ({ code, signal, err }, expected) => {
  assert.equal(signal, null, err);
  assert.notEqual(code, 0, err);
  assert.match(err, expected);
  return err.trim().split('\n').filter((line) => line.startsWith('error:'));
};

test('an unknown flag', async () => fails(await runToEnd(['session', '--no-such-flag']), /error: .*--no-such-flag/));

test('a taken port', async () => {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const seen = await runToEnd(['session', '--listen', `127.0.0.1:${server.address().port}`]);
  server.close();
  assert.equal(fails(seen, /cannot listen on .*--listen/).length, 1);
});

// The program looks into /usr/bin whatever the PATH says, so a mount namespace hides the X server there.
test('a missing X server', { skip: process.getuid() !== 0 && 'only root can hide a program' }, async () => {
  const hide = 'server=$(readlink -f /usr/bin/Xvnc); mount --bind /dev/null "$server" && exec "$@"';
  const seen = await runToEnd(['session', '--listen', '127.0.0.1:0'], { wrap: ['unshare', '--mount', 'sh', '-c', hide, 'sh'] });
  assert.equal(fails(seen, /Xvnc.*tigervnc-standalone-server/).length, 1);
});

test('an app that does not exist', async () => fails(await runToEnd(['session', '--listen', '127.0.0.1:0', '--', 'no-such-program']), /no-such-program/));

test('a display that does not exist', async () => fails(await runToEnd(['session', '--listen', '127.0.0.1:0', '--display', ':4242']), /4242/));

test('a display that already runs, and another program than a browser', async (t) => {
  const outer = await Session.start(['--screen', '800x600', '--', 'xterm', '-fullscreen']);
  t.after(() => outer.stop());
  const inner = await Session.start(['--display', outer.display, '--no-sound'], { env: { XAUTHORITY: outer.xauthority } });
  assert.equal(inner.display, outer.display);
  const browser = await launch();
  t.after(() => browser.close());
  const viewer = await joinSession(browser, inner);
  assert.deepEqual(await viewer.do((client) => [client.video.videoWidth, client.video.videoHeight]), [800, 600]);
  await inner.stop();
  assert.ok(isAlive(outer.processes()[0]), 'the display outlives who only showed it');
});

test('a command that ends takes its session with it', async () => {
  const seen = await runToEnd(['session', '--listen', '127.0.0.1:0', '--json', '--', 'true']);
  assert.equal(seen.signal, null);
  assert.match(seen.err, /ended/);
});

test('kill -9 leaves no process', async () => {
  const session = await Session.start([]);
  const all = await until('the browser runs', () => {
    const all = session.processes();
    return all.length > 6 && all;
  });
  await session.stop('SIGKILL');
  await until('nothing of it runs', () => all.every((one) => !isAlive(one)));
});

test('a killed X server comes back, and members see it', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'glasshouse-colour-'));
  t.after(() => rmSync(directory, { recursive: true }));
  chmodSync(directory, 0o755);
  const app = join(directory, 'app');
  const paint = (color) => writeFileSync(app, `#!/bin/sh\nexec xterm -fullscreen -bg ${color}\n`, { mode: 0o755 });
  paint('red');
  const session = await Session.start(['--on-exit', 'restart', '--', app]);
  t.after(() => session.stop());
  const browser = await launch();
  t.after(() => browser.close());
  const viewer = await joinSession(browser, session);
  const red = `(client) => { const [[r, g, b]] = client.colors([[640, 500]]); return r > 200 && g < 60 && b < 60; }`;
  await viewer.until('the red terminal', red);
  const server = session.processes().find(({ name }) => /^X(tiger)?vnc$/.test(name));
  paint('rgb:0/ff/0');
  process.kill(server.pid, 'SIGKILL');
  await viewer.until('the restart', (client) => client.events.some((one) => one.event === 'glasshouse/program'
    && one.payload.name === 'x-server' && one.payload.state === 'restarting'));
  await viewer.until('the X server again', (client) => client.events.findLast((one) => one.event === 'glasshouse/program'
    && one.payload.name === 'x-server')?.payload.state === 'running');
  // The last picture of the old screen is red as well, so the new one has another colour.
  await viewer.until('the green terminal', `(client) => { const [[r, g, b]] = client.colors([[640, 500]]); return r < 60 && g > 200 && b < 60; }`);
});
