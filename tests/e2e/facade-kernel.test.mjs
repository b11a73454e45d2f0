// The API of kernel-images, as its clients use it: every endpoint with its errors, on a real session.

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';
import WebSocket from 'ws';
import { bomb, tar, untar, unzip, zip, zstd } from './lib/archives.mjs';
import { servePages } from './lib/pages.mjs';
import { Fleet } from './lib/serve.mjs';
import { ROOT, Session } from './lib/session.mjs';
import { PATIENCE, until, within } from './lib/wait.mjs';

const HOME = '/home/kernel';
let pages;
let session;
/** Base address of the API, and the one without a token. */
let base;
let open;
let admin;

before(async () => {
  pages = await servePages();
  const options = ['--no-sound', '--disk', '1g', '--kernel-api', '0', '--kernel-cdp', '0', '--url', pages.url('input.html')];
  session = await Session.start(options, { env: { GLASSHOUSE_CDP_TOKEN: 'a-token-of-the-test' } });
  admin = (await session.login('program')).token;
  base = session.origin;
  open = `http://${session.kernel_api}`;
  await until('the page is ready', () => pages.reports.some(({ type }) => type === 'ready'));
});

after(async () => {
  await session?.stop();
  await pages?.stop();
});

/** Calls the API: status, body (JSON if it is, else text), headers. */
async function call(method, path, body, { at = base, token = admin, headers = {} } = {}) {
  const isRaw = body === undefined || body instanceof FormData || Buffer.isBuffer(body) || typeof body === 'string';
  const response = await fetch(at + path, {
    method, body: isRaw ? body : JSON.stringify(body), signal: AbortSignal.timeout(PATIENCE),
    headers: { ...(token && at === base ? { authorization: `Bearer ${token}` } : {}), ...headers },
  });
  const bytes = Buffer.from(await response.arrayBuffer());
  let value = bytes;
  const kind = response.headers.get('content-type') ?? '';
  if (kind.startsWith('application/json')) value = JSON.parse(bytes);
  else if (kind.startsWith('text/')) value = bytes.toString();
  return { status: response.status, body: value, headers: response.headers, bytes };
}

const get = (path, options) => call('GET', path, undefined, options);
const b64 = (text) => Buffer.from(text, 'base64').toString();

/** Expects a status, and for errors a message that begins so. */
async function expect(status, message, ...request) {
  const answer = await call(...request);
  const said = answer.body?.message ?? answer.body?.toString?.();
  assert.equal(answer.status, status, `${request[0]} ${request[1]}: ${answer.status} ${said}`);
  if (message !== null) assert.ok(said?.startsWith?.(message), `${request[0]} ${request[1]}: ${said}`);
  return answer;
}

/** Reads events of an SSE answer until `isEnough`; the events so far. */
async function events(path, isEnough, options = {}) {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), PATIENCE);
  const response = await fetch((options.at ?? base) + path, { headers: { authorization: `Bearer ${options.token ?? admin}` }, signal: stop.signal });
  assert.equal(response.status, 200);
  assert.match(response.headers.get('content-type'), /^text\/event-stream/);
  assert.equal(response.headers.get('x-sse-content-type'), 'application/json');
  const all = [];
  let text = '';
  try {
    await options.ready?.();
    for await (const part of response.body) {
      text += Buffer.from(part).toString();
      let end;
      while ((end = text.indexOf('\n\n')) >= 0) {
        const line = text.slice(0, end);
        text = text.slice(end + 2);
        if (line.startsWith('data: ')) all.push(JSON.parse(line.slice(6)));
      }
      if (isEnough(all)) return all;
    }
    return all;
  } finally {
    clearTimeout(timer);
    stop.abort();
  }
}

const form = (...fields) => {
  const made = new FormData();
  for (const [name, value] of fields) made.append(name, Buffer.isBuffer(value) ? new Blob([value]) : value, ...(Buffer.isBuffer(value) ? ['file'] : []));
  return made;
};
const write = (path, text, at = base) => expect(201, null, 'PUT', `/fs/write_file?path=${encodeURIComponent(path)}`, Buffer.from(text), { at });
const read = async (path) => (await expect(200, null, 'GET', `/fs/read_file?path=${encodeURIComponent(path)}`)).bytes;
const exec = async (command, ...args) => (await expect(200, null, 'POST', '/process/exec', { command, args })).body;
const reported = (what, found) => until(what, () => pages.reports.find(found));

test('who may use it: tokens, powers, and web pages stay out', async () => {
  await expect(401, 'no token', 'GET', '/spec.json', undefined, { token: null });
  await expect(401, 'this token is nobody', 'GET', '/spec.json', undefined, { token: 'x'.repeat(20) });
  await expect(200, null, 'GET', `/recording/list?token=${admin}`, undefined, { token: null });
  const guest = (await session.login('guest', false)).token;
  await expect(403, 'programs and files', 'GET', '/fs/list_files?path=/home/user', undefined, { token: guest });
  await expect(403, 'programs and files', 'POST', '/process/exec', { command: 'id' }, { token: guest });
  await expect(403, 'programs and files', 'PATCH', '/chromium/flags', { flags: ['--x'] }, { token: guest });
  await expect(200, null, 'POST', '/computer/screenshot', {}, { token: guest });
  // The port of its own trusts whoever reaches it, but no page.
  await expect(200, null, 'GET', '/spec.json', undefined, { at: open });
  await expect(403, '', 'GET', '/spec.json', undefined, { at: open, headers: { origin: 'https://evil.example' } });
  await expect(403, '', 'POST', '/process/exec', { command: 'id' }, { at: open, headers: { origin: 'null' } });
  await expect(403, '', 'GET', '/fs/list_files?path=/home/user', undefined, { at: open, headers: { 'sec-fetch-site': 'cross-site' } });
  await expect(404, '', 'GET', '/v1/health', undefined, { at: open });
  await expect(404, '', 'GET', '/api/whoami', undefined, { at: open });
});

test('the document of the API names what there is, and all of that answers', async () => {
  const { body, headers } = await expect(200, null, 'GET', '/spec.json');
  assert.equal(body.info.title, 'Kernel Images API');
  const yaml = await get('/spec.yaml', { at: open });
  assert.equal(yaml.headers.get('content-type'), 'application/vnd.oai.openapi');
  assert.deepEqual(JSON.parse(yaml.bytes), body);
  assert.match(headers.get('content-type'), /json/);
  for (const [path, operations] of Object.entries(body.paths)) {
    for (const method of Object.keys(operations)) {
      // Without a token nothing happens; what is no route would be a 404 or 405.
      const { status } = await call(method.toUpperCase(), path.replace(/\{\w+\}/, 'x'), undefined, { token: null });
      assert.equal(status, 401, `${method} ${path}`);
    }
  }
});

