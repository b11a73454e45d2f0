// A session as an MCP server: the official TypeScript client, over HTTP and over `glasshouse mcp`.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { jpegSize, overHttp, overStdio } from './lib/mcp.mjs';
import { servePages } from './lib/pages.mjs';
import { Fleet } from './lib/serve.mjs';
import { Session } from './lib/session.mjs';
import { launch } from './lib/viewer.mjs';
import { until } from './lib/wait.mjs';

let pages, session, admin, guest, browser;
const clients = [];
const connect = async (making) => { const client = await making; clients.push(client); return client; };
const base = () => `${session.origin}/`;

before(async () => {
  pages = await servePages();
  session = await Session.start(['--no-sound', '--url', pages.url('desk.html')]);
  admin = (await session.login('Robot')).token;
  guest = (await session.login('Guest', false)).token;
  browser = await launch();
  await until('the page has the focus', () => pages.reports.some(({ type }) => type === 'ready'));
});
afterEach(async () => { await Promise.all(clients.splice(0).map((client) => client.close())); });
after(async () => {
  await browser?.close();
  await session?.stop();
  await pages?.stop();
});

const seen = (what, find) => until(what, () => pages.reports.find(find)).catch((error) => { throw new Error(`${error.message} ${JSON.stringify(pages.reports)}`); });
/** Leads the browser to a fresh page. */
async function fresh(mcp, query = '') {
  pages.reports.length = 0;
  const { text, failed } = await mcp.call('navigate', { url: pages.url(`desk.html${query}`) });
  assert.ok(!failed, text);
  await seen('the page is ready', ({ type }) => type === 'ready');
  return text;
}
/** Where read_page says that something can be clicked. */
function place(text, pattern) {
  const found = new RegExp(`${pattern}[^\\n@]*@(\\d+),(\\d+)`).exec(text);
  assert.ok(found, `${pattern} has a place in:\n${text}`);
  return { x: Number(found[1]), y: Number(found[2]) };
}
/** Colours of a column of a JPEG, down to a place, as a browser reads it. */
async function columnOf(jpeg, x, down) {
  const page = await browser.newPage();
  try {
    return await page.evaluate(async ([data, x, down]) => {
      const image = await createImageBitmap(await (await fetch(`data:image/jpeg;base64,${data}`)).blob());
      const context = new OffscreenCanvas(image.width, image.height).getContext('2d');
      context.drawImage(image, 0, 0);
      return Array.from({ length: down }, (_, y) => [...context.getImageData(x, y, 1, 1).data].slice(0, 3));
    }, [jpeg.toString('base64'), x, down]);
  } finally {
    await page.close();
  }
}
const isNear = (colour, wanted) => colour.every((part, at) => Math.abs(part - wanted[at]) < 12);

test('its tools are listed with schemas, and a screenshot is what is on the screen', async () => {
  const mcp = await connect(overHttp(base(), admin));
  assert.equal(mcp.client.getServerVersion().name, 'glasshouse');
  assert.match(mcp.client.getInstructions(), /ask_human/);
  const tools = await mcp.tools();
  assert.deepEqual(tools.map(({ name }) => name).sort(), ['ask_human', 'click', 'clipboard', 'drag', 'key', 'move', 'navigate', 'read_page', 'run', 'screenshot', 'scroll', 'type', 'wait', 'windows']);
  for (const { name, description, inputSchema } of tools) {
    assert.ok(description.length > 20 && inputSchema.type === 'object', name);
  }
  await fresh(mcp);
  const whole = await mcp.call('screenshot');
  assert.deepEqual([whole.kind, ...jpegSize(whole.picture)], ['image/jpeg', 1280, 720]);
  assert.match(whole.text, /1280×720/);
  // The bar at the top of the page is right below the browser's own bars.
  const { text } = await mcp.call('read_page');
  const send = place(text, '\\[button "Send it"');
  const column = await columnOf(whole.picture, 640, send.y);
  assert.ok(column.some((colour) => isNear(colour, [0xc0, 0x20, 0x80])), JSON.stringify(column));
  const part = await mcp.call('screenshot', { region: { x: 100, y: 50, width: 300, height: 200 } });
  assert.deepEqual(jpegSize(part.picture), [300, 200]);
  const outside = await mcp.call('screenshot', { region: { x: 5000, y: 0, width: 1, height: 1 } });
  assert.ok(outside.failed && /outside/.test(outside.text), outside.text);
});

