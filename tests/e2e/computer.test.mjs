// Computer use: sandbox-agent's own client, unchanged, against a session.

import assert from 'node:assert/strict';
import { existsSync, readFileSync, symlinkSync } from 'node:fs';
import { get } from 'node:http';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { inflateSync } from 'node:zlib';
import { SandboxAgent } from 'sandbox-agent';
import WebSocket from 'ws';
import { servePages } from './lib/pages.mjs';
import { Fleet } from './lib/serve.mjs';
import { Session } from './lib/session.mjs';
import { PATIENCE, until, within } from './lib/wait.mjs';

let pages;
let session;
let admin;
let guest;
let agent;

before(async () => {
  pages = await servePages();
  session = await Session.start(['--no-sound', '--url', pages.url('colors.html')]);
  admin = (await session.login('program')).token;
  guest = (await session.login('guest', false)).token;
  agent = await SandboxAgent.connect({ baseUrl: session.origin, token: admin });
  // A page that is opened while the first is on its way may not get the keyboard.
  await until('the page is shown', async () => decode(await agent.takeDesktopScreenshot()).at(1200, 650) === '202020');
});

after(async () => {
  await agent?.dispose?.();
  await session?.stop();
  await pages?.stop();
});

/** Size and pixels of a PNG of 8-bit RGB, as we make them. */
function decode(png) {
  const bytes = Buffer.from(png);
  assert.equal(bytes.toString('latin1', 1, 4), 'PNG');
  const [width, height] = [bytes.readUInt32BE(16), bytes.readUInt32BE(20)];
  assert.deepEqual([...bytes.subarray(24, 26)], [8, 2]);
  const parts = [];
  for (let at = 8; at < bytes.length; at += 12 + bytes.readUInt32BE(at)) {
    if (bytes.toString('latin1', at + 4, at + 8) === 'IDAT') parts.push(bytes.subarray(at + 8, at + 8 + bytes.readUInt32BE(at)));
  }
  const raw = inflateSync(Buffer.concat(parts));
  const row = width * 3;
  const pixels = Buffer.alloc(row * height);
  for (let y = 0; y < height; y += 1) {
    const filter = raw[y * (row + 1)];
    for (let x = 0; x < row; x += 1) {
      const a = x < 3 ? 0 : pixels[y * row + x - 3];
      const b = y === 0 ? 0 : pixels[(y - 1) * row + x];
      const c = x < 3 || y === 0 ? 0 : pixels[(y - 1) * row + x - 3];
      const near = [a, b, c].reduce((best, one) => (Math.abs(a + b - c - one) < Math.abs(a + b - c - best) ? one : best), a);
      pixels[y * row + x] = raw[y * (row + 1) + 1 + x] + [0, a, b, (a + b) >> 1, near][filter];
    }
  }
  return { width, height, at: (x, y) => pixels.toString('hex', y * row + x * 3, y * row + x * 3 + 3) };
}

const fails = (status, code) => (error) => {
  assert.equal(error.status, status, `${error.message} ${JSON.stringify(error.problem)}`);
  assert.equal(error.problem.status, status);
  assert.equal(error.problem.type, `urn:sandbox-agent:error:${code}`);
  return true;
};

const call = (method, path, body, token = admin) => session.api(method, path, body, token);
const text = (entries) => entries.map(({ data }) => Buffer.from(data, 'base64').toString()).join('');
/** HOME of the session's programs on this machine. */
const home = () => join(dirname(dirname(session.xauthority)), 'home');
const show = async (name) => {
  pages.reports.length = 0;
  await agent.openDesktopTarget({ target: pages.url(name) });
};