test('mouse and keyboard reach the page', async () => {
  pages.reports.length = 0;
  await expect(200, null, 'POST', '/computer/move_mouse', { x: 300, y: 600 });
  await reported('the move arrives', ({ type, screen }) => type === 'mousemove' && screen.join() === '300,600');
  await expect(200, null, 'POST', '/computer/click_mouse', { x: 400, y: 610, button: 'right' });
  await reported('the click arrives', ({ type, button, screen }) => type === 'mousedown' && button === 2 && screen.join() === '400,610');
  await expect(200, null, 'POST', '/computer/click_mouse', { x: 410, y: 610, num_clicks: 3 });
  await until('three clicks arrive', () => pages.reports.filter(({ type, button }) => type === 'mouseup' && button === 0).length === 3);
  await expect(200, null, 'POST', '/computer/click_mouse', { x: 420, y: 610, click_type: 'down' });
  await expect(200, null, 'POST', '/computer/move_mouse', { x: 430, y: 620 });
  await expect(200, null, 'POST', '/computer/click_mouse', { x: 430, y: 620, click_type: 'up' });
  await reported('the button was held', ({ type, screen }) => type === 'mouseup' && screen.join() === '430,620');
  await expect(200, null, 'POST', '/computer/scroll', { x: 400, y: 600, delta_x: 2, delta_y: -3 });
  await reported('the wheel arrives, up', ({ type, y }) => type === 'wheel' && y < 0);
  await reported('the wheel arrives, right', ({ type, x }) => type === 'wheel' && x > 0);
  pages.reports.length = 0;
  await expect(200, null, 'POST', '/computer/drag_mouse', { path: [[300, 600], [500, 600], [500, 650]], steps_per_segment: 4, step_delay_ms: 5, hold_keys: ['Shift_L'] });
  await reported('the drag ends where it should', ({ type, screen }) => type === 'mouseup' && screen.join() === '500,650');
  assert.ok(pages.reports.some(({ type, screen }) => type === 'mousedown' && screen.join() === '300,600'));
  await reported('shift was held', ({ type, key }) => type === 'keyup' && key === 'Shift');

  pages.reports.length = 0;
  await expect(200, null, 'POST', '/computer/click_mouse', { x: 300, y: 250 });
  await reported('the field is clicked', ({ type, screen }) => type === 'mouseup' && screen.join() === '300,250');
  await expect(200, null, 'POST', '/computer/type', { text: 'Grüße\n漢字 A', delay: 12 });
  await reported('the text arrives', ({ type, text }) => type === 'text' && text === 'Grüße\n漢字 A');
  await expect(200, null, 'POST', '/computer/press_key', { keys: ['Ctrl+a', 'BackSpace'] });
  await reported('the text is gone', ({ type, length }) => type === 'text' && length === 0);
  await expect(200, null, 'POST', '/computer/press_key', { keys: ['a'], duration: 30, hold_keys: ['Shift_L'] });
  await reported('shift is held around', ({ type, key }) => type === 'keydown' && key === 'A');

  const table = [
    ['move_mouse', { x: -1, y: 0 }, 'coordinates must be non-negative'],
    ['move_mouse', { x: 1280, y: 0 }, 'coordinates exceed screen bounds (max: 1279x719)'],
    ['move_mouse', { y: 1 }, "can't decode JSON body"],
    ['move_mouse', '{', "can't decode JSON body"],
    ['click_mouse', { x: 1, y: 1, button: 'nose' }, 'unsupported button: nose'],
    ['click_mouse', { x: 1, y: 1, click_type: 'nose' }, 'unsupported click type: nose'],
    ['type', { text: 'x', delay: -1 }, 'delay must be >= 0 milliseconds'],
    ['press_key', { keys: [] }, 'keys must contain at least one key symbol'],
    ['press_key', { keys: ['a'], duration: -1 }, 'duration must be >= 0 milliseconds'],
    ['press_key', { keys: ['nonsense'] }, 'there is no key'],
    ['scroll', { x: 9999, y: 0 }, 'at least one of delta_x or delta_y must be non-zero'],
    ['scroll', { x: 9999, y: 0, delta_y: 1 }, 'coordinates exceed screen bounds'],
    ['drag_mouse', { path: [[1, 1]] }, 'path must contain at least two points'],
    ['drag_mouse', { path: [[1, 1], [2]] }, 'path[1] must be [x,y]'],
    ['drag_mouse', { path: [[1, 1], [9999, 2]] }, 'coordinates exceed screen bounds'],
    ['drag_mouse', { path: [[1, 1], [2, 2]], button: 'back' }, 'unsupported button: back'],
    ['screenshot', { region: { x: -1, y: 0, width: 1, height: 1 } }, 'invalid region dimensions'],
    ['screenshot', { region: { x: 1279, y: 0, width: 2, height: 1 } }, 'region exceeds screen bounds'],
  ];
  for (const [name, body, message] of table) await expect(400, message, 'POST', `/computer/${name}`, body);
});

test('screenshots, and the pointer in them or not', async () => {
  const size = (png) => [png.readUInt32BE(16), png.readUInt32BE(20)];
  const whole = await call('POST', '/computer/screenshot');
  assert.equal(whole.headers.get('content-type'), 'image/png');
  assert.deepEqual(size(whole.bytes), [1280, 720]);
  const region = { region: { x: 600, y: 600, width: 50, height: 50 } };
  await expect(200, null, 'POST', '/computer/move_mouse', { x: 620, y: 620 });
  const pointed = await expect(200, null, 'POST', '/computer/screenshot', region);
  assert.deepEqual(size(pointed.bytes), [50, 50]);
  assert.deepEqual((await expect(200, null, 'POST', '/computer/cursor', { hidden: true })).body, { ok: true });
  const bare = await expect(200, null, 'POST', '/computer/screenshot', region);
  assert.notDeepEqual(bare.bytes, pointed.bytes);
  await expect(200, null, 'POST', '/computer/cursor', { hidden: false });
});

test('processes: exec, its errors and its time', async () => {
  const done = await exec('sh', '-c', 'printf out; printf err >&2; exit 3');
  assert.deepEqual([done.exit_code, b64(done.stdout_b64), b64(done.stderr_b64)], [3, 'out', 'err']);
  assert.ok(done.duration_ms >= 0);
  assert.equal((await exec('sh', '-c', 'kill -9 $$')).exit_code, -1);
  const there = await expect(200, null, 'POST', '/process/exec', { command: 'sh', args: ['-c', 'echo $A; pwd'], env: { A: 'b' }, cwd: `${HOME}/Downloads`, as_user: 'kernel' });
  assert.equal(b64(there.body.stdout_b64), 'b\n/home/user/Downloads\n');
  const list = await exec('sh', '-c', 'curl -s http://127.0.0.1:9222/json/list || true; ls /proc');
  assert.ok(!b64(list.stdout_b64).split('\n').includes(String(session.pid)), 'a pid namespace of its own');
  await expect(500, 'process timed out', 'POST', '/process/exec', { command: 'sleep', args: ['1000'], timeout_sec: 1 });
  await expect(500, 'failed to start process', 'POST', '/process/exec', { command: 'no-such-program' });
  await expect(400, 'command required', 'POST', '/process/exec', {});
  await expect(400, 'cannot specify both as_root and as_user', 'POST', '/process/exec', { command: 'id', as_user: 'x', as_root: true });
  await expect(400, 'failed to lookup user "nobody"', 'POST', '/process/exec', { command: 'id', as_user: 'nobody' });
  await expect(400, 'failed to lookup user "root": there is no root within the walls', 'POST', '/process/exec', { command: 'id', as_root: true });
  await expect(400, 'cwd must be a path', 'POST', '/process/exec', { command: 'id', cwd: '../..' });
  const flood = await exec('sh', '-c', 'head -c 20000000 /dev/zero');
  assert.equal(flood.stdout_truncated, true);
  assert.equal(Buffer.from(flood.stdout_b64, 'base64').length, 8 * 1024 * 1024);
});