test('a page is read in order, with links, fields and places that can be clicked', async () => {
  const mcp = await connect(overHttp(base(), admin));
  await fresh(mcp);
  const { text } = await mcp.call('read_page');
  for (const part of [
    `Address: ${pages.url('desk.html')}`, 'Title: Desk', '# The desk', 'First words, [a link](/desk.html?second) @', '- One', '- Two', 'a | b', '[field "Name" = ""', '[checkbox off "Agree"',
    '[select "Colour" = "Green" of Red | Green]', '[field password "Secret" = "••••••••"', '[button "Send it"] @', '[button "In the shadow"] @', 'Inside a frame', 'Far below',
  ]) assert.ok(text.includes(part), `${part} is in:\n${text}`);
  assert.ok(!/Not to be read|FOOLED|hidden-from-all/.test(text), text);
  assert.ok(text.indexOf('The desk') < text.indexOf('First words') && text.indexOf('First words') < text.indexOf('Send it'));

  const name = place(text, '\\[field "Name"');
  await mcp.call('click', name);
  // Keys overtake clicks inside Chromium, which finds out first whom a click hits.
  await seen('the click', ({ type, at }) => type === 'mouseup' && at.join() === `${name.x},${name.y}`);
  const typed = await mcp.call('type', { text: 'Grüße 🙂' });
  assert.match(typed.text, /Typed 7 characters\. The page is still .*desk\.html/);
  const clicked = await mcp.call('click', { ...place(text, '\\[button "Send it"'), screenshot: true });
  assert.deepEqual(jpegSize(clicked.picture), [1280, 720]);
  assert.equal((await seen('it is sent', ({ type }) => type === 'sent')).name, 'Grüße 🙂');
  assert.match((await mcp.call('read_page')).text, /Sent by Grüße 🙂/);
  // A click has its effect in its own time: one more makes another change.
  const agree = () => mcp.call('click', place(text, '\\[checkbox off "Agree"'));
  await until('a change of the screen is told', async () => /The screen has changed/.test((await agree()).text));
  await until('the tick is told', async () => /\[checkbox on "Agree"/.test((await mcp.call('read_page')).text) || (await agree(), false));

  const short = await mcp.call('read_page', { max_chars: 100 });
  const more = /read on with offset (\d+)/.exec(short.text);
  assert.equal(more[1], '100');
  assert.match((await mcp.call('read_page', { offset: 100 })).text, /Far below/);

  const followed = await mcp.call('click', place(text, '\\[a link\\]'));
  await seen('the link is followed', ({ type, url }) => type === 'ready' && url.endsWith('?second'));
  assert.match(followed.text, /The page is now .*second|The page is still|still changing/);
});

test('mouse and keyboard arrive', async () => {
  const mcp = await connect(overHttp(base(), admin));
  await fresh(mcp);
  await mcp.call('click', { x: 610, y: 600, count: 2 });
  await seen('two clicks', () => pages.reports.filter(({ type, at }) => type === 'mouseup' && at.join() === '610,600').length === 2);
  await mcp.call('drag', { from_x: 500, from_y: 600, to_x: 640, to_y: 650 });
  await seen('a drag', ({ type, at }) => type === 'mouseup' && at.join() === '640,650');
  await mcp.call('click', { x: 600, y: 600, button: 'middle' });
  assert.deepEqual((await seen('a middle click', ({ type, button }) => type === 'mousedown' && button === 1)).at, [600, 600]);
  await mcp.call('key', { key: 'ctrl+shift+F9' });
  await seen('keys', ({ type, key, ctrl }) => type === 'keydown' && key === 'F9' && ctrl);
  await mcp.call('scroll', { direction: 'down', clicks: 3 });
  await seen('the page scrolls', ({ type, y }) => type === 'scroll' && y > 0);
  assert.match((await mcp.call('move', { x: 5, y: 700 })).text, /pointer is at \(5, 700\)/);

  const windows = JSON.parse((await mcp.call('windows', { action: 'list' })).text).windows;
  assert.ok(windows.some(({ title }) => /Desk/.test(title)), JSON.stringify(windows));
  assert.match((await mcp.call('windows', { action: 'focus', id: windows[0].id })).text, /focus/);
  await mcp.call('clipboard', { text: 'kept ✓' });
  assert.equal((await mcp.call('clipboard')).text, 'kept ✓');
  assert.match((await mcp.call('run', { command: ['echo $((6 * 7)); exit 3'] })).text, /^Exit code 3\.\n\nstdout:\n42$/);
});

test('going somewhere, and waiting', async () => {
  const mcp = await connect(overHttp(base(), admin));
  await fresh(mcp);
  const second = await mcp.call('navigate', { url: pages.url('desk.html?second') });
  assert.match(second.text, /The page (has loaded|is still loading)\. The page is now .*second “Desk”/);
  assert.match((await mcp.call('navigate', { url: 'back' })).text, /The page is now .*desk\.html “/);
  for (const url of ['javascript:alert(1)', 'file:///etc/passwd', 'chrome://settings']) {
    const refused = await mcp.call('navigate', { url });
    assert.ok(refused.failed && /must be an http/.test(refused.text), refused.text);
  }
  // The proxy answers for what cannot be reached.
  await mcp.call('navigate', { url: pages.url('desk.html?late=700') });
  const waited = await mcp.call('wait', { for: 'text', text: 'late WORDS', timeout_seconds: 60 });
  assert.match(waited.text, /The page shows the text/);
  assert.match((await mcp.call('wait', { for: 'text_gone', text: 'late words', timeout_seconds: 0.5 })).text, /did not happen/);
  assert.match((await mcp.call('wait', { for: 'stable', timeout_seconds: 60 })).text, /holds still/);
  const other = await connect(overHttp(base(), admin));
  let result;
  const waiting = mcp.call('wait', { for: 'change', timeout_seconds: 60 }).then((done) => { result = done; }, (error) => { result = { text: error.message }; });
  for (let down = true; !result; down = !down) await other.call('scroll', { direction: down ? 'down' : 'up', clicks: 20 });
  await waiting;
  assert.match(result.text, /has changed/);
});

test('where programs only watch, it reads on, and neither clicks nor leads the browser anywhere', async () => {
  const mcp = await connect(overHttp(base(), admin));
  await fresh(mcp);
  const mode = async (mode) => assert.equal((await session.api('POST', '/api/glasshouse/programs', { mode }, admin)).status, 204);
  await mode('watch-only');
  try {
    for (const [name, asked] of [['click', { x: 100, y: 100 }], ['navigate', { url: pages.url('desk.html?never') }]]) {
      const refused = await mcp.call(name, asked);
      assert.ok(refused.failed && /programs only watch here now/.test(refused.text), `${name}: ${refused.text}`);
    }
    const read = await mcp.call('read_page', {});
    assert.ok(!read.failed && !read.text.includes('never'), read.text);
  } finally {
    await mode('together');
  }
});

test('what is wrong is said, and who only watches is offered less', async () => {
  const mcp = await connect(overHttp(base(), admin));
  for (const [name, args, words] of [
    ['click', { x: 1 }, /wrong arguments: missing field `y`/],
    ['click', { x: 1, y: 2, z: 3 }, /unknown field `z`/],
    ['click', { x: 4000, y: 2 }, /outside of the screen: x is from 0 to 1279/],
    ['key', { key: 'nonsense' }, /nonsense/],
    ['scroll', { direction: 'sideways' }, /wrong arguments/],
    ['wait', { for: 'text' }, /give it/],
    ['type', { text: '' }, /empty/],
    ['ask_human', { reason: ' ' }, /reason/],
    ['nothing', {}, /there is no tool nothing/],
  ]) {
    const { failed, text } = await mcp.call(name, args);
    assert.ok(failed && words.test(text), `${name}: ${text}`);
  }
  const member = await connect(overHttp(base(), guest));
  assert.ok(!(await member.tools()).some(({ name }) => name === 'run'));
  assert.ok((await member.call('run', { command: ['id'] })).failed);

  const { body: link } = await session.api('POST', '/api/glasshouse/links', { view_only: true }, admin);
  const { body: watcher } = await session.api('POST', '/api/login', { username: 'W', password: link.token });
  const watching = await connect(overHttp(base(), watcher.token));
  assert.deepEqual((await watching.tools()).map(({ name }) => name), ['screenshot', 'read_page', 'wait', 'windows']);
  assert.deepEqual(jpegSize((await watching.call('screenshot')).picture), [1280, 720]);
  for (const [name, args] of [['click', { x: 1, y: 1 }], ['navigate', { url: 'about:blank' }], ['ask_human', { reason: 'Help' }]]) {
    const { failed, text } = await watching.call(name, args);
    assert.ok(failed && /may not control/.test(text), text);
  }
  const [{ id }] = JSON.parse((await watching.call('windows', { action: 'list' })).text).windows;
  assert.ok((await watching.call('windows', { action: 'close', id })).failed);
});

test('nobody gets in without a token, from another origin or by another name; a session is its own token\'s and ends', async () => {
  const hello = { jsonrpc: '2.0', id: 1, method: 'initialize', params: { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'raw', version: '1' } } };
  const raw = (body, headers = {}, method = 'POST') => fetch(`${session.origin}/mcp`, {
    method, body: body && JSON.stringify(body), headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream', ...headers },
  });
  const mine = { authorization: `Bearer ${admin}` };
  for (const headers of [{}, { authorization: 'Bearer nonsense' }, { authorization: 'Basic eDp5' }]) {
    const refused = await raw(hello, headers);
    assert.equal(refused.status, 401);
    assert.match(refused.headers.get('www-authenticate'), /^Bearer/);
  }
  assert.equal((await fetch(`${session.origin}/mcp?token=${admin}`, { method: 'POST' })).status, 401);
  assert.equal((await raw(hello, { ...mine, origin: 'https://evil.example' })).status, 403);
  const { get } = await import('node:http');
  const rebound = await new Promise((resolve, reject) => {
    get(`${session.origin}/mcp`, { headers: { ...mine, host: 'evil.example' } }, (answer) => { answer.resume(); resolve(answer.statusCode); }).on('error', reject);
  });
  assert.equal(rebound, 421);

  const begun = await raw(hello, mine);
  assert.equal(begun.status, 200);
  const id = begun.headers.get('mcp-session-id');
  assert.match(id, /^[0-9a-f-]{32,}$/);
  await begun.text();
  const list = { jsonrpc: '2.0', id: 2, method: 'tools/list', params: {} };
  assert.equal((await raw({ jsonrpc: '2.0', method: 'notifications/initialized' }, { ...mine, 'mcp-session-id': id })).status, 202);
  const own = await raw(list, { ...mine, 'mcp-session-id': id });
  assert.match(await own.text(), /screenshot/);
  // As if there were none.
  assert.equal((await raw(list, { authorization: `Bearer ${guest}`, 'mcp-session-id': id })).status, 404);
  assert.equal((await raw(list, { ...mine, 'mcp-session-id': `${id.slice(0, -1)}x` })).status, 404);
  assert.equal((await raw({ ...list, params: { x: 'x'.repeat(1100 * 1024) } }, { ...mine, 'mcp-session-id': id })).status, 413);
  assert.ok((await raw(null, { ...mine, 'mcp-session-id': id }, 'DELETE')).ok);
  assert.equal((await raw(list, { ...mine, 'mcp-session-id': id })).status, 404);

  // More sessions than may be: those that nobody uses make room.
  for (let count = 0; count < 70; count += 1) {
    const one = await raw(hello, mine);
    assert.equal(one.status, 200, `session ${count}`);
    await one.text();
  }
});