test('a screenshot shows the page: whole, a region, scaled, with the pointer, in three formats', async () => {
  const bottom = ['ffff00', '00ffff', 'ff00ff', '202020'];
  const cells = (picture) => bottom.map((_, i) => picture.at(Math.floor((i + 0.5) * picture.width / 4), Math.floor(picture.height * 0.9)));
  const whole = await until('the page is shown', async () => {
    const picture = decode(await agent.takeDesktopScreenshot());
    return cells(picture).join() === bottom.join() && picture;
  });
  assert.deepEqual([whole.width, whole.height], [1280, 720]);
  const half = decode(await agent.takeDesktopScreenshot({ scale: 0.5 }));
  assert.deepEqual([half.width, half.height, ...cells(half)], [640, 360, ...bottom]);
  const region = decode(await agent.takeDesktopRegionScreenshot({ x: 310, y: 640, width: 20, height: 10 }));
  assert.deepEqual([region.width, region.height, region.at(0, 0), region.at(19, 9)], [20, 10, 'ffff00', '00ffff']);

  await agent.moveDesktopMouse({ x: 700, y: 650 });
  const area = { x: 690, y: 640, width: 30, height: 30 };
  const [without, pointed] = [await agent.takeDesktopRegionScreenshot(area), await agent.takeDesktopRegionScreenshot({ ...area, showCursor: true })].map(decode);
  const others = (picture) => Array.from({ length: 900 }, (_, i) => picture.at(i % 30, Math.floor(i / 30))).filter((pixel) => pixel !== 'ff00ff').length;
  assert.equal(others(without), 0);
  assert.ok(others(pointed) > 10, `the pointer is there: ${others(pointed)}`);

  const jpeg = Buffer.from(await agent.takeDesktopScreenshot({ format: 'jpeg', quality: 70 }));
  assert.equal(jpeg.toString('hex', 0, 3), 'ffd8ff');
  const webp = Buffer.from(await agent.takeDesktopScreenshot({ format: 'webp' }));
  assert.equal(webp.toString('latin1', 0, 4) + webp.toString('latin1', 8, 12), 'RIFFWEBP');
  for (const query of [{ quality: 0 }, { quality: 101 }, { scale: 0.05 }, { scale: 2 }]) {
    await assert.rejects(agent.takeDesktopScreenshot(query), fails(400, 'desktop_invalid_action'));
  }
  await assert.rejects(agent.takeDesktopRegionScreenshot({ x: 5000, y: 0, width: 1, height: 1 }), fails(400, 'desktop_invalid_action'));
  await assert.rejects(agent.takeDesktopRegionScreenshot({ x: 0, y: 0, width: 0, height: 1 }), fails(400, 'desktop_invalid_action'));
});

test('the desktop is there before anybody starts it, and stays', async () => {
  const status = await agent.getDesktopStatus();
  assert.equal(status.state, 'active');
  assert.deepEqual(status.resolution, { width: 1280, height: 720, dpi: 96 });
  assert.deepEqual(status.missingDependencies, []);
  assert.ok(status.processes.some(({ name, running }) => name === 'Xvnc' && running));
  assert.equal((await agent.startDesktop({ width: 800 })).state, 'active');
  await assert.rejects(agent.stopDesktop(), fails(409, 'conflict'));
  assert.deepEqual(await agent.getDesktopDisplayInfo(), { display: session.display, resolution: status.resolution });
});

test('the screen is recorded', async () => {
  assert.deepEqual(await agent.listDesktopRecordings(), { recordings: [] });
  const { id, status } = await agent.startDesktopRecording({ fps: 10 });
  assert.equal(status, 'recording');
  await assert.rejects(agent.startDesktopRecording(), fails(409, 'conflict'));
  // One that is stopped before its first picture has none, and has failed.
  await until('pictures are written', async () => (await agent.listDesktopRecordings()).recordings[0].bytes > 0);
  const done = await agent.stopDesktopRecording();
  assert.deepEqual([done.id, done.status, done.bytes > 0], [id, 'completed', true], JSON.stringify(done));
  const bytes = Buffer.from(await agent.downloadDesktopRecording(id));
  assert.equal(bytes.subarray(4, 8).toString('latin1'), 'ftyp');
  await agent.deleteDesktopRecording(id);
  assert.deepEqual(await agent.listDesktopRecordings(), { recordings: [] });
});

