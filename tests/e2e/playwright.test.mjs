// What Playwright promises of a browser that it is connected to over CDP, of ours: contexts, pages, downloads, files, routes, workers, traces,
// several clients, and coming back.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';
import { tree } from './lib/process.mjs';
import { Session, exposed } from './lib/session.mjs';
import { PATIENCE, until, within } from './lib/wait.mjs';

let site, session, place;
const clients = new Set();

/** Pages of an origin that may have service workers: what they ask for, and with which headers. */
async function serveSite() {
  const seen = [];
  const answers = {
    '/': ['text/html', '<title>Home</title><body>home</body>'],
    '/worker.html': ['text/html', '<title>Worker</title><script>navigator.serviceWorker.register("/worker.js").then(() => navigator.serviceWorker.ready).then(() => { document.title = "Ready"; });</script>'],
    '/worker.js': ['text/javascript', 'self.word = "of the worker"; self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));'],
    '/file.bin': ['application/octet-stream', 'x'.repeat(3_000_000)],
    '/upload.html': ['text/html', '<input type="file" multiple>'],
  };
  const server = createServer((request, response) => {
    seen.push({ url: request.url, headers: request.headers });
    const [kind, text] = answers[request.url.split('?')[0]] ?? [];
    if (!kind) return response.writeHead(404).end();
    const attachment = request.url.startsWith('/file.bin') ? { 'content-disposition': 'attachment; filename="big.bin"' } : {};
    response.writeHead(200, { 'content-type': kind, ...attachment }).end(text);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  exposed.add(port);
  return {
    seen, url: (path = '/') => `http://127.0.0.1:${port}${path}`,
    stop: () => { exposed.delete(port); server.closeAllConnections(); return new Promise((resolve) => server.close(resolve)); },
  };
}

before(async () => {
  place = mkdtempSync(join(tmpdir(), 'gh-playwright-'));
  site = await serveSite();
  session = await Session.start(['--no-sound', '--url', site.url()]);
});
after(async () => {
  for (const browser of clients) await browser.close().catch(() => {});
  await session?.stop();
  await site?.stop();
  if (place) rmSync(place, { recursive: true, force: true });
});

async function connect(options) {
  const browser = await chromium.connectOverCDP(session.cdp, { timeout: PATIENCE, ...options });
  clients.add(browser);
  browser.on('disconnected', () => clients.delete(browser));
  return browser;
}

/** Content of a file of the session, by its path below HOME. */
async function fileOf(path) {
  session.keeper ??= await session.login('test');
  const response = await fetch(`${session.origin}/v1/fs/file?path=${encodeURIComponent(path)}`, { headers: { authorization: `Bearer ${session.keeper.token}` } });
  assert.equal(response.status, 200, await response.clone().text());
  return Buffer.from(await response.arrayBuffer());
}

test('the version is the browser\'s, and the default context has the page that people see', async () => {
  const browser = await connect();
  assert.match(browser.version(), /^\d+\.\d+\.\d+\.\d+$/);
  assert.equal(browser.browserType().name(), 'chromium');
  assert.equal(browser.isConnected(), true);
  assert.equal(browser.contexts().length, 1);
  await until('its title', async () => await browser.contexts()[0].pages()[0].title() === 'Home');
  await browser.close();
  assert.equal(browser.isConnected(), false);
});

test('contexts are apart, with their own cookies, sizes and headers, and end with their client', async () => {
  const browser = await connect();
  const one = await browser.newContext({ viewport: { width: 400, height: 300 }, extraHTTPHeaders: { 'x-one': '1' }, userAgent: 'one', locale: 'de-DE' });
  const two = await browser.newContext({ viewport: { width: 500, height: 200 } });
  const [a, b] = [await one.newPage(), await two.newPage()];
  await one.addCookies([{ name: 'who', value: 'one', url: site.url() }]);
  site.seen.length = 0;
  await a.goto(site.url('/?a'));
  await b.goto(site.url('/?b'));
  const asked = (url) => site.seen.find((request) => request.url === url).headers;
  assert.deepEqual([asked('/?a')['x-one'], asked('/?a')['user-agent'], asked('/?a').cookie], ['1', 'one', 'who=one']);
  assert.deepEqual([asked('/?b')['x-one'], asked('/?b').cookie], [undefined, undefined]);
  assert.deepEqual(await a.evaluate(() => [innerWidth, innerHeight, navigator.language]), [400, 300, 'de-DE']);
  assert.deepEqual(await b.evaluate(() => [innerWidth, innerHeight]), [500, 200]);
  await a.setExtraHTTPHeaders({ 'x-page': 'p' });
  await a.goto(site.url('/?c'));
  assert.deepEqual([asked('/?c')['x-one'], asked('/?c')['x-page']], ['1', 'p']);
  assert.equal(browser.contexts().length, 3);
  await two.close();
  assert.equal(browser.contexts().length, 2);
  await browser.close();
  const again = await connect();
  assert.equal(again.contexts().length, 1);
  await again.close();
});

test('a page and its popup are seen by all clients of the default context, and so is their end', async () => {
  const [one, two] = [await connect(), await connect()];
  const [mine, theirs] = [one.contexts()[0], two.contexts()[0]];
  const seen = new Promise((resolve) => theirs.once('page', resolve));
  const page = await mine.newPage();
  const other = await within('the page is seen', seen);
  await page.goto(site.url('/?opener'));
  await other.waitForURL(site.url('/?opener'));
  const popups = [page.waitForEvent('popup'), other.waitForEvent('popup')];
  await page.evaluate((url) => { window.open(url, '', 'width=300,height=200'); }, site.url('/?popup'));
  const [popup, same] = await Promise.all(popups);
  await Promise.all([popup.waitForURL(site.url('/?popup')), same.waitForURL(site.url('/?popup'))]);
  assert.equal(await popup.opener(), page);
  await popup.evaluate(() => { document.title = 'Changed'; });
  assert.equal(await same.title(), 'Changed');
  const ends = [same.waitForEvent('close'), other.waitForEvent('close')];
  await popup.close();
  await page.close();
  await Promise.all(ends);
  // Pages of a client that has just left are seen for a moment.
  await until('one page is left', () => theirs.pages().length === 1);
  await one.close();
  await two.close();
});

test('the default context is there again after a client has left: pages, storage, cookies', async () => {
  const one = await connect();
  const page = await one.contexts()[0].newPage();
  await page.goto(site.url('/?kept'));
  await page.evaluate(() => { localStorage.setItem('kept', 'yes'); document.cookie = 'left=here; max-age=3600'; });
  const gone = new Promise((resolve) => one.once('disconnected', resolve));
  await one.close();
  await within('it is disconnected', gone);
  const two = await connect();
  const same = two.contexts()[0].pages().find((one) => one.url() === site.url('/?kept'));
  assert.deepEqual(await same.evaluate(() => [localStorage.getItem('kept'), document.cookie]), ['yes', 'left=here']);
  await same.close();
  await two.close();
});

test('downloads: name, state and end are told, and the file is in the session', async () => {
  const browser = await connect();
  for (const context of [browser.contexts()[0], await browser.newContext()]) {
    const page = await context.newPage();
    await page.goto(site.url());
    const [download] = await Promise.all([page.waitForEvent('download'), page.evaluate(() => { location.href = '/file.bin'; })]);
    assert.equal(download.suggestedFilename(), 'big.bin');
    assert.equal(download.url(), site.url('/file.bin'));
    assert.equal(await download.failure(), null);
    const content = await fileOf(`Downloads/${basename(await download.path())}`);
    assert.equal(content.length, 3_000_000);
    // The browser is elsewhere: without sharing its files nobody can save from here, and it is said at once.
    await assert.rejects(download.saveAs(join(place, 'saved.bin')));
    await page.close();
  }
  await browser.close();
});

test('a file chooser and an input take files of this machine', async () => {
  const browser = await connect();
  const page = await (await browser.newContext()).newPage();
  await page.goto(site.url('/upload.html'));
  const path = join(place, 'note.txt');
  writeFileSync(path, 'from here');
  const [chooser] = await Promise.all([page.waitForEvent('filechooser'), page.click('input')]);
  assert.equal(chooser.isMultiple(), true);
  await chooser.setFiles([path]);
  const read = () => page.evaluate(async () => Promise.all([...document.querySelector('input').files].map(async (file) => [file.name, await file.text()])));
  assert.deepEqual(await read(), [['note.txt', 'from here']]);
  await page.setInputFiles('input', [1, 2].map((number) => ({ name: `${number}.txt`, mimeType: 'text/plain', buffer: Buffer.from(`made ${number}`) })));
  assert.deepEqual(await read(), [['1.txt', 'made 1'], ['2.txt', 'made 2']]);
  await page.setInputFiles('input', []);
  assert.deepEqual(await read(), []);
  await browser.close();
});

test('requests are answered, changed and stopped; functions of ours are called from the page', async () => {
  const browser = await connect();
  const context = await browser.newContext();
  await context.route('**/made', (route) => route.fulfill({ status: 201, contentType: 'text/plain', body: 'made up' }));
  await context.route('**/never', (route) => route.abort());
  const page = await context.newPage();
  await page.route('**/?changed', (route) => route.continue({ headers: { ...route.request().headers(), 'x-added': 'yes' } }));
  await page.exposeFunction('double', (number) => 2 * number);
  await page.exposeBinding('where', ({ page: from }) => from.url());
  await page.goto(site.url());
  assert.deepEqual(await page.evaluate(async () => { const response = await fetch('/made'); return [response.status, await response.text()]; }), [201, 'made up']);
  assert.equal(await page.evaluate(() => fetch('/never').then(() => 'came', () => 'refused')), 'refused');
  await page.goto(site.url('/?changed'));
  assert.equal(site.seen.findLast(({ url }) => url === '/?changed').headers['x-added'], 'yes');
  assert.equal(await page.evaluate(() => window.double(21)), 42);
  assert.equal(await page.evaluate(() => window.where()), site.url('/?changed'));
  await page.unrouteAll();
  await browser.close();
});

test('service workers are seen and run code', async () => {
  const browser = await connect();
  const context = await browser.newContext();
  const page = await context.newPage();
  const [worker] = await Promise.all([context.waitForEvent('serviceworker'), page.goto(site.url('/worker.html'))]);
  assert.equal(worker.url(), site.url('/worker.js'));
  assert.equal(await worker.evaluate(() => self.word), 'of the worker');
  assert.deepEqual(context.serviceWorkers(), [worker]);
  await page.waitForFunction(() => document.title === 'Ready');
  const ended = worker.waitForEvent?.('close') ?? new Promise((resolve) => worker.once('close', resolve));
  await context.close();
  await within('the worker ends', ended);
  await browser.close();
});

test('screenshots of any size', async () => {
  const browser = await connect();
  const page = await (await browser.newContext({ viewport: { width: 1200, height: 800 } })).newPage();
  await page.setContent('<canvas width="1200" height="6000"></canvas>');
  await page.evaluate(() => {
    const context = document.querySelector('canvas').getContext('2d'), image = context.createImageData(1200, 6000);
    let seed = 1;
    for (let i = 0; i < image.data.length; i += 1) { seed = (seed * 16807) % 2147483647; image.data[i] = i % 4 === 3 ? 255 : seed % 256; }
    context.putImageData(image, 0, 0);
  });
  const picture = await page.screenshot({ fullPage: true, timeout: PATIENCE });
  assert.ok(picture.readUInt32BE(20) >= 6_000);
  assert.ok(picture.length > 15_000_000, `noise of ${picture.length} bytes`);
  const part = await page.screenshot({ clip: { x: 0, y: 0, width: 50, height: 40 }, type: 'jpeg' });
  assert.deepEqual([...part.subarray(0, 2)], [0xff, 0xd8]);
  await browser.close();
});

test('a trace is written', async () => {
  const browser = await connect();
  const context = await browser.newContext();
  await context.tracing.start({ screenshots: true, snapshots: true });
  const page = await context.newPage();
  await page.goto(site.url());
  await page.locator('body').textContent();
  const path = join(place, 'trace.zip');
  await context.tracing.stop({ path });
  assert.ok(statSync(path).size > 1_000);
  assert.equal(readFileSync(path).toString('latin1', 0, 2), 'PK');
  // And one of the browser itself, which comes as a stream.
  await browser.startTracing(page);
  await page.goto(site.url('/?traced'));
  const trace = await browser.stopTracing();
  assert.ok(JSON.parse(trace).traceEvents.length > 10);
  await browser.close();
});

test('when the browser ends, its clients are told, calls fail, and connecting again works', async () => {
  const [one, two] = [await connect(), await connect()];
  const page = await one.contexts()[0].newPage();
  const told = [one, two].map((browser) => new Promise((resolve) => browser.once('disconnected', resolve)));
  const closed = new Promise((resolve) => page.once('close', resolve));
  const waiting = assert.rejects(page.waitForSelector('never', { timeout: 0 }));
  const { pid } = tree(session.pid).find(({ name }) => name === 'chromium' || name === 'chrome');
  process.kill(pid, 'SIGKILL');
  await within('all are told', Promise.all([...told, closed, waiting]));
  assert.deepEqual([one.isConnected(), two.isConnected(), page.isClosed()], [false, false, true]);
  await assert.rejects(page.evaluate('1'));
  const again = await until('the browser is there again', () => connect().catch(() => false));
  const fresh = await again.contexts()[0].newPage();
  await fresh.goto(site.url());
  assert.equal(await fresh.title(), 'Home');
  await again.close();
});
