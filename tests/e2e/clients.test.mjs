// The client libraries, TypeScript and Python, against a real server: sessions, their browser and their desktop.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { stale } from '../../clients/generate.mjs';
import { decodePng, findColour } from './lib/model.mjs';
import { servePages } from './lib/pages.mjs';
import { isAlive } from './lib/process.mjs';
import { runPython } from './lib/python.mjs';
import { Fleet } from './lib/serve.mjs';
import { ROOT, exposed } from './lib/session.mjs';
import { PATIENCE, until } from './lib/wait.mjs';

// Built by `cargo xtask test`: npm --prefix clients/typescript run build.
const { Glasshouse, ProblemError, SessionError, launch, withBrowser } = await import('../../clients/typescript/dist/index.js');

let pages, fleet, client;
before(async () => {
  pages = await servePages();
  fleet = await Fleet.start(['--max-sessions', '4'], { session: ['--no-sound', ...[...exposed].map((port) => `--expose=${port}`)] });
  client = new Glasshouse({ server: fleet.origin, token: fleet.token });
});
after(async () => {
  fleet?.kill();
  await pages?.stop();
});

const states = async () => (await fleet.api('GET', 'api/v1/sessions')).body.sessions.map(({ state }) => state);
const all = async (list) => { const found = []; for await (const one of list) found.push(one); return found; };

/** A document without its words for people, which change nothing of what clients do. */
const shape = (document) => JSON.parse(JSON.stringify(document, (key, value) => (['summary', 'description', 'operationId'].includes(key) && typeof value === 'string' ? undefined : value)));