test('mouse and keyboard reach the page, any character as well', async () => {
  await show('input.html');
  await until('the page is ready', () => pages.reports.some(({ type }) => type === 'ready'));
  const place = await agent.clickDesktop({ x: 400, y: 600, button: 'right', clickCount: 1 });
  assert.deepEqual([place.x, place.y], [400, 600]);
  const down = await until('the click arrives', () => pages.reports.find(({ type, button }) => type === 'mousedown' && button === 2));
  assert.equal(down.screen.join(), '400,600');
  await agent.scrollDesktop({ x: 400, y: 600, deltaY: 3 });
  await until('the wheel arrives, down', () => pages.reports.filter(({ type, y }) => type === 'wheel' && y > 0).length >= 1);
  const dragged = await agent.dragDesktopMouse({ startX: 300, startY: 600, endX: 500, endY: 650 });
  assert.deepEqual([dragged.x, dragged.y], [500, 650]);
  await until('the drag arrives', () => pages.reports.some(({ type, screen }) => type === 'mouseup' && screen.join() === '500,650'));
  await agent.mouseDownDesktop({ x: 420, y: 610 });
  await agent.moveDesktopMouse({ x: 440, y: 620 });
  const up = await agent.mouseUpDesktop({});
  assert.deepEqual([up.x, up.y], [440, 620]);

  await until('that button is up', () => pages.reports.some(({ type, screen }) => type === 'mouseup' && screen.join() === '440,620'));
  pages.reports.length = 0;
  await agent.clickDesktop({ x: 300, y: 250 });
  // Keys overtake clicks inside Chromium, which finds out first whom a click hits.
  await until('the click arrives', () => pages.reports.some(({ type, screen }) => type === 'mouseup' && screen.join() === '300,250'));
  const words = 'Grüße, "Ω" €5\n漢字 🙂 ok';
  await agent.typeDesktopText({ text: words });
  const texts = () => pages.reports.filter(({ type }) => type === 'text').map((one) => one.text);
  await until('the text arrives', () => texts().includes(words)).catch((error) => { throw new Error(`${error.message}: ${texts().at(-1)}`); });
  await agent.pressDesktopKey({ key: 'a', modifiers: { ctrl: true } });
  await agent.pressDesktopKey({ key: 'Delete' });
  await until('the text is gone', () => pages.reports.some(({ type, length }) => type === 'text' && length === 0));
  await agent.keyDownDesktop({ key: 'shift' });
  await agent.pressDesktopKey({ key: 'a' });
  await agent.keyUpDesktop({ key: 'shift' });
  await agent.pressDesktopKey({ key: 'shift+1' });
  await until('shift was held for a combination', () => pages.reports.some(({ type, key }) => type === 'keydown' && key === '!'));
  await until('shift was held', () => pages.reports.some(({ type, key }) => type === 'keydown' && key === 'A'));
  await assert.rejects(agent.pressDesktopKey({ key: 'nonsense' }), fails(400, 'desktop_invalid_action'));
  await assert.rejects(agent.typeDesktopText({ text: '' }), fails(400, 'desktop_invalid_action'));
  await assert.rejects(agent.moveDesktopMouse({ x: -1, y: 0 }), fails(400, 'desktop_invalid_action'));
});

test('windows and the clipboard', async () => {
  const { windows } = await until('a window is there', async () => {
    const all = await agent.listDesktopWindows();
    return all.windows.length > 0 && all;
  });
  const [{ id }] = windows;
  assert.match(id, /^\d+$/);
  assert.equal((await agent.focusDesktopWindow(id)).isActive, true);
  assert.equal((await agent.getDesktopFocusedWindow()).id, id);
  const small = await agent.resizeDesktopWindow(id, { width: 900, height: 500 });
  assert.deepEqual([small.width, small.height], [900, 500]);
  const moved = await agent.moveDesktopWindow(id, { x: 100, y: 80 });
  assert.deepEqual([moved.x, moved.y, moved.width], [100, 80, 900]);
  await assert.rejects(agent.focusDesktopWindow('1'), fails(404, 'window_not_found'));

  assert.deepEqual(await agent.setDesktopClipboard({ text: 'Zwischenablage ✓' }), { ok: true });
  assert.deepEqual(await agent.getDesktopClipboard({}), { text: 'Zwischenablage ✓', selection: 'clipboard' });
});

