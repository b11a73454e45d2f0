// Several people: control, removal, pointers; clipboard; the size of the screen.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { servePages } from './lib/pages.mjs';
import { Session } from './lib/session.mjs';
import { joinSession, launch } from './lib/viewer.mjs';
import { until } from './lib/wait.mjs';

let pages, session, browser, admin, guest;
before(async () => {
  pages = await servePages();
  session = await Session.start(['--url', pages.url('input.html'), '--app-flag=--kiosk']);
  browser = await launch();
  admin = await joinSession(browser, session, { name: 'admin' });
  guest = await joinSession(browser, session, { name: 'guest', admin: false });
  await until('the page has focus', () => pages.reports.some(({ type }) => type === 'ready'));
  // Chromium drops input until a page was first painted, and does not say when that is.
  await call(admin, '/api/room/control/take');
  await until('keys arrive', async () => { await admin.do((client) => client.press(0xffc6)); return pages.reports.some(({ type }) => type === 'keyup'); });
  await call(admin, '/api/room/control/release');
});
after(async () => {
  await browser?.close();
  await session?.stop();
  await pages?.stop();
});

const call = (who, path, body, method = 'POST') => who.do((client, [method, path, body]) => client.api(method, path, body), [method, path, body]);
const hosts = async (id) => { for (const one of [admin, guest]) await one.until(`sees ${id} as host`, (client, id) => client.host === id, id); };
const newEvent = (who, name) => who.do((client, name) => { client.mark = client.events.length; client.marked = name; }, name);
const sawEvent = (who) => who.until('the event', (client) => client.events.slice(client.mark).find((one) => one.event === client.marked)?.payload);

test('control is asked for, given, taken back and released', async () => {
  await call(admin, '/api/room/settings', { implicit_hosting: false });
  await call(admin, '/api/room/control/take');
  await hosts(admin.id);

  await newEvent(admin, 'control/request');
  assert.equal((await call(guest, '/api/room/control/request')).status, 202);
  await sawEvent(admin);
  assert.equal((await call(guest, '/api/room/control/take')).status, 403);

  assert.equal((await call(admin, `/api/room/control/give/${guest.id}`)).status, 204);
  await hosts(guest.id);
  pages.reports.length = 0;
  await guest.do((client) => client.press(0x67));
  await until('the guest types', () => pages.reports.some(({ type, key }) => type === 'keydown' && key === 'g'));

  assert.equal((await call(admin, '/api/room/control/take')).status, 204);
  await hosts(admin.id);
  assert.equal((await call(admin, '/api/room/control/release')).status, 204);
  await hosts(null);
});

test('locked control is for admins only', async () => {
  assert.equal((await call(admin, '/api/room/settings', { locked_controls: true })).status, 204);
  assert.equal((await call(guest, '/api/room/control/request')).status, 403);
  assert.equal((await call(admin, '/api/room/control/request')).status, 204);
  await hosts(admin.id);
  await call(admin, '/api/room/settings', { locked_controls: false });
});

test('the pointers of the others are seen', async () => {
  await call(admin, '/api/room/control/take');
  await hosts(admin.id);
  await newEvent(admin, 'glasshouse/cursors');
  await guest.do((client) => client.move(321, 234));
  await admin.until("the guest's pointer", (client, id) => client.events.slice(client.mark)
    .some((one) => one.event === 'glasshouse/cursors' && one.payload.some((cursor) => cursor.id === id && cursor.x === 321 && cursor.y === 234)), guest.id);
  await admin.do((client) => client.move(77, 88));
  await guest.until("the host's pointer", (client) => client.cursor?.x === 77 && client.cursor?.y === 88);
});