test('processes: spawn, stream, input, signals', async () => {
  const spawn = async (body) => (await expect(200, null, 'POST', '/process/spawn', body)).body;
  const { process_id: id, pid, started_at: at } = await spawn({ command: 'sh', args: ['-c', 'printf ABC; printf DEF >&2; read line; echo "got $line"; exit 4'] });
  assert.match(id, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
  assert.ok(pid > 1 && Date.parse(at) > 0);
  const path = `/process/${id}`;
  // As the kernel tells it within the walls; once the shell waits, it has about as much a moment later.
  await until('its memory is told', async () => {
    const { mem_bytes: memory, ...status } = (await get(`${path}/status`)).body;
    assert.deepEqual(status, { state: 'running', exit_code: null, cpu_pct: 0 });
    const pages4k = Number(b64((await exec('cat', `/proc/${pid}/statm`)).stdout_b64).split(' ')[1]);
    if (!(pages4k > 0 && Math.abs(memory - pages4k * 4096) < 1 << 20)) throw new Error(`${memory} against ${pages4k} pages`);
    return true;
  });
  const said = (all, stream) => all.filter((one) => one.stream === stream).map((one) => b64(one.data_b64)).join('');
  let given = false;
  const all = await events(`${path}/stdout/stream`, (seen) => {
    if (!given && said(seen, 'stdout') === 'ABC' && said(seen, 'stderr') === 'DEF') {
      given = true;
      void expect(200, null, 'POST', `${path}/stdin`, { data_b64: Buffer.from('input\n').toString('base64') });
    }
    return seen.at(-1)?.event === 'exit';
  });
  assert.equal(said(all, 'stdout'), 'ABCgot input\n');
  assert.deepEqual(all.at(-1), { event: 'exit', exit_code: 4 });
  // Who comes later gets all of it.
  assert.deepEqual(await events(`${path}/stdout/stream`, (seen) => seen.at(-1)?.event === 'exit'), all);
  assert.deepEqual((await get(`${path}/status`)).body, { state: 'exited', exit_code: 4, cpu_pct: 0 });
  await expect(500, 'failed to write to stdin', 'POST', `${path}/stdin`, { data_b64: 'eA==' });
  await expect(400, 'invalid base64', 'POST', `${path}/stdin`, { data_b64: '!' });
  await expect(500, 'failed to signal process', 'POST', `${path}/kill`, { signal: 'TERM' });
  await expect(400, 'process is not PTY-backed', 'POST', `${path}/resize`, { rows: 1, cols: 1 });

  const sleeper = `/process/${(await spawn({ command: 'sleep', args: ['1000'] })).process_id}`;
  await expect(400, 'invalid signal', 'POST', `${sleeper}/kill`, {});
  await expect(400, 'invalid signal', 'POST', `${sleeper}/kill`, { signal: 'STOP' });
  assert.deepEqual((await expect(200, null, 'POST', `${sleeper}/kill`, { signal: 'TERM' })).body, { ok: true });
  const ended = await events(`${sleeper}/stdout/stream`, (seen) => seen.at(-1)?.event === 'exit');
  assert.deepEqual(ended, [{ event: 'exit', exit_code: -1 }]);

  const nobody = '/process/00000000-0000-4000-8000-00000000ffff';
  await expect(404, 'process not found', 'GET', `${nobody}/status`);
  await expect(404, 'process not found', 'GET', `${nobody}/stdout/stream`);
  await expect(404, 'process not found', 'POST', `${nobody}/kill`, { signal: 'TERM' });
  await expect(400, 'Invalid format for parameter process_id', 'GET', '/process/proc_1/status');
  await expect(400, 'rows must be <= 65535', 'POST', '/process/spawn', { command: 'id', rows: 70000 });
});

/** A terminal's frames. */
async function attach(path, at = base.replace('http', 'ws'), token = `?token=${admin}`) {
  const socket = new WebSocket(`${at}${path}/attach${token}`, { handshakeTimeout: PATIENCE });
  const terminal = { socket, output: '', exit: undefined };
  terminal.closed = new Promise((resolve) => socket.on('close', resolve));
  socket.on('message', (data, isBinary) => {
    if (isBinary) terminal.output += data;
    else terminal.exit = JSON.parse(data);
  });
  await new Promise((resolve, reject) => {
    socket.on('open', resolve).on('error', reject);
    socket.on('unexpected-response', (_, response) => {
      let text = '';
      response.on('data', (part) => { text += part; }).on('end', () => reject(Object.assign(new Error(text), { status: response.statusCode })));
    });
  });
  return terminal;
}

test('processes: a terminal that is attached to', async () => {
  const { body } = await expect(200, null, 'POST', '/process/spawn', { command: 'sh', allocate_tty: true, rows: 30, cols: 90 });
  const path = `/process/${body.process_id}`;
  const terminal = await attach(path);
  terminal.socket.send(Buffer.from('stty size; echo $TERM\n'));
  await until('the terminal has its size', () => terminal.output.includes('30 90') && terminal.output.includes('xterm-256color'));
  terminal.socket.send(JSON.stringify({ type: 'resize', rows: 41, cols: 101 }));
  terminal.socket.send(JSON.stringify({ type: 'nonsense' }));
  terminal.socket.send(Buffer.from('stty size\n'));
  await until('it is resized', () => terminal.output.includes('41 101'));
  await expect(200, null, 'POST', `${path}/resize`, { rows: 42, cols: 102 });
  await expect(400, 'rows and cols must be > 0', 'POST', `${path}/resize`, { rows: 0, cols: 1 });
  await expect(400, 'rows and cols must be <= 65535', 'POST', `${path}/resize`, { rows: 1, cols: 70000 });
  await assert.rejects(attach(path), ({ status, message }) => status === 409 && JSON.parse(message).message === 'process already has an active attach session');
  terminal.socket.terminate();
  const again = await until('it can be attached to again', () => attach(path).catch(() => null));
  again.socket.send(Buffer.from('stty size; exit 5\n'));
  await until('the end is told', () => again.exit);
  assert.ok(again.output.includes('42 102'));
  assert.deepEqual(again.exit, { type: 'exit', exitCode: 5 });
  await within('it is closed', again.closed);
  const plain = await expect(200, null, 'POST', '/process/spawn', { command: 'cat' });
  await assert.rejects(attach(`/process/${plain.body.process_id}`), ({ status, message }) => status === 400 && JSON.parse(message).message === 'process is not PTY-backed');
  await assert.rejects(attach('/process/00000000-0000-4000-8000-00000000ffff'), ({ status }) => status === 404);
  // A page of another site has no token; on the open port it is its origin that keeps it out.
  await assert.rejects(attach(path, base.replace('http', 'ws'), ''), ({ status }) => status === 401);
  const foreign = new WebSocket(`ws://${session.kernel_api}${path}/attach`, { origin: 'https://evil.example', handshakeTimeout: PATIENCE });
  const refused = await new Promise((resolve) => foreign.on('unexpected-response', (_, response) => { resolve(response.statusCode); foreign.terminate(); }).on('error', () => {}));
  assert.equal(refused, 403);
});

test('files: written, read, listed, moved, removed', async () => {
  await expect(201, null, 'PUT', `/fs/write_file?path=${HOME}/k/a.txt&mode=600`, Buffer.from('content'));
  assert.equal((await read('/home/user/k/a.txt')).toString(), 'content');
  assert.equal((await read('k/a.txt')).toString(), 'content');
  const info = (await expect(200, null, 'GET', `/fs/file_info?path=${HOME}/k/a.txt`)).body;
  assert.deepEqual([info.name, info.path, info.size_bytes, info.is_dir, info.mode], ['a.txt', `${HOME}/k/a.txt`, 7, false, '-rw-------']);
  assert.ok(Date.parse(info.mod_time) > 0);
  await expect(201, null, 'PUT', '/fs/create_directory', { path: `${HOME}/k/d/e`, mode: '750' });
  await expect(201, null, 'PUT', '/fs/create_directory', { path: `${HOME}/k/d/e` });
  assert.equal((await get(`/fs/file_info?path=${HOME}/k/d/e`)).body.mode, 'drwxr-x---');
  const { body: listed } = await expect(200, null, 'GET', `/fs/list_files?path=${HOME}/k`);
  assert.deepEqual(listed.map(({ name, path, is_dir: isDir }) => [name, path, isDir]), [['a.txt', `${HOME}/k/a.txt`, false], ['d', `${HOME}/k/d`, true]]);
  assert.deepEqual((await get(`/fs/list_files?path=${HOME}/k/d/e`)).body, []);
  await expect(200, null, 'PUT', '/fs/set_file_permissions', { path: `${HOME}/k/a.txt`, mode: '4755', owner: 'root' });
  assert.equal((await get(`/fs/file_info?path=${HOME}/k/a.txt`)).body.mode, '-rwxr-xr-x');
  await expect(200, null, 'PUT', '/fs/move', { src_path: `${HOME}/k/a.txt`, dest_path: `${HOME}/k/b.txt` });
  assert.equal((await read(`${HOME}/k/b.txt`)).toString(), 'content');
  await write(`${HOME}/k/d/full`, 'x');
  await expect(500, 'failed to move path', 'PUT', '/fs/move', { src_path: `${HOME}/k/b.txt`, dest_path: `${HOME}/k/d` });
  await expect(200, null, 'PUT', '/fs/delete_file', { path: `${HOME}/k/b.txt` });
  await expect(200, null, 'PUT', '/fs/delete_file', { path: `${HOME}/k/d/e` });
  await expect(500, 'unable to delete file', 'PUT', '/fs/delete_file', { path: `${HOME}/k/d` });
  await expect(200, null, 'PUT', '/fs/delete_directory', { path: `${HOME}/k/d` });
  await expect(200, null, 'PUT', '/fs/delete_directory', { path: `${HOME}/k/d` });

  await exec('sh', '-c', 'cd; mkfifo pipe; ln -s /etc/passwd link; ln -s / root');
  const table = [
    [404, 'file not found', 'GET', `/fs/read_file?path=${HOME}/none`],
    [400, 'Query argument path is required, but not found', 'GET', '/fs/read_file'],
    [400, 'Query argument path is required, but not found', 'GET', '/fs/read_file?path='],
    [400, 'invalid mode', 'PUT', `/fs/write_file?path=${HOME}/x&mode=9`, Buffer.from('x')],
    [404, 'directory not found', 'GET', `/fs/list_files?path=${HOME}/none`],
    [404, 'path not found', 'GET', `/fs/file_info?path=${HOME}/none`],
    [400, 'path cannot be empty', 'PUT', '/fs/create_directory', {}],
    [400, 'invalid mode', 'PUT', '/fs/create_directory', { path: `${HOME}/x`, mode: 'x' }],
    [404, 'file not found', 'PUT', '/fs/delete_file', { path: `${HOME}/none` }],
    [400, 'invalid mode', 'PUT', '/fs/set_file_permissions', { path: `${HOME}/k` }],
    [404, 'path not found', 'PUT', '/fs/set_file_permissions', { path: `${HOME}/none`, mode: '600' }],
    [400, 'src_path and dest_path required', 'PUT', '/fs/move', { src_path: `${HOME}/k` }],
    [404, 'source not found', 'PUT', '/fs/move', { src_path: `${HOME}/none`, dest_path: `${HOME}/x` }],
    // Nothing leads out of HOME, and nothing but files is read.
    [403, 'only files below', 'GET', '/fs/read_file?path=/etc/passwd'],
    [403, 'only files below', 'GET', '/fs/list_files?path=/var/tmp'],
    [403, 'path must not have ..', 'GET', `/fs/read_file?path=${HOME}/../../etc/passwd`],
    [403, '', 'GET', `/fs/read_file?path=${HOME}/link`],
    [403, '', 'GET', `/fs/read_file?path=${HOME}/root/etc/passwd`],
    [403, '', 'GET', `/fs/read_file?path=${HOME}/pipe`],
    [403, '', 'PUT', `/fs/write_file?path=${HOME}/link`, Buffer.from('x')],
    [403, '', 'PUT', `/fs/write_file?path=${HOME}/root/tmp/x`, Buffer.from('x')],
    [403, '', 'PUT', '/fs/set_file_permissions', { path: `${HOME}/link`, mode: '777' }],
  ];
  for (const request of table) await expect(...request);
  await exec('sh', '-c', 'cd; rm pipe link root');
});

test('files: the /tmp of the session, which is not the one of this machine', async () => {
  const ours = join(tmpdir(), `glasshouse-test-host-${process.pid}`);
  writeFileSync(ours, 'of the host');
  try {
    const names = async () => (await expect(200, null, 'GET', '/fs/list_files?path=/tmp')).body.map(({ name }) => name);
    assert.ok(!(await names()).includes(basename(ours)), 'it is the host\'s');
    await expect(404, 'file not found', 'GET', `/fs/read_file?path=/tmp/${basename(ours)}`);
    const big = Buffer.alloc(3_000_000, 'glass');
    await expect(201, null, 'PUT', '/fs/write_file?path=/tmp/api/a.bin&mode=600', big);
    assert.deepEqual(await read('/tmp/api/a.bin'), big);
    assert.equal(existsSync('/tmp/api'), false, 'nothing of it is on the host');
    // The programs have it, as theirs.
    const seen = b64((await exec('sh', '-c', 'stat -c "%u %a %s" /tmp/api/a.bin; id -u; echo more >> /tmp/api/a.bin; echo by a program > /tmp/b.txt')).stdout_b64);
    const [, user] = seen.trim().split('\n');
    assert.equal(seen, `${user} 600 ${big.length}\n${user}\n`);
    assert.equal((await get('/fs/file_info?path=/tmp/api/a.bin')).body.size_bytes, big.length + 5);
    assert.equal((await read('/tmp/b.txt')).toString(), 'by a program\n');
    await expect(201, null, 'PUT', '/fs/write_file?path=/tmp/api/a.bin', Buffer.from('shorter'));
    assert.equal((await read('/tmp/api/a.bin')).toString(), 'shorter');
    await expect(201, null, 'POST', '/fs/upload', form(['file', big], ['dest_path', '/tmp/form/up.bin']));
    assert.deepEqual(await read('/tmp/form/up.bin'), big);
    await expect(200, null, 'PUT', '/fs/move', { src_path: '/tmp/form/up.bin', dest_path: '/tmp/moved' });
    await expect(500, 'failed to move path', 'PUT', '/fs/move', { src_path: '/tmp/moved', dest_path: `${HOME}/moved` });
    assert.deepEqual([...unzip((await get('/fs/download_dir_zip?path=/tmp/api')).bytes).keys()], ['a.bin']);
    await exec('sh', '-c', 'cd /tmp; ln -s /etc/passwd link; ln -s / root; ln -s /home/user home; mkfifo pipe');
    for (const [status, message, ...request] of [
      [403, '/tmp/link: links are not followed', 'GET', '/fs/read_file?path=/tmp/link'],
      [403, '', 'GET', '/fs/read_file?path=/tmp/root/etc/passwd'],
      [403, '', 'PUT', '/fs/write_file?path=/tmp/link', Buffer.from('x')],
      [403, '', 'PUT', '/fs/write_file?path=/tmp/home/x', Buffer.from('x')],
      [403, '/tmp/pipe: it is no ordinary file', 'GET', '/fs/read_file?path=/tmp/pipe'],
      [403, 'path must not have ..', 'GET', '/fs/read_file?path=/tmp/../etc/passwd'],
      // Its sockets are another mount.
      [403, '/tmp/.X11-unix: it leads to another file system', 'PUT', '/fs/set_file_permissions', { path: '/tmp/.X11-unix', mode: '777' }],
      [400, '/tmp itself stays', 'PUT', '/fs/delete_directory', { path: '/tmp' }],
      [403, 'archives are unpacked below HOME only', 'POST', '/fs/upload_zip', form(['zip_file', zip([{ name: 'x', content: big }])], ['dest_path', '/tmp/zip'])],
    ]) await expect(status, message, ...request);
    assert.deepEqual((await names()).filter((name) => name.startsWith('.glasshouse-')), [], 'nothing half done is left');
  } finally {
    rmSync(ours);
    await exec('sh', '-c', 'cd /tmp; rm -rf api form moved link root home pipe b.txt');
  }
});

test('files: forms in any order and style', async () => {
  const at = (name) => `${HOME}/forms/${name}`;
  for (const [style, file, path] of [
    ['dots', 'files[0].file', 'files[0].dest_path'], ['brackets', 'files[0][file]', 'files[0][dest_path]'],
    ['numbers', 'files.0.file', 'files.0.dest_path'], ['plain', 'file', 'dest_path'],
  ]) {
    await expect(201, null, 'POST', '/fs/upload', form([file, Buffer.from(style)], [path, at(style)]));
    await expect(201, null, 'POST', '/fs/upload', form([path, at(`${style}2`)], [file, Buffer.from(style)]));
    assert.equal(`${await read(at(style))}${await read(at(`${style}2`))}`, style + style);
  }
  const several = form(['files[1].dest_path', at('one')], ['files[0].file', Buffer.from('0')], ['files[1].file', Buffer.from('1')], ['files[0].dest_path', at('zero')]);
  await expect(201, null, 'POST', '/fs/upload', several);
  assert.equal(`${await read(at('zero'))}${await read(at('one'))}`, '01');
  const table = [
    ['/fs/upload', 'invalid form field: nose', ['nose', 'x']],
    ['/fs/upload', 'dest_path must be an absolute path', ['dest_path', 'x']],
    ['/fs/upload', 'each item must include file and dest_path', ['dest_path', '/home/user/x']],
    ['/fs/upload_zip', 'zip_file and dest_path are required', ['dest_path', '/home/user/x']],
    ['/fs/upload_zip', 'invalid form field: nose', ['nose', 'x']],
    ['/fs/upload_zstd', 'archive and dest_path are required', ['archive', Buffer.from('x')]],
  ];
  for (const [path, message, ...fields] of table) await expect(400, message, 'POST', path, form(...fields));
  await expect(403, 'only files below', 'POST', '/fs/upload', form(['file', Buffer.from('x')], ['dest_path', '/etc/x']));
  await expect(400, '', 'POST', '/fs/upload', Buffer.from('no form'), { headers: { 'content-type': 'text/plain' } });
  // Nothing half done is left.
  const { body } = await get(`/fs/list_files?path=${HOME}`);
  assert.deepEqual(body.filter(({ name }) => name.startsWith('.glasshouse-')), []);
});

test('files: zip and zstd both ways, and what is hostile is refused', async () => {
  const big = Buffer.alloc(300_000, 'glass');
  const upload = (path, archive, to, ...more) => ['POST', path, form([path.endsWith('zip') ? 'zip_file' : 'archive', archive], ['dest_path', to], ...more)];
  await expect(201, null, ...upload('/fs/upload_zip', zip([{ name: 'd/' }, { name: 'd/big', content: big }, { name: 'tool', content: Buffer.from('#!'), mode: 0o100755 }]), `${HOME}/z`));
  assert.deepEqual(await read(`${HOME}/z/d/big`), big);
  assert.equal((await get(`/fs/file_info?path=${HOME}/z/tool`)).body.mode, '-rwxr-xr-x');
  await exec('sh', '-c', 'cd ~/z; ln -s /etc/passwd link; mkfifo pipe; mkdir empty');
  const zipped = await expect(200, null, 'GET', `/fs/download_dir_zip?path=${HOME}/z`);
  assert.equal(zipped.headers.get('content-type'), 'application/zip');
  const unzipped = unzip(zipped.bytes);
  assert.deepEqual([...unzipped.keys()].sort(), ['d/', 'd/big', 'empty/', 'tool']);
  assert.deepEqual(unzipped.get('d/big'), big);
  await expect(201, null, ...upload('/fs/upload_zip', zipped.bytes, `${HOME}/z2`));
  assert.deepEqual(await read(`${HOME}/z2/d/big`), big);

  for (const level of ['fastest', 'default', 'better', 'best', 'nonsense']) {
    const packed = await expect(200, null, 'GET', `/fs/download_dir_zstd?path=${HOME}/z&compression_level=${level}`);
    assert.equal(packed.headers.get('content-type'), 'application/zstd');
    assert.equal(packed.bytes.toString('hex', 0, 4), '28b52ffd');
    assert.ok(packed.bytes.length < 10_000);
    await expect(201, null, ...upload('/fs/upload_zstd', packed.bytes, `${HOME}/${level}`));
    assert.deepEqual(await read(`${HOME}/${level}/d/big`), big);
  }
  const nested = tar([{ name: 'a/b/c', content: Buffer.from('deep') }, { name: 'a/top', content: Buffer.from('top') }]);
  await expect(201, null, ...upload('/fs/upload_zstd', zstd(nested), `${HOME}/strip`, ['strip_components', '2']));
  assert.deepEqual((await get(`/fs/list_files?path=${HOME}/strip`)).body.map(({ name }) => name), ['c']);

  const evil = Buffer.from('evil');
  for (const [message, ...files] of [
    ['invalid zip file', { name: '../evil', content: evil }],
    ['invalid zip file', { name: 'a/../../evil', content: evil }],
    ['invalid zip file', { name: '/home/user/evil', content: evil }],
    ['invalid zip file', { name: 'link', content: Buffer.from('/etc'), mode: 0o120777 }],
    ['invalid zip file', { name: 'device', mode: 0o020666 }],
    // It says that it is small, and is not; and the other way round.
    ['invalid zip file', { name: 'liar', content: big, size: 10 }],
    ['invalid zip file', { name: 'liar', content: evil, size: 1000 }],
  ]) await expect(400, message, ...upload('/fs/upload_zip', zip(files), `${HOME}/hostile`));
  await expect(400, 'invalid zip file', ...upload('/fs/upload_zip', Buffer.from('no zip'), `${HOME}/hostile`));
  await expect(400, 'invalid zip file', ...upload('/fs/upload_zip', zipped.bytes.subarray(0, -40), `${HOME}/hostile`));
  await expect(413, 'the archive is too large', ...upload('/fs/upload_zip', zip(Array.from({ length: 4 }, (_, i) => ({ name: `b${i}`, content: evil, size: 0x7fffffff }))), `${HOME}/hostile`));
  // A link that is there is not gone through.
  await exec('sh', '-c', 'mkdir -p ~/trap; ln -s /tmp ~/trap/out');
  await expect(403, '', ...upload('/fs/upload_zip', zip([{ name: 'out/evil', content: evil }]), `${HOME}/trap`));
  for (const entry of [{ name: '../evil', content: evil }, { name: '/evil', content: evil }]) {
    await expect(400, 'invalid archive: path traversal detected', ...upload('/fs/upload_zstd', zstd(tar([entry])), `${HOME}/hostile`));
  }
  for (const entry of [{ name: 'link', type: '2', link: '/etc' }, { name: 'hard', type: '1', link: 'x' }, { name: 'device', type: '3' }, { name: 'pipe', type: '6' }]) {
    await expect(500, 'failed to extract archive', ...upload('/fs/upload_zstd', zstd(tar([entry])), `${HOME}/hostile`));
  }
  await expect(500, 'failed to extract archive', ...upload('/fs/upload_zstd', Buffer.from('no zstd'), `${HOME}/hostile`));
  const small = bomb(300 * 1024 * 1024);
  assert.ok(small.length < 100_000);
  await expect(413, 'the archive is too large', ...upload('/fs/upload_zstd', small, `${HOME}/hostile`));
  assert.equal(b64((await exec('sh', '-c', 'ls -A /tmp/evil ~/evil /home/evil ~/hostile 2>/dev/null | grep -c evil')).stdout_b64), '0\n');

  await expect(404, 'directory not found', 'GET', `/fs/download_dir_zip?path=${HOME}/none`);
  await expect(400, 'path is not a directory', 'GET', `/fs/download_dir_zip?path=${HOME}/z/tool`);
  await expect(400, 'path is not a directory', 'GET', `/fs/download_dir_zstd?path=${HOME}/z/tool`);
  for (const name of ['z', 'z2', 'fastest', 'default', 'better', 'best', 'nonsense', 'strip', 'hostile', 'trap']) await expect(200, null, 'PUT', '/fs/delete_directory', { path: `${HOME}/${name}` });
});

test('files: watches tell what happens', async () => {
  await expect(201, null, 'PUT', '/fs/create_directory', { path: `${HOME}/w/sub` });
  const { body } = await expect(201, null, 'POST', '/fs/watch', { path: `${HOME}/w`, recursive: true });
  assert.match(body.watch_id, /^[a-z][a-z0-9]{23}$/);
  await exec('sh', '-c', 'cd ~/w; echo x > sub/a; mv sub/a b; rm b; mkdir new');
  const seen = (all) => all.map(({ type, path, is_dir: isDir }) => `${type} ${path.slice(HOME.length + 3)}${isDir ? '/' : ''}`);
  // What came before the reader has waited for it.
  const wanted = ['CREATE sub/a', 'WRITE sub/a', 'RENAME sub/a', 'CREATE b', 'DELETE b', 'CREATE new/'];
  const all = await events(`/fs/watch/${body.watch_id}/events`, (so) => wanted.every((one) => seen(so).includes(one)));
  for (const one of wanted) assert.ok(seen(all).includes(one), `${one}: ${seen(all)}`);
  assert.equal(all[0].name, 'a');
  await until('a folder that is new is watched', async () => {
    const started = events(`/fs/watch/${body.watch_id}/events`, (so) => so.length > 0, { ready: () => write(`${HOME}/w/new/file`, 'x') });
    return seen(await started).some((one) => one.includes('new/file'));
  });
  await expect(204, null, 'DELETE', `/fs/watch/${body.watch_id}`);
  await expect(404, 'watch not found', 'DELETE', `/fs/watch/${body.watch_id}`);
  await expect(404, 'watch not found', 'GET', `/fs/watch/${body.watch_id}/events`);
  await expect(404, 'path not found', 'POST', '/fs/watch', { path: `${HOME}/none` });
  await expect(403, 'only files below', 'POST', '/fs/watch', { path: '/etc' });
  // Their number is bounded.
  const ids = [];
  for (;;) {
    const answer = await call('POST', '/fs/watch', { path: `${HOME}/w` });
    if (answer.status !== 201) { assert.equal(answer.status, 503); break; }
    ids.push(answer.body.watch_id);
    assert.ok(ids.length <= 16);
  }
  for (const id of ids) await expect(204, null, 'DELETE', `/fs/watch/${id}`);
});

test('our own API: a folder as tar, and a watch', async () => {
  await write(`${HOME}/own/a/b.txt`, 'own');
  const { status, headers, bytes } = await get('/v1/fs/archive?path=own');
  assert.deepEqual([status, headers.get('content-type')], [200, 'application/x-tar']);
  const files = untar(bytes);
  assert.deepEqual([...files.keys()].sort(), ['a/', 'a/b.txt']);
  assert.equal(files.get('a/b.txt').toString(), 'own');
  assert.equal((await get('/v1/fs/archive?path=/etc')).status, 403);
  assert.equal((await get('/v1/fs/archive?path=own/a/b.txt')).status, 400);
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), PATIENCE);
  try {
    const response = await fetch(`${base}/v1/fs/watch?path=own&recursive=true`, { headers: { authorization: `Bearer ${admin}` }, signal: stop.signal });
    let text = '';
    const wanted = ['"type":"create"', '"type":"modify"', '"from":"/home/user/own/a/c"', '"type":"delete"'];
    let done = false;
    for await (const part of response.body) {
      text += Buffer.from(part).toString();
      if (text.includes('watching') && !done) {
        done = true;
        void exec('sh', '-c', 'cd ~/own/a; echo 1 > c; mv c d; rm d');
      }
      if (wanted.every((one) => text.includes(one))) break;
    }
    for (const one of wanted) assert.ok(text.includes(one), `${one}: ${text}`);
  } finally {
    clearTimeout(timer);
    stop.abort();
  }
});