test('what is marked is the primary selection, which the middle button puts in', async () => {
  await agent.openDesktopTarget({ target: `data:text/html,<title>marking</title><body style="margin:0"><input style="display:block;width:100vw;height:150px" oninput="document.title='has '+value"><p style="font:80px/150px serif;margin:0">marked` });
  const titles = async () => (await agent.listDesktopWindows()).windows.map(({ title }) => title);
  await until('the page is there', async () => (await titles()).some((title) => title.startsWith('marking')) && (await call('POST', '/v1/desktop/wait/stable', { quietMs: 300, timeoutMs: 20000 })).body.stable);
  // Windows have been moved about by the tests before: where the page is on the screen, its window knows.
  const [{ x, y, width, height }] = (await agent.listDesktopWindows()).windows.filter(({ title }) => title.startsWith('marking'));
  const primary = async () => (await agent.getDesktopClipboard({ selection: 'primary' })).text;
  // The page ends with its window, and its lines are high enough to be met from below the bar of the browser.
  await until('it is marked', async () => {
    for (const down of [250, 300, 350]) {
      await agent.clickDesktop({ x: x + 60, y: y + Math.min(down, height - 20), clickCount: 2 });
      if ((await primary()).trim() === 'marked') return true;
    }
    return false;
  });
  assert.equal((await agent.getDesktopClipboard({})).text, 'Zwischenablage ✓', 'the clipboard is another');
  assert.deepEqual(await agent.setDesktopClipboard({ text: 'ganz ✓', selection: 'primary' }), { ok: true });
  assert.deepEqual(await agent.getDesktopClipboard({ selection: 'primary' }), { text: 'ganz ✓', selection: 'primary' });
  await until('it is put in', async () => {
    await agent.clickDesktop({ x: x + Math.round(width / 2), y: y + 150, button: 'middle' });
    return (await titles()).some((title) => title.startsWith('has ') && title.includes('ganz ✓'));
  });
  await agent.setDesktopClipboard({ text: 'beides', selection: 'both' });
  assert.deepEqual([(await agent.getDesktopClipboard({})).text, await primary()], ['beides', 'beides']);
  await assert.rejects(agent.getDesktopClipboard({ selection: 'secondary' }), fails(400, 'desktop_invalid_action'));
});

test('waiting for the screen to change, and to hold still', async () => {
  const region = { x: 150, y: 300, width: 300, height: 200 };
  await agent.openDesktopTarget({ target: 'data:text/html,<title>still</title><body style="background:white">' });
  const settled = await until('the screen holds still', async () => {
    const { body } = await call('POST', '/v1/desktop/wait/stable', { quietMs: 200, timeoutMs: 20000 });
    return body.stable && body;
  });
  assert.ok(settled.waitedMs >= 200);
  const picture = await fetch(`${session.origin}/v1/desktop/screenshot/region?x=150&y=300&width=300&height=200`, { headers: { authorization: `Bearer ${admin}` } });
  const since = picture.headers.get('etag');
  assert.equal((await call('POST', '/v1/desktop/wait/change', { since, timeoutMs: 200, region })).body.changed, false);
  const waiting = call('POST', '/v1/desktop/wait/change', { since, timeoutMs: 60000, region });
  await agent.openDesktopTarget({ target: 'data:text/html,<title>red</title><body style="background:red">' });
  const { body } = await waiting;
  assert.equal(body.changed, true);
  // What has changed already is not waited for.
  assert.equal((await call('POST', '/v1/desktop/wait/change', { since, timeoutMs: 60000, region })).body.changed, true);
});