test('the clipboard goes both ways, any Unicode, 1 MB intact', async () => {
  await call(admin, '/api/room/control/take');
  await hosts(admin.id);
  const short = 'Grüße, 世界 😀\n\tend';
  for (const text of [short, 'ä世😀x'.repeat(100_000)]) {
    assert.equal((await call(admin, '/api/room/clipboard', { text })).status, 204);
    const { body } = await call(admin, '/api/room/clipboard', undefined, 'GET');
    assert.ok(body.text === text, `got ${body.text?.length} of ${text.length} characters`);
  }
  // Into the page and out of it again, as a person does.
  assert.equal((await call(admin, '/api/room/clipboard', { text: short })).status, 204);
  pages.reports.length = 0;
  await admin.do((client) => { client.move(200, 100); client.click(); });
  // Keys overtake clicks inside Chromium, which finds out first whom a click hits.
  await until('the click', () => pages.reports.some(({ type, screen }) => type === 'mouseup' && screen[0] === 200 && screen[1] === 100));
  await admin.do((client) => {
    client.press(0xffe3, 0x61);
    client.press(0xff08);
    client.press(0xffe3, 0x76);
  });
  await until('the text is pasted', () => pages.reports.some(({ type, text }) => type === 'text' && text === short));
  assert.equal((await call(admin, '/api/room/clipboard', { text: 'other' })).status, 204);
  await admin.do((client) => { client.clipboard = null; client.press(0xffe3, 0x61); client.press(0xffe3, 0x63); });
  await admin.until('the copied text', (client, text) => client.clipboard === text, short);
  assert.equal((await call(guest, '/api/room/clipboard', undefined, 'GET')).status, 403);
});

test('the screen takes any size from 320×240 to 3840×2160', async () => {
  await call(admin, '/api/room/control/take');
  await hosts(admin.id);
  for (const [width, height] of [[320, 240], [1281, 721], [999, 333], [3840, 2160], [1280, 720]]) {
    await admin.do((client, [width, height]) => client.send('glasshouse/resize', { width, height, scale: 100 }), [width, height]);
    // The contract of neko rounds widths down to a multiple of eight; whatever it is, all see the same and the picture has it.
    await admin.until(`about ${width}×${height}`, (client, [width, height]) =>
      Math.abs(client.screen.width - width) < 8 && Math.abs(client.screen.height - height) < 8, [width, height]);
    const size = await admin.do((client) => client.screen);
    for (const one of [admin, guest]) {
      await one.until(`a picture of ${size.width}×${size.height}`, (client, size) =>
        Math.abs(client.video.videoWidth - size.width) < 2 && Math.abs(client.video.videoHeight - size.height) < 2, size);
    }
  }
  const before = await admin.do((client) => client.screen);
  for (const wrong of [{ width: 1, height: 1, scale: 100 }, { width: 99999, height: 99999, scale: 100 }, { width: -5, height: 'x' }, null]) {
    await newEvent(admin, 'glasshouse/error');
    await admin.do((client, wrong) => client.send('glasshouse/resize', wrong), wrong);
    await sawEvent(admin);
  }
  assert.deepEqual(await admin.do((client) => client.screen), before);
});

test('locked logins keep guests out', async () => {
  await call(admin, '/api/room/settings', { locked_logins: true });
  const answer = await session.api('POST', '/api/login', { username: 'late', password: session.user_password });
  assert.equal(answer.status, 403);
  await call(admin, '/api/room/settings', { locked_logins: false });
});

test('a removed member is out, and cannot come back with its token', async () => {
  const third = await joinSession(browser, session, { name: 'third', admin: false });
  assert.equal((await call(admin, `/api/sessions/${third.id}`, undefined, 'DELETE')).status, 204);
  await third.until('is told', (client) => client.events.some((one) => one.event === 'closed'));
  assert.equal((await session.api('GET', '/api/whoami', undefined, third.token)).status, 401);
  await third.close();
});

test('a link works once', async () => {
  const token = await session.link(false);
  const first = await session.api('POST', '/api/login', { username: 'a', password: token });
  assert.equal(first.status, 200);
  assert.equal(first.body.profile.is_admin, false);
  assert.equal((await session.api('POST', '/api/login', { username: 'b', password: token })).status, 401);
  assert.equal((await session.api('POST', '/api/login', { username: 'b', password: 'wrong' })).status, 401);
});