test('logs are followed', async () => {
  await write(`${HOME}/log.txt`, 'first\n\nsecond\n');
  const messages = (all) => all.map(({ message }) => message);
  const all = await events(`/logs/stream?source=path&follow=false&path=${HOME}/log.txt`, (seen) => seen.length >= 3, {
    ready: () => exec('sh', '-c', 'echo third >> ~/log.txt'),
  });
  assert.deepEqual(messages(all), ['first', 'second', 'third']);
  assert.ok(Date.parse(all[0].timestamp) > 0);
  const later = await events(`/logs/stream?source=path&path=${HOME}/log.txt`, (seen) => seen.length >= 1, {
    ready: () => exec('sh', '-c', 'echo fourth >> ~/log.txt'),
  });
  assert.deepEqual(messages(later), ['fourth']);
  for (const [query, message] of [
    ['source=supervisor', 'logs source not available'], ['source=path&path=relative', 'logs source not available'],
    [`source=path&path=${HOME}/none`, 'failed to open log path'], ['source=path&path=/etc/passwd', 'failed to open log path'],
  ]) assert.deepEqual(messages(await events(`/logs/stream?${query}`, () => false)), [message]);
  await expect(400, 'Query argument source is required', 'GET', '/logs/stream');
  // The session's own programs, by the names that they have there, and where their files are there.
  for (const [query, wanted] of [
    ['source=supervisor&supervisor_process=chromium', /DevTools listening/], ['source=path&path=/var/log/supervisord/chromium', /DevTools listening/],
    ['source=supervisor&supervisor_process=xorg', /Xvnc/], ['source=supervisor&supervisor_process=x-server', /Xvnc/],
  ]) {
    const lines = await events(`/logs/stream?follow=false&${query}`, (seen) => seen.some(({ message }) => wanted.test(message)));
    assert.ok(lines.some(({ message }) => wanted.test(message)), `${query}: ${messages(lines)}`);
  }
  for (const name of ['neko', '../x', '', 'command']) {
    assert.deepEqual(messages(await events(`/logs/stream?source=supervisor&supervisor_process=${name}`, () => false)), ['logs source not available'], name);
  }
});

