// The room between members that only speak REST and WebSocket, and what crosses the X server's border.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { after, before, test } from 'node:test';
import { Session } from './lib/session.mjs';
import { joinSession, launch } from './lib/viewer.mjs';
import { until } from './lib/wait.mjs';
import { RawSocket } from './raw-socket.mjs';

let session, browser, admin, guest;
const member = async (name, isAdmin) => {
  const { id, token } = await session.login(name, isAdmin);
  const socket = await RawSocket.open(session, token, { query: '&glasshouse=1' });
  return Object.assign(socket, { id, token, call: (method, path, body) => session.api(method, path, body, token) });
};
before(async () => {
  session = await Session.start(['--app', 'none', '--no-sound']);
  browser = await launch();
  admin = await member('admin', true);
  guest = await member('guest', false);
});
after(async () => {
  await browser?.close();
  await session?.stop();
});

/** What everybody hears of control after `action`: who caused it, and who is host. */
async function control(action, by, host) {
  const from = [admin, guest].map(({ events }) => events.length);
  await action();
  for (const [i, one] of [admin, guest].entries()) {
    const heard = await one.event('control/host', () => true, from[i]);
    assert.deepEqual(heard, host ? { id: by.id, has_host: true, host_id: host.id } : { id: by.id, has_host: false });
  }
}
const fine = async (answer, status = 204) => assert.equal((await answer).status, status);

test('control: request, give, take, release, reset, with the ids that neko gives', async () => {
  await fine(admin.call('POST', '/api/room/settings', { implicit_hosting: false }));
  await control(() => fine(guest.call('POST', '/api/room/control/request')), guest, guest);
  // The host is told who else wants it.
  const from = guest.events.length;
  await fine(admin.call('POST', '/api/room/control/request'), 202);
  assert.deepEqual(await guest.event('control/request', () => true, from), { id: admin.id });
  await control(() => fine(guest.call('POST', `/api/room/control/give/${admin.id}`)), guest, admin);
  await fine(guest.call('POST', '/api/room/control/take'), 403);
  await fine(guest.call('POST', '/api/room/control/release'), 422);
  await control(() => fine(admin.call('POST', '/api/room/control/release')), admin, null);
  await control(() => guest.send('control/request'), guest, guest);
  await control(() => fine(admin.call('POST', '/api/room/control/take')), admin, admin);
  await control(() => fine(admin.call('POST', `/api/room/control/give/${guest.id}`)), admin, guest);
  await control(() => fine(admin.call('POST', '/api/room/control/reset')), admin, null);
});

test('locked controls take control from guests', async () => {
  await control(() => guest.send('control/request'), guest, guest);
  await control(() => fine(admin.call('POST', '/api/room/settings', { locked_controls: true })), admin, null);
  await fine(guest.call('POST', '/api/room/control/request'), 403);
  const from = guest.events.length;
  guest.send('control/request');
  await guest.event('glasshouse/error', ({ event }) => event === 'control/request', from).catch(() => {});
  assert.equal((await admin.call('GET', '/api/room/control')).body.has_host, false);
  await fine(admin.call('POST', '/api/room/settings', { locked_controls: false }));
});

test('settings reach everybody; guests change none', async () => {
  const from = guest.events.length;
  await fine(admin.call('POST', '/api/room/settings', { inactive_cursors: false }));
  const seen = await guest.event('system/settings', ({ inactive_cursors }) => !inactive_cursors, from);
  assert.equal(seen.id, admin.id);
  assert.equal(seen.inactive_cursors, false);
  await fine(guest.call('POST', '/api/room/settings', { inactive_cursors: true }), 403);
  await fine(admin.call('POST', '/api/room/settings', { inactive_cursors: true }));
});

test('private mode stops the picture for guests, and brings it back', async () => {
  const watcher = await joinSession(browser, session, { name: 'watcher', admin: false });
  const owner = await joinSession(browser, session, { name: 'owner' });
  await owner.do((client) => client.api('POST', '/api/room/control/take'));
  const paint = (color) => execFileSync('xsetroot', ['-solid', color], { env: { ...process.env, DISPLAY: session.display, XAUTHORITY: session.xauthority } });
  const near = (one, [r, g, b]) => one.until(`${r},${g},${b}`, `(client) => { const [seen] = client.colors([[100, 100]]); return [${r}, ${g}, ${b}].every((value, i) => Math.abs(value - seen[i]) < 12); }`);
  paint('#204080');
  await near(watcher, [0x20, 0x40, 0x80]);
  await fine(admin.call('POST', '/api/room/settings', { private_mode: true }));
  await watcher.until('knows', (client) => client.events.some(({ event, payload }) => event === 'system/settings' && payload.private_mode));
  paint('#c04020');
  await near(owner, [0xc0, 0x40, 0x20]);
  await near(watcher, [0x20, 0x40, 0x80]);
  const { status } = await session.api('GET', '/api/room/screen/shot.jpg', undefined, watcher.token);
  assert.ok(status >= 400, `shot.jpg: ${status}`);
  // cast.jpg is what was on the screen when private mode began (neko's rule).
  const frozen = await session.api('GET', '/api/room/screen/cast.jpg', undefined, watcher.token);
  assert.equal(frozen.status, 200);
  await fine(admin.call('POST', '/api/room/settings', { private_mode: false }));
  await near(watcher, [0xc0, 0x40, 0x20]);
  await watcher.close();
  await owner.close();
});