test('programs run within the walls, and no longer than allowed', async () => {
  const run = await agent.runProcess({ command: 'sh', args: ['-c', 'echo out; echo err >&2; id -u; pwd; exit 3'], env: { A: 'b' } });
  assert.equal(run.exitCode, 3);
  assert.equal(run.stderr, 'err\n');
  assert.notEqual(run.stdout.split('\n')[1], '0');
  const pids = (await agent.runProcess({ command: 'ls', args: ['/proc'] })).stdout.split('\n').filter((name) => /^\d+$/.test(name));
  assert.ok(!pids.includes(String(session.pid)) && pids.includes('1'), 'a pid namespace of its own');
  const outside = await agent.runProcess({ command: 'sh', args: ['-c', `ls ${home()} || cat /etc/shadow || touch /usr/x || mount -t tmpfs none /mnt`] });
  assert.notEqual(outside.exitCode, 0);
  const status = (await agent.runProcess({ command: 'cat', args: ['/proc/self/status'] })).stdout;
  for (const line of ['NoNewPrivs:\t1', 'CapEff:\t0000000000000000', 'Seccomp:\t2']) assert.ok(status.includes(line), line);

  // A busy machine may not get as far as the first word in a short time.
  let timeoutMs = 250;
  const late = await until('it is cut off after its first word', async () => {
    timeoutMs *= 2;
    const cut = await agent.runProcess({ command: 'sh', args: ['-c', 'echo begun; sleep 1000'], timeoutMs });
    assert.equal(cut.timedOut, true);
    return cut.stdout && cut;
  });
  assert.deepEqual([late.exitCode, late.stdout], [null, 'begun\n']);
  const cut = await agent.runProcess({ command: 'sh', args: ['-c', 'printf 1234567890; yes >&2 | head -c 0; exit 0'], maxOutputBytes: 5, timeoutMs: 3000 });
  assert.deepEqual([cut.stdout, cut.stdoutTruncated], ['12345', true]);
  await assert.rejects(agent.runProcess({ command: 'no-such-program' }), fails(502, 'stream_error'));
  await assert.rejects(agent.launchDesktopApp({ app: 'no-such-program' }), fails(404, 'app_not_found'));

  const streamed = await fetch(`${session.origin}/v1/processes/run`, {
    method: 'POST', headers: { authorization: `Bearer ${admin}`, 'content-type': 'application/json', accept: 'text/event-stream' },
    body: JSON.stringify({ command: 'sh', args: ['-c', 'printf one; exit 4'] }),
  });
  const events = await streamed.text();
  assert.match(events, new RegExp(`event: stdout\\ndata: ${Buffer.from('one').toString('base64')}`));
  assert.match(events, /event: exit\ndata: \{"exitCode":4/);
});

test('programs that stay: input, output, signals, and their end', async () => {
  const cat = await agent.createProcess({ command: 'cat', interactive: true });
  assert.deepEqual([cat.status, cat.owner, cat.tty], ['running', 'user', false]);
  assert.equal((await agent.sendProcessInput(cat.id, { data: 'hello\n', encoding: 'utf8' })).bytesWritten, 6);
  const seen = [];
  const following = await agent.followProcessLogs(cat.id, (entry) => seen.push(entry));
  await until('the output comes', () => text(seen) === 'hello\n');
  assert.equal(seen[0].sequence, 1);
  await assert.rejects(agent.deleteProcess(cat.id), fails(409, 'conflict'));
  await assert.rejects(agent.sendProcessInput(cat.id, { data: 'x'.repeat(70_000), encoding: 'utf8' }), fails(413, 'invalid_request'));
  assert.equal((await call('POST', `/v1/processes/${cat.id}/input`, { data: '', end: true })).status, 200);
  await until('it ends with its input', async () => (await agent.getProcess(cat.id)).exitCode === 0);
  following.close();
  assert.equal(text((await agent.getProcessLogs(cat.id)).entries), 'hello\n');
  await agent.deleteProcess(cat.id);
  await assert.rejects(agent.getProcess(cat.id), fails(404, 'not_found'));

  const stubborn = await agent.createProcess({ command: 'sh', args: ['-c', 'trap "" TERM; trap "echo got it" USR1; echo ready; while :; do sleep 0.05; done'] });
  const log = async () => text((await agent.getProcessLogs(stubborn.id)).entries);
  await until('it is ready', async () => (await log()).includes('ready'));
  await call('POST', `/v1/processes/${stubborn.id}/signal`, { signal: 'SIGUSR1' });
  await until('the signal arrives', async () => (await log()).includes('got it'));
  assert.equal((await agent.stopProcess(stubborn.id, { waitMs: 100 })).status, 'running');
  await agent.killProcess(stubborn.id, { waitMs: 30_000 });
  assert.equal((await agent.getProcess(stubborn.id)).status, 'exited');
  assert.ok((await agent.listProcesses({ owner: 'user' })).processes.some(({ id }) => id === stubborn.id));
});

test('a terminal, by its WebSocket', async () => {
  const shell = await agent.createProcess({ command: 'sh', args: ['-c', 'read go; tty; stty size; read word; echo "got $word"; exit 5'], tty: true });
  const socket = new WebSocket(`${session.origin.replace('http', 'ws')}/v1/processes/${shell.id}/terminal/ws?access_token=${admin}`);
  const frames = [];
  let output = '';
  const closed = new Promise((resolve, reject) => { socket.on('close', resolve); socket.on('error', reject); });
  socket.on('message', (data, binary) => { if (binary) output += data; else frames.push(JSON.parse(data)); });
  await until('it is ready', () => frames[0]?.type === 'ready');
  const say = (what) => socket.send(JSON.stringify(what));
  say({ type: 'resize', cols: 100, rows: 30 });
  say({ type: 'input', data: 'go\n' });
  await until('it has a device and a size', () => output.includes('/dev/pts/') && output.includes('30 100'));
  say({ type: 'input', data: 'word\n' });
  await within('it is closed', closed);
  assert.ok(output.includes('got word'));
  assert.deepEqual(frames.at(-1), { type: 'exit', exitCode: 5 });
  assert.equal((await call('GET', `/v1/processes/${shell.id}/terminal/ws`)).status, 400);
});

/** A header of a tar archive. */
function tar(name, kind, content = '') {
  const header = Buffer.alloc(512);
  header.write(name);
  header.write('0000644\0', 100);
  header.write(`${content.length.toString(8).padStart(11, '0')}\0`, 124);
  header.write('        ', 148);
  header.write(kind, 156);
  header.write('../../../etc', 157);
  header.write('ustar\0', 257);
  header.write(`${header.reduce((sum, byte) => sum + byte, 0).toString(8).padStart(6, '0')}\0 `, 148);
  return Buffer.concat([header, Buffer.from(content.padEnd(Math.ceil(content.length / 512) * 512, '\0'))]);
}

test('files go both ways, and nothing leads out of HOME', async () => {
  const content = new Uint8Array(300_000).map((_, i) => (i * 7) % 251);
  const written = await agent.writeFsFile({ path: 'a/b/file.bin' }, content);
  assert.equal(written.bytesWritten, content.length);
  assert.deepEqual(await agent.readFsFile({ path: written.path }), content);
  const owner = await agent.runProcess({ command: 'sh', args: ['-c', `cksum <'${written.path}' && stat -c %u '${written.path}' && id -u && echo more >>'${written.path}'`] });
  const [, uid, own] = owner.stdout.trim().split('\n');
  assert.equal(uid, own, 'it belongs to the programs');
  assert.equal((await agent.statFs({ path: 'a/b/file.bin' })).size, content.length + 5);
  await agent.mkdirFs({ path: 'c' });
  await agent.moveFs({ from: 'a/b/file.bin', to: 'c/moved' });
  assert.deepEqual((await agent.listFsEntries({ path: 'c' })).map(({ name, entryType }) => [name, entryType]), [['moved', 'file']]);
  await agent.writeFsFile({ path: 'c/other' }, 'x');
  await assert.rejects(agent.moveFs({ from: 'c/other', to: 'c/moved' }), fails(400, 'invalid_request'));
  await agent.moveFs({ from: 'c/other', to: 'c/moved', overwrite: true });

  const batch = Buffer.concat([tar('deep/er/', '5'), tar('deep/er/one', '0', 'first'), tar('two', '0', 'second'), Buffer.alloc(1024)]);
  const { paths } = await agent.uploadFsBatch(batch, { path: 'up' });
  assert.equal(paths.length, 3);
  assert.equal(Buffer.from(await agent.readFsFile({ path: 'up/deep/er/one' })).toString(), 'first');

  await agent.runProcess({ command: 'sh', args: ['-c', 'ln -s /etc/passwd passwd; ln -s / root; ln -s .. up/out; mkfifo pipe'] });
  symlinkSync('/etc/passwd', join(home(), 'host'));
  for (const path of ['../x', 'a/../../x', '/etc/passwd', '/proc/1/environ', 'root/etc/passwd', 'passwd', 'host', 'up/out/x', 'pipe', '/home/user/../../etc/passwd']) {
    await assert.rejects(agent.readFsFile({ path }), fails(403, 'permission_denied'), path);
  }
  for (const path of ['root/tmp/x', 'up/out/x', 'passwd', 'host', 'pipe', '/var/tmp/x']) {
    await assert.rejects(agent.writeFsFile({ path }, 'x'), fails(403, 'permission_denied'), path);
  }
  assert.ok(!readFileSync('/etc/passwd', 'utf8').startsWith('x') && !existsSync('/x'));
  for (const bad of [tar('../x', '0', 'x'), tar('/x', '0', 'x'), tar('root/x', '0', 'x')]) {
    await assert.rejects(agent.uploadFsBatch(bad, { path: '.' }), fails(403, 'permission_denied'));
  }
  const claims = tar('huge', '0', '');
  claims.write('77777777777\0', 124);
  claims.write('        ', 148);
  claims.write(`${claims.reduce((sum, byte) => sum + byte, 0).toString(8).padStart(6, '0')}\0 `, 148);
  await assert.rejects(agent.uploadFsBatch(claims, { path: '.' }), fails(413, 'invalid_request'));
  for (const bad of [tar('link', '2'), tar('device', '3'), tar('hard', '1'), Buffer.from('PK\x03\x04'.padEnd(600, 'x'))]) {
    await assert.rejects(agent.uploadFsBatch(bad, { path: '.' }), fails(400, 'invalid_request'));
  }
  const zip = await fetch(`${session.origin}/v1/fs/upload-batch`, { method: 'POST', body: 'x', headers: { authorization: `Bearer ${admin}`, 'content-type': 'application/zip' } });
  assert.equal(zip.status, 415);
  await assert.rejects(agent.readFsFile({ path: 'nothing' }), fails(400, 'invalid_request'));
  await assert.rejects(agent.deleteFsEntry({ path: 'up' }), fails(400, 'invalid_request'));
  await agent.deleteFsEntry({ path: 'up', recursive: true });
  await agent.deleteFsEntry({ path: 'passwd' });
  assert.ok(existsSync('/etc/passwd'));
});

test('without a token nothing is said; with too little power, what is missing', async () => {
  for (const [method, path] of [['GET', 'health'], ['GET', 'desktop/screenshot'], ['POST', 'processes/run'], ['GET', 'fs/entries'], ['PUT', 'fs/file?path=x'], ['GET', 'desktop/stream/signaling']]) {
    for (const options of [{}, { headers: { authorization: 'Bearer wrong' } }]) {
      const answer = await fetch(`${session.origin}/v1/${path}`, { method, ...options });
      const body = await answer.json();
      assert.deepEqual([answer.status, body.type, body.status], [401, 'urn:sandbox-agent:error:token_invalid', 401], path);
    }
  }
  assert.equal((await fetch(`${session.origin}/v1/health?access_token=${admin}`)).status, 401);
  assert.equal((await fetch(`${session.origin}/v1/health?token=${admin}`)).status, 401);
  assert.equal((await call('GET', '/v1/nothing')).status, 404);

  const weak = await SandboxAgent.connect({ baseUrl: session.origin, token: guest });
  assert.ok((await weak.takeDesktopScreenshot()).length > 1000);
  await weak.moveDesktopMouse({ x: 5, y: 5 });
  await assert.rejects(weak.runProcess({ command: 'id' }), fails(403, 'permission_denied'));
  await assert.rejects(weak.readFsFile({ path: 'x' }), fails(403, 'permission_denied'));
  assert.equal((await call('POST', '/api/room/control/request')).status, 204);
  await assert.rejects(weak.moveDesktopMouse({ x: 6, y: 6 }), fails(403, 'permission_denied'));
  await call('POST', '/api/room/control/release');
});

test('the live picture is signalled as neko does it', async () => {
  const url = `${session.origin.replace('http', 'ws')}/v1/desktop/stream/signaling?access_token=${guest}`;
  const refused = await new Promise((resolve) => {
    const socket = new WebSocket(url);
    socket.on('unexpected-response', (_, response) => { resolve(response.statusCode); socket.terminate(); });
    socket.on('error', () => {});
  });
  assert.equal(refused, 409);
  assert.deepEqual(await agent.startDesktopStream(), { active: true });
  const socket = new WebSocket(url);
  const events = new Map();
  socket.on('error', () => {});
  socket.on('message', (data) => { const { event, payload } = JSON.parse(data); events.set(event, payload); });
  try {
    await until('it begins', () => events.has('system/init'));
    assert.equal(events.get('system/init').screen_size.width, 1280);
    socket.send(JSON.stringify({ event: 'signal/request', payload: { video: {}, audio: {} } }));
    await until('there is an offer', () => /^v=0[^]*m=video/.test(events.get('signal/provide')?.sdp));
  } finally {
    socket.terminate();
  }
  assert.deepEqual(await agent.stopDesktopStream(), { active: false });
});

test('the same through a server of many sessions', async () => {
  const fleet = await Fleet.start();
  try {
    const created = await fleet.create();
    const link = await fleet.api('POST', `api/v1/sessions/${created.id}/links`, { admin: true });
    const login = await fleet.api('POST', `s/${created.id}/api/login`, { username: 'program', password: link.body.token }, { token: null });
    assert.equal(login.status, 200, JSON.stringify(login.body));
    const { token } = login.body;
    const there = await SandboxAgent.connect({ baseUrl: `${fleet.origin}/s/${created.id}`, token });
    assert.equal((await there.getDesktopStatus()).state, 'active');
    await there.writeFsFile({ path: 'x/y' }, 'through');
    assert.equal((await there.runProcess({ command: 'cat', args: ['x/y'] })).stdout, 'through');
    await there.deleteFsEntry({ path: 'x', recursive: true });
    const shell = await there.createProcess({ command: 'cat', tty: true });
    const socket = new WebSocket(`${fleet.origin.replace('http', 'ws')}/s/${created.id}/v1/processes/${shell.id}/terminal/ws?access_token=${token}`);
    const frames = [];
    socket.on('error', () => {});
    socket.on('message', (data, binary) => frames.push(binary ? 'output' : JSON.parse(data).type));
    await until('the terminal is ready', () => frames.includes('ready'));
    socket.send(JSON.stringify({ type: 'input', data: 'x\n' }));
    await until('the terminal answers', () => frames.includes('output'));
    socket.terminate();
    assert.equal((await fetch(`${fleet.origin}/s/${created.id}/v1/health`)).status, 401);
  } finally {
    await fleet.stop();
  }
});

test('a session ends though somebody follows, waits, runs, and does not read', async () => {
  const other = await Session.start(['--no-sound', '--app', 'none']);
  const { token } = await other.login('program');
  const its = await SandboxAgent.connect({ baseUrl: other.origin, token });
  const cat = await its.createProcess({ command: 'cat' });
  const following = await its.followProcessLogs(cat.id, () => {});
  const running = its.runProcess({ command: 'sleep', args: ['1000'] }).catch(() => {});
  const waiting = other.api('POST', '/v1/desktop/wait/change', { timeoutMs: PATIENCE }, token).catch(() => {});
  await its.writeFsFile({ path: 'large' }, new Uint8Array(30_000_000));
  const stuck = get(`${other.origin}/v1/fs/file?path=large`, { headers: { authorization: `Bearer ${token}` } }, (response) => response.pause());
  stuck.on('error', () => {});
  await until('it runs', async () => (await its.runProcess({ command: 'pgrep', args: ['-c', 'sleep'] })).stdout.trim() === '1');
  const { code } = await other.stop();
  assert.equal(code, 0);
  stuck.destroy();
  await within('all of them end', Promise.all([running, waiting, following.closed.catch(() => {})]));
});