/** A server that is full twice, and says when to come again; what it was asked. */
async function busyServer() {
  const asked = [];
  const server = createServer((request, response) => {
    asked.push({ key: request.headers['idempotency-key'], path: request.url });
    const problem = { type: 'urn:glasshouse:problem:full', title: 'Too Many Requests', status: 429, detail: 'full' };
    const isFull = asked.length % 3 !== 0;
    response.writeHead(isFull ? 429 : 201, { 'content-type': 'application/json', ...(isFull ? { 'retry-after': '1' } : {}) });
    response.end(JSON.stringify(isFull ? problem : { id: 'x', state: 'ready', app: 'none' }));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { asked, url: `http://127.0.0.1:${server.address().port}`, stop: () => { server.closeAllConnections(); return new Promise((resolve) => server.close(resolve)); } };
}

test('the documents and the types made of them are those of the program', async () => {
  const session = await fleet.create();
  const documents = [];
  for (const [name, path] of [['fleet', 'openapi.json'], ['session', `s/${session.id}/v1/openapi.json`]]) {
    documents.push([name, await fleet.api('GET', path, undefined, { token: null })]);
  }
  await fleet.api('DELETE', `api/v1/sessions/${session.id}`);
  for (const [name, { status, body }] of documents) {
    assert.equal(status, 200);
    const kept = JSON.parse(readFileSync(join(ROOT, 'clients/openapi', `${name}.json`), 'utf8'));
    assert.deepEqual(shape(kept), shape(body), `clients/openapi/${name}.json is not what the program says: node clients/update.mjs takes it anew`);
  }
  assert.deepEqual(stale(), [], 'node clients/generate.mjs makes them anew');
});

test('both wait when a limit says for how long, and repeat themselves with the same key', async () => {
  const server = await busyServer();
  try {
    const other = new Glasshouse({ server: server.url, token: 'gh_x' });
    assert.equal((await other.create({ app: 'none' })).id, 'x');
    const { code, out, err } = await runPython('clients', [join(import.meta.dirname, 'lib/clients.py'), 'busy'], { env: { GLASSHOUSE_SERVER: server.url, GLASSHOUSE_TOKEN: 'gh_x' } });
    assert.equal(code, 0, err);
    assert.equal(out.trim(), 'x x');
    assert.equal(server.asked.length, 9);
    for (const first of [0, 3, 6]) {
      assert.ok(server.asked[first].key);
      assert.equal(new Set(server.asked.slice(first, first + 3).map(({ key }) => key)).size, 1);
    }
    await assert.rejects(new Glasshouse({ server: server.url, token: 'gh_x', patience: 0 }).create(), (error) => {
      assert.ok(error instanceof ProblemError);
      assert.deepEqual([error.status, error.kind, error.retryAfter], [429, 'full', 1]);
      return true;
    });
  } finally {
    await server.stop();
  }
});

test('TypeScript: sessions are created, listed, changed, frozen, shared and ended; errors say which field', async () => {
  await assert.rejects(client.create({ screen: { width: 1, height: 720 } }), (error) => {
    assert.ok(error instanceof ProblemError);
    assert.deepEqual([error.status, error.errors.map(({ field }) => field)], [422, ['screen.width']]);
    assert.match(error.message, /screen\.width/);
    return true;
  });
  await assert.rejects(client.get('nothing'), (error) => error instanceof ProblemError && error.status === 404);
  assert.throws(() => new Glasshouse({ server: fleet.origin, token: '' }), /GLASSHOUSE_TOKEN/);

  const spec = { app: 'none', name: 'typed', labels: { team: 'blue' } };
  const session = await client.create(spec, { idempotencyKey: 'the-same' });
  assert.equal(session.view.state, 'ready');
  assert.equal((await client.create(spec, { idempotencyKey: 'the-same' })).id, session.id);
  assert.deepEqual((await all(client.list({ labels: { team: 'blue' } }))).map(({ id }) => id), [session.id]);
  assert.deepEqual(await all(client.list({ labels: { team: 'red' } })), []);

  const events = client.events({ session: session.id });
  const frozen = (async () => { for await (const event of events) if (event.state === 'frozen') return event; })();
  assert.deepEqual((await session.change({ labels: { team: null, tier: '2' } })).labels, { tier: '2' });
  // Events that come before somebody listens are not told of.
  const event = await until('an event tells that it is frozen', async () => {
    await session.freeze();
    const seen = await Promise.race([frozen, new Promise((resolve) => setTimeout(resolve, 500))]);
    if (!seen) await session.thaw();
    return seen;
  });
  assert.equal(event.session, session.id);
  assert.equal((await session.thaw()).state, 'ready');
  assert.ok((await session.extend(3_600)).expires_at);

  const share = await session.share({ powers: ['view'], name: 'Ann' });
  assert.match(share.url, /#token=gh_/);
  assert.deepEqual((await session.shares()).map(({ id }) => id), [share.id]);
  await session.unshare(share.id);
  assert.deepEqual(await session.shares(), []);
  assert.ok((await session.link({ uses: 2 })).url.startsWith(session.url));
  assert.deepEqual([...await session.thumbnail()].slice(0, 2), [0xff, 0xd8]);
  assert.deepEqual(await client.profiles.list(), []);
  await session.delete();
  await session.delete();
  assert.equal((await client.get(session.id)).view.state, 'terminated');
});

test('TypeScript: the desktop is seen, clicked and typed on; programs run; files come and go', async () => {
  const session = await client.create({ url: pages.url('link.html') });
  const where = await until('the page is shown', async () => findColour(decodePng(Buffer.from(await session.screenshot())), '00a040'));
  const { tag } = await session.look();
  assert.deepEqual(await session.click(where.x, where.y).then(({ x, y }) => ({ x, y })), where);
  assert.equal((await session.waitForChange({ since: tag, timeoutMs: PATIENCE })).changed, true);
  await until('the link leads on', async () => findColour(decodePng(Buffer.from(await session.screenshot())), '2040c0'));
  assert.equal((await session.screenshot({ format: 'jpeg', quality: 50, region: { x: 0, y: 0, width: 8, height: 8 } }))[0], 0xff);

  pages.reports.length = 0;
  await session.open(pages.url('input.html'));
  await until('the page has the keyboard', () => pages.reports.some(({ type }) => type === 'ready'));
  await session.type('Grüße 🙂');
  await until('it is typed', () => pages.reports.some(({ type, text }) => type === 'text' && text === 'Grüße 🙂'));
  await session.press('ctrl+a');
  await session.press('ctrl+c');
  await until('it is copied', async () => await session.clipboard() === 'Grüße 🙂');

  const outcome = await session.run(['sh', '-c', 'echo "$WORD"; exit 3'], { env: { WORD: 'hi' } });
  assert.deepEqual([outcome.stdout, outcome.exitCode, outcome.timedOut], ['hi\n', 3, false]);
  await session.files.mkdir('a');
  await session.files.write('a/b.txt', 'hello');
  assert.equal((await session.run(['cat', 'a/b.txt'])).stdout, 'hello');
  await session.files.move('a/b.txt', 'a/c.txt');
  assert.equal(await session.files.readText('a/c.txt'), 'hello');
  assert.deepEqual((await session.files.list('a')).map(({ name, size }) => [name, size]), [['c.txt', 5]]);
  await session.files.delete('a', { recursive: true });
  await assert.rejects(session.files.read('../../etc/passwd'), (error) => error instanceof ProblemError && error.status === 403);
  await session.leave();
  assert.ok((await session.windows()).length > 0, 'the seat is taken again');
  await session.delete();
});

test('TypeScript: a ready Playwright browser in one step, whose end is that of its session, also on errors', async () => {
  const launched = await launch({ server: fleet.origin, token: fleet.token, url: pages.url('link.html') });
  const processes = fleet.processes(launched.session.id);
  await launched.page.waitForLoadState();
  assert.equal(await launched.page.title(), 'First page');
  assert.equal(launched.page.context(), launched.context);
  await launched.close();
  assert.deepEqual(await states(), []);
  await until('nothing is left of it', () => !processes.some(isAlive));

  const options = { server: fleet.origin, token: fleet.token };
  await assert.rejects(withBrowser(options, () => { throw new Error('mine'); }), /mine/);
  assert.deepEqual(await states(), []);
  const other = await launch(options);
  await other.browser.close();
  await until('closing the browser ends the session', async () => (await states()).length === 0);
  const nowhere = { connectOverCDP: () => { throw new Error('no way'); } };
  await assert.rejects(launch({ ...options, playwright: nowhere }), /no way/);
  assert.deepEqual(await states(), []);
  await assert.rejects(client.create({ app: 'none' }, { wait: 0.001 }), SessionError);
  await until('what was not ready in time is ended', async () => (await states()).length === 0);
});

test('what a page downloads is had from the session', async () => {
  await withBrowser({ server: fleet.origin, token: fleet.token, url: pages.url('colors.html') }, async ({ page, session }) => {
    await page.waitForLoadState();
    await page.setContent('<a href="data:application/octet-stream,saved" download="word.txt">get</a>');
    const [download] = await Promise.all([page.waitForEvent('download'), page.click('a')]);
    assert.equal(download.suggestedFilename(), 'word.txt');
    assert.equal(new TextDecoder().decode(await session.readDownload(download)), 'saved');
  });
});

for (const kind of ['sync', 'async']) {
  test(`Python, ${kind}: the same`, async () => {
    const env = { GLASSHOUSE_SERVER: fleet.origin, GLASSHOUSE_TOKEN: fleet.token };
    const { code, out, err } = await runPython('clients', [join(import.meta.dirname, 'lib/clients.py'), kind, pages.url('')], { env });
    assert.equal(code, 0, `${out}\n${err}`);
    assert.equal(out.trim(), 'all is well');
    assert.deepEqual(await states(), []);
  });
}

test('the server leaves nothing', async () => {
  assert.equal(await fleet.stop(), 0);
});