test('DevTools laid out as on 9222: Playwright connects, whatever path, and a page does not', async () => {
  const at = `http://${session.kernel_cdp}`;
  const version = await get('/json/version', { at });
  assert.equal(version.body.webSocketDebuggerUrl, `ws://${session.kernel_cdp}`);
  const browser = await chromium.connectOverCDP(at, { timeout: PATIENCE });
  const [page] = browser.contexts()[0].pages();
  assert.equal(await page.evaluate('1 + 1'), 2);
  await browser.close();
  for (const path of ['/', '/devtools/page/nothing?x=1', '/any/thing']) {
    const socket = new WebSocket(`ws://${session.kernel_cdp}${path}`, { handshakeTimeout: PATIENCE });
    const answer = new Promise((resolve, reject) => socket.on('message', resolve).on('error', reject));
    await new Promise((resolve, reject) => socket.on('open', resolve).on('error', reject));
    socket.send('{"id":1,"method":"Browser.getVersion"}');
    assert.match(String(await answer), /"protocolVersion"/);
    socket.terminate();
  }
  assert.equal((await get('/json/list', { at })).status, 426);
  for (const headers of [{ origin: 'https://evil.example' }, { host: 'evil.example' }]) {
    const socket = new WebSocket(`ws://${session.kernel_cdp}/`, { headers, handshakeTimeout: PATIENCE });
    const status = await new Promise((resolve) => socket.on('unexpected-response', (_, response) => { resolve(response.statusCode); socket.terminate(); }).on('open', () => resolve('open')).on('error', () => {}));
    assert.ok([403, 421].includes(status), `${JSON.stringify(headers)}: ${status}`);
  }

  // A page on this machine, in a browser that is not the session's.
  const server = createServer((_, response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<title>evil</title>'));
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const outside = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] });
  try {
    const evil = await outside.newPage();
    await evil.goto(`http://127.0.0.1:${server.address().port}/`);
    const tried = await evil.evaluate(async ([api, cdp]) => {
      const open = (url) => new Promise((resolve) => { const s = new WebSocket(url); s.onopen = () => resolve('open'); s.onerror = () => resolve('refused'); });
      const post = await fetch(`${api}/process/exec`, { method: 'POST', mode: 'no-cors', body: '{"command":"touch","args":["/home/user/evil"]}' }).then(() => 'sent', () => 'failed');
      const read = await fetch(`${api}/spec.json`).then(() => 'read', () => 'failed');
      return [await open(`ws://${cdp}/`), await open(`ws://${cdp}/devtools/browser/x`), await fetch(`http://${cdp}/json/version`).then(() => 'read', () => 'failed'), post, read];
    }, [open, session.kernel_cdp]);
    assert.deepEqual(tried, ['refused', 'refused', 'failed', 'sent', 'failed']);
    await expect(404, 'path not found', 'GET', '/fs/file_info?path=/home/user/evil');
  } finally {
    await outside.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});