test('a removed member is told, closed, and gone for the others; its token is worth nothing', async () => {
  const third = await member('third', false);
  const from = guest.events.length;
  await fine(guest.call('DELETE', `/api/sessions/${third.id}`), 403);
  await fine(admin.call('DELETE', `/api/sessions/${third.id}`));
  assert.deepEqual(await third.event('system/disconnect'), { message: 'session deleted' });
  await until('it is closed', () => third.closed);
  assert.equal(third.closed, 1000);
  assert.deepEqual(await guest.event('session/deleted', ({ id }) => id === third.id, from), { id: third.id });
  await fine(third.call('GET', '/api/whoami'), 401);
});

test('locked logins keep guests out, and links of guests too; admins come in', async () => {
  const link = await admin.call('POST', '/api/glasshouse/links', { admin: false });
  await fine(admin.call('POST', '/api/room/settings', { locked_logins: true }));
  assert.equal((await session.api('POST', '/api/login', { username: 'late', password: session.user_password })).status, 403);
  assert.equal((await session.api('POST', '/api/login', { username: 'late', password: link.body.token })).status, 403);
  await session.login('late admin');
  await fine(admin.call('POST', '/api/room/settings', { locked_logins: false }));
  assert.equal((await session.api('POST', '/api/login', { username: 'late', password: link.body.token })).status, 200);
});

/** H.264 in 4:2:0 cannot crop to odd sizes (ITU-T H.264, 7.4.2.1.1: units of two samples). */
const even = (length, codec) => codec === 'h264' ? length + length % 2 : length;

test('sizes, odd ones and the largest, are those of the picture', async () => {
  const viewer = await joinSession(browser, session, { name: 'sizes' });
  for (const [width, height] of [[320, 240], [641, 481], [3840, 2160], [1000, 701], [1280, 720]]) {
    const from = admin.events.length;
    await viewer.do((client, size) => client.send('glasshouse/resize', size), { width, height, scale: 100 });
    const { width: w, height: h } = await admin.event('screen/updated', (seen) => Math.abs(seen.width - width) < 8 && Math.abs(seen.height - height) < 8, from);
    for (const codec of ['vp8', 'vp9', 'h264']) {
      await viewer.do((client, codec) => client.send('signal/video', { codec }), codec);
      await viewer.until(`${w}×${h} in ${codec}`, `async (client) => await client.codec() === '${codec}' && client.video.videoWidth === ${even(w, codec)} && client.video.videoHeight === ${even(h, codec)}`)
        .catch(async (error) => { throw new Error(`${error.message}: ${JSON.stringify(await viewer.do(async (client) => [client.video.videoWidth, client.video.videoHeight, await client.codec()]))}`); });
    }
  }
  await viewer.close();
});

const x11 = () => ({ ...process.env, DISPLAY: session.display, XAUTHORITY: session.xauthority });
/** Another program owns the clipboard, with one target. */
function own(bytes, target) {
  const xclip = spawn('xclip', ['-selection', 'clipboard', '-quiet', '-t', target, '-i'], { env: x11(), stdio: ['pipe', 'ignore', 'ignore'] });
  xclip.stdin.end(bytes);
  return { end: () => new Promise((resolve) => { xclip.on('close', resolve); xclip.kill(); }) };
}

test('1 MB of text with emoji crosses to other programs and back', async () => {
  await fine(admin.call('POST', '/api/room/control/take'));
  const text = 'ä世😀\n'.repeat(110_000);
  assert.ok(Buffer.byteLength(text) > 1_000_000);
  await fine(admin.call('POST', '/api/room/clipboard', { text }));
  const read = execFileSync('xclip', ['-selection', 'clipboard', '-t', 'UTF8_STRING', '-o'], { env: x11(), maxBuffer: 1e8, timeout: 60_000 }).toString();
  assert.ok(read === text, `another program reads ${read.length} of ${text.length}`);
  const back = '👍 und zurück '.repeat(60_000);
  const from = admin.events.length;
  const owner = own(back, 'UTF8_STRING');
  await admin.event('clipboard/updated', (heard) => heard.text === back, from);
  assert.ok((await admin.call('GET', '/api/room/clipboard')).body.text === back);
  await owner.end();
});

test('a picture comes out of the session', async () => {
  await fine(admin.call('POST', '/api/room/control/take'));
  // One pixel, from the PNG specification's own structure.
  const png = Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==', 'base64');
  const from = admin.events.length;
  const owner = own(png, 'image/png');
  assert.equal((await admin.event('glasshouse/clipboard', ({ image }) => image, from)).image, true);
  const response = await fetch(`${session.origin}/api/room/clipboard/image.png`, { headers: { authorization: `Bearer ${admin.token}` } });
  assert.equal(response.status, 200);
  assert.equal(response.headers.get('content-type'), 'image/png');
  assert.ok(Buffer.from(await response.arrayBuffer()).equals(png));
  await fine(guest.call('GET', '/api/room/clipboard/image.png'), 403);
  await owner.end();
});