test('through glasshouse mcp, by an address, and by a session of a server', async () => {
  const direct = await connect(overStdio(['--url', session.url], { GLASSHOUSE_TOKEN: admin }));
  assert.equal((await direct.tools()).length, 14);
  assert.deepEqual(jpegSize((await direct.call('screenshot')).picture), [1280, 720]);
  await fresh(direct);
  assert.match((await direct.call('read_page')).text, /# The desk/);
  await assert.rejects(overStdio(['--url', session.url], { GLASSHOUSE_TOKEN: 'wrong-one' }), /token/);
  await assert.rejects(overStdio(['--url', session.url], { GLASSHOUSE_TOKEN: '' }), /GLASSHOUSE_TOKEN/);

  const fleet = await Fleet.start();
  try {
    const { id } = await fleet.create({ app: 'chromium', url: 'about:blank', sound: false, name: 'desk' });
    const bridged = await connect(overStdio(['--session', 'desk', '--state', fleet.state]));
    await until('it is led there', async () => !(await bridged.call('navigate', { url: 'data:text/html,<title>Fleet</title><h1>Of a fleet' })).failed);
    await until('the page is read', async () => /# Of a fleet/.test((await bridged.call('read_page')).text));
    assert.match((await bridged.call('run', { command: ['echo', 'in'] })).text, /stdout:\nin/);

    // The same by the server's own address, under the session's path.
    const { body: link } = await fleet.api('POST', `api/v1/sessions/${id}/links`, { admin: true });
    const login = await (await fetch(`${fleet.url}s/${id}/api/login`, {
      method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ username: 'Far', password: link.token }),
    })).json();
    const far = await connect(overHttp(`${fleet.url}s/${id}/`, login.token));
    assert.match((await far.call('read_page')).text, /Title: Fleet/);

    // Frozen, it wakes; and a session of the protocol that is gone is begun anew by the bridge.
    await fleet.api('POST', `api/v1/sessions/${id}/freeze`);
    assert.deepEqual(jpegSize((await far.call('screenshot')).picture), [1280, 720]);
    await bridged.close();
    clients.splice(clients.indexOf(bridged), 1);
    await Promise.all(clients.splice(0).map((client) => client.close()));
  } finally {
    await fleet.stop();
  }
});