/** Width and height that ffprobe finds in a film, and how long it is. */
function probe(film) {
  const folder = mkdtempSync(join(tmpdir(), 'gh-film-'));
  try {
    writeFileSync(join(folder, 'film.mp4'), film);
    const probed = spawnSync('ffprobe', ['-v', 'error', '-count_frames', '-show_entries', 'stream=codec_name,width,height,nb_read_frames', '-of', 'json', join(folder, 'film.mp4')], { encoding: 'utf8', timeout: PATIENCE });
    assert.equal(probed.status, 0, probed.stderr);
    return JSON.parse(probed.stdout).streams[0];
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

test('recordings are films that play, by both APIs', { skip: spawnSync('ffprobe', ['-version']).error ? 'ffmpeg is not installed' : false }, async () => {
  const download = (id) => get(`/recording/download?id=${id}`);
  assert.deepEqual((await get('/recording/list')).body, []);
  await expect(201, null, 'POST', '/recording/start', { id: 'one', framerate: 10, maxFileSizeInMB: 20, maxDurationInSeconds: 120 });
  await expect(409, 'recording already in progress', 'POST', '/recording/start', { id: 'one' });
  await expect(409, 'resize refused', 'PATCH', '/display', { width: 1024, height: 768 });
  await expect(400, 'recording must be stopped first', 'POST', '/recording/delete', { id: 'one' });
  const [running] = (await get('/recording/list')).body;
  assert.deepEqual([running.id, running.isRecording, running.finished_at], ['one', true, null]);
  let x = 300;
  const part = await until('a part of it can be had', async () => {
    x = 300 + ((x + 1) % 500);
    await expect(200, null, 'POST', '/computer/move_mouse', { x, y: 600 });
    const answer = await download('one');
    assert.ok([200, 202].includes(answer.status), String(answer.status));
    return answer.status === 200 && answer;
  });
  assert.equal(part.headers.get('x-recording-finished-at'), '0001-01-01T00:00:00Z');
  await expect(200, null, 'POST', '/recording/stop', { id: 'one' });
  await expect(200, null, 'POST', '/recording/stop', { id: 'one' });
  const whole = await download('one');
  assert.equal(whole.headers.get('content-type'), 'video/mp4');
  const film = probe(whole.bytes);
  assert.deepEqual([film.codec_name, film.width, film.height], ['h264', 1280, 720]);
  assert.ok(Number(film.nb_read_frames) >= 1, film.nb_read_frames);
  // The index is in front, for players that seek.
  assert.ok(whole.bytes.indexOf('moov') < whole.bytes.indexOf('mdat'));
  await expect(400, 'recording already completed', 'POST', '/recording/start', { id: 'one' });
  assert.deepEqual((await read('/recordings/one.mp4')).length, whole.bytes.length);
  await expect(200, null, 'POST', '/recording/delete', { id: 'one' });
  await expect(200, null, 'POST', '/recording/delete', { id: 'one' });
  await expect(400, 'requested recording has been deleted', 'GET', '/recording/download?id=one');
  await expect(400, 'recording already completed', 'POST', '/recording/start', { id: 'one' });
  await expect(400, 'no active recording to stop', 'POST', '/recording/stop', {});
  await expect(404, 'no recording found', 'GET', '/recording/download');
  await expect(404, 'no recording found', 'POST', '/recording/delete', {});
  await expect(400, 'the id of a recording', 'POST', '/recording/start', { id: '../x' });
  // One that is as long as it may be ends by itself.
  await expect(201, null, 'POST', '/recording/start', { id: 'short', maxDurationInSeconds: 1 });
  await until('it ends by itself', async () => (await get('/recording/list')).body.some(({ id, isRecording }) => id === 'short' && !isRecording));
  assert.equal(probe((await download('short')).bytes).codec_name, 'h264');
  await expect(200, null, 'POST', '/recording/delete', { id: 'short' });

  // sandbox-agent's own.
  const own = async (method, path, body) => { const answer = await call(method, `/v1/desktop/${path}`, body, { headers: { 'content-type': 'application/json' } }); return answer; };
  const started = await own('POST', 'recording/start', { fps: 8 });
  assert.deepEqual([started.status, started.body.status], [200, 'recording'], JSON.stringify(started.body));
  const { id } = started.body;
  assert.equal((await own('POST', 'recording/start', {})).status, 409);
  assert.equal((await own('DELETE', `recordings/${id}`)).status, 409);
  await until('there is something of it', async () => (await own('GET', `recordings/${id}`)).body.bytes > 1000);
  const stopped = await own('POST', 'recording/stop');
  assert.equal(stopped.body.status, 'completed');
  assert.equal((await own('POST', 'recording/stop')).status, 409);
  const downloaded = await own('GET', `recordings/${id}/download`);
  assert.equal(downloaded.headers.get('content-type'), 'video/mp4');
  assert.equal(probe(downloaded.bytes).width, 1280);
  assert.deepEqual((await own('GET', 'recordings')).body.recordings.map((one) => one.id), [id]);
  assert.equal((await own('DELETE', `recordings/${id}`)).status, 204);
  assert.equal((await own('GET', `recordings/${id}`)).status, 404);
});

test('the screen changes its size', async () => {
  assert.deepEqual((await expect(200, null, 'PATCH', '/display', { width: 1024, height: 768, refresh_rate: 30 })).body, { width: 1024, height: 768, refresh_rate: 30 });
  const { bytes } = await expect(200, null, 'POST', '/computer/screenshot', {});
  assert.deepEqual([bytes.readUInt32BE(16), bytes.readUInt32BE(20)], [1024, 768]);
  assert.deepEqual((await expect(200, null, 'PATCH', '/display', { height: 720, width: 1280 })).body, { width: 1280, height: 720, refresh_rate: 60 });
  await expect(400, 'no display parameters to update', 'PATCH', '/display', { refresh_rate: 30 });
  await expect(400, 'invalid width/height', 'PATCH', '/display', { width: -1 });
  await expect(400, 'invalid width/height', 'PATCH', '/display', { width: 100000, height: 1 });
});

const arguments_ = async () => b64((await exec('sh', '-c', 'tr "\\0" "\\n" < /proc/$(pgrep -o chromium)/cmdline')).stdout_b64);

test('flags change the browser, and extensions load', async () => {
  await expect(400, 'at least one flag required', 'PATCH', '/chromium/flags', { flags: [] });
  await expect(400, 'empty flag provided', 'PATCH', '/chromium/flags', { flags: [' '] });
  await expect(400, 'invalid flag format: x (must start with --)', 'PATCH', '/chromium/flags', { flags: ['x'] });
  await expect(400, '--remote-debugging-port=1', 'PATCH', '/chromium/flags', { flags: ['--remote-debugging-port=1'] });
  await expect(200, null, 'PATCH', '/chromium/flags', { flags: ['--user-agent=Kernel Client'] });
  const connected = async (work) => {
    const browser = await chromium.connectOverCDP(`http://${session.kernel_cdp}`, { timeout: PATIENCE });
    try { return await work(browser.contexts()[0]); } finally { await browser.close(); }
  };
  assert.equal(await connected(async (context) => (await context.newPage()).evaluate('navigator.userAgent')), 'Kernel Client');

  const manifest = { manifest_version: 3, name: 'marker', version: '1', content_scripts: [{ matches: ['<all_urls>'], js: ['mark.js'], run_at: 'document_end' }] };
  const extension = zip([{ name: 'manifest.json', content: Buffer.from(JSON.stringify(manifest)) }, { name: 'mark.js', content: Buffer.from('document.title = "marked";') }]);
  const send = (...fields) => ['POST', '/chromium/upload-extensions-and-restart', form(...fields)];
  await expect(201, null, ...send(['extensions.zip_file', extension], ['extensions.name', 'marker']));
  assert.equal(await connected(async (context) => {
    const page = await context.newPage();
    // A browser that has just begun may show a page before its extensions are there.
    await until('the extension marks the page', async () => {
      await page.goto(pages.url('colors.html'));
      return page.waitForFunction('document.title === "marked"', undefined, { timeout: 3_000 }).catch(() => false);
    });
    return page.evaluate('navigator.userAgent');
  }), 'Kernel Client');
  assert.match((await expect(200, null, 'GET', '/extensions/marker/')).body, /manifest\.json/);
  assert.equal((await get('/extensions/marker/mark.js')).bytes.toString(), 'document.title = "marked";');
  assert.equal((await get('/extensions/none/x')).status, 404);
  assert.equal((await get('/extensions/..%2F..%2Fetc%2Fpasswd')).status, 403);
  const name = ['extensions.name', 'other'];
  for (const [message, ...fields] of [
    ['no extensions provided'], ['invalid extension name', ['extensions.name', '../x']], ['duplicate name in pair', name, name],
    ['duplicate zip_file in pair', ['extensions.zip_file', extension], ['extensions.zip_file', extension]], ['invalid field: nose', ['nose', 'x']],
    ['each extension must include consecutive name and zip_file', name], ['extension name already exists: marker', ['extensions.name', 'marker'], ['extensions.zip_file', extension]],
    ['invalid zip file', name, ['extensions.zip_file', Buffer.from('x')]],
  ]) await expect(400, message, ...send(...(fields.length ? fields : [])));
  // The name of one that was no good is free.
  await expect(404, 'path not found', 'GET', `/fs/file_info?path=${HOME}/extensions/other`);
  assert.match(await arguments_(), /--load-extension=\/home\/user\/extensions\/marker\s/);
});

test('code is executed with a page', async () => {
  await expect(400, 'code is required', 'POST', '/playwright/execute', {});
  const bare = await call('POST', '/playwright/execute', { code: 'return 1' });
  // A machine may have it for all.
  if (bare.status !== 200) assert.match(bare.body.message, /^failed to start playwright daemon: there is no playwright-core/);
  const packed = execFileSync('tar', ['-cf', '-', '-C', join(ROOT, 'tests/node_modules'), 'playwright-core'], { maxBuffer: 256 * 1024 * 1024 });
  const sent = await call('POST', '/v1/fs/upload-batch?path=node_modules', packed, { headers: { 'content-type': 'application/x-tar' } });
  assert.equal(sent.status, 200, JSON.stringify(sent.body));
  const execute = async (code, more) => (await expect(200, null, 'POST', '/playwright/execute', { code, ...more })).body;
  assert.deepEqual(await execute(`await page.goto(${JSON.stringify(pages.url('input.html'))}); console.log('noise'); return [await page.evaluate('document.contentType'), context.pages().length > 0, !!browser];`), { success: true, result: ['text/html', true, true] });
  assert.deepEqual(await execute('return page.url();'), { success: true, result: pages.url('input.html') });
  assert.deepEqual(await execute('1'), { success: true, result: null });
  const failed = await execute('throw new Error("as wanted")');
  assert.deepEqual([failed.success, failed.error], [false, 'as wanted']);
  assert.match(failed.stderr, /as wanted/);
  assert.equal((await execute('return (')).success, false);
  assert.deepEqual((await execute('await new Promise(() => {})', { timeout_sec: 1 })).error, 'Execution timed out after 1000ms');
});

test('a port that demands tokens', async () => {
  const other = await Session.start(['--no-sound', '--kernel-api', '127.0.0.1:0', '--kernel-cdp', '0', '--kernel-token'], { env: { GLASSHOUSE_CDP_TOKEN: 'another-token-of-the-test' } });
  try {
    const at = `http://${other.kernel_api}`;
    assert.equal((await get('/spec.json', { at })).status, 401);
    const { token } = await other.login('program');
    assert.equal((await get(`/recording/list?token=${token}`, { at })).status, 200);
    const cdp = `http://${other.kernel_cdp}`;
    assert.equal((await get('/json/version', { at: cdp })).status, 401);
    const browser = await chromium.connectOverCDP(`${cdp}/?token=another-token-of-the-test`, { timeout: PATIENCE });
    assert.ok(browser.contexts().length > 0);
    await browser.close();
  } finally {
    await other.stop();
  }
});

test('through a server: below /s/ID, with a token of the session', async () => {
  const fleet = await Fleet.start();
  try {
    const created = await fleet.create();
    const link = await fleet.api('POST', `api/v1/sessions/${created.id}/links`, { admin: true });
    const login = await fleet.api('POST', `s/${created.id}/api/login`, { username: 'program', password: link.body.token }, { token: null });
    const { token } = login.body;
    const at = `${fleet.origin}/s/${created.id}`;
    const headers = { authorization: `Bearer ${token}` };
    await expect(200, null, 'POST', '/computer/move_mouse', { x: 5, y: 5 }, { at, headers });
    await expect(401, 'no token', 'POST', '/computer/move_mouse', { x: 5, y: 5 }, { at });
    const ran = await expect(200, null, 'POST', '/process/exec', { command: 'echo', args: ['through'] }, { at, headers });
    assert.equal(b64(ran.body.stdout_b64), 'through\n');
    const shell = await expect(200, null, 'POST', '/process/spawn', { command: 'cat', allocate_tty: true }, { at, headers });
    const terminal = await attach(`/process/${shell.body.process_id}`, at.replace('http', 'ws'), `?token=${token}`);
    terminal.socket.send(Buffer.from('echoed\n'));
    await until('the terminal answers', () => terminal.output.includes('echoed'));
    terminal.socket.terminate();
    const spawned = await expect(200, null, 'POST', '/process/spawn', { command: 'echo', args: ['out'] }, { at, headers });
    const all = await events(`/process/${spawned.body.process_id}/stdout/stream`, (seen) => seen.at(-1)?.event === 'exit', { at, token });
    assert.deepEqual(all.map(({ event, data_b64: data }) => event ?? b64(data)), ['out\n', 'exit']);
    const sent = await expect(201, null, 'POST', '/fs/upload_zip', form(['zip_file', zip([{ name: 'a', content: Buffer.from('zipped') }])], ['dest_path', '/home/kernel/t']), { at, headers });
    assert.equal(sent.status, 201);
    const zipped = await expect(200, null, 'GET', '/fs/download_dir_zip?path=/home/kernel/t', undefined, { at, headers });
    assert.equal(unzip(zipped.bytes).get('a').toString(), 'zipped');
    assert.equal((await fetch(`${at}/spec.yaml`, { headers })).status, 200);
    await expect(500, 'the browser cannot be started again', 'PATCH', '/chromium/flags', { flags: ['--x'] }, { at, headers });
  } finally {
    await fleet.stop();
  }
});
