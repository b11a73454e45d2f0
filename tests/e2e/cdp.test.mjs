// Programs at the wheel: the session's own Chromium, driven through the gate by the tools that people use.

import assert from 'node:assert/strict';
import { request } from 'node:http';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';
import puppeteer from 'puppeteer-core';
import WebSocket from 'ws';
import { servePages } from './lib/pages.mjs';
import { tree } from './lib/process.mjs';
import { Session } from './lib/session.mjs';
import { PATIENCE, until, within } from './lib/wait.mjs';

let pages, session;
before(async () => {
  pages = await servePages();
  session = await Session.start(['--url', pages.url('colors.html')]);
});
after(async () => {
  await session?.stop();
  await pages?.stop();
});

const socketUrl = (url) => url.replace(/^http/, 'ws');
const token = () => new URL(session.cdp).searchParams.get('token');
const bearer = () => ({ Authorization: `Bearer ${token()}` });

/** A token with less power, and its address. */
async function limited(limits) {
  const response = await fetch(`${session.origin}/cdp/tokens`, { method: 'POST', headers: bearer(), body: JSON.stringify(limits) });
  const made = await response.json();
  assert.equal(response.status, 200, JSON.stringify(made));
  return made;
}

/** A CDP client without a library. */
class Raw {
  static connect(url, options) {
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(url, { perMessageDeflate: false, handshakeTimeout: PATIENCE, ...options });
      const raw = new Raw();
      Object.assign(raw, { socket, next: 0, waiting: new Map() });
      raw.closed = new Promise((done) => socket.on('close', (code, reason) => {
        for (const { fail } of raw.waiting.values()) fail(new Error(`closed: ${code} ${reason}`));
        done({ code, reason: String(reason) });
      }));
      socket.on('message', (data) => {
        const message = JSON.parse(data);
        raw.waiting.get(message.id)?.done(message);
        raw.waiting.delete(message.id);
      });
      socket.on('open', () => resolve(raw));
      socket.on('unexpected-response', (_, response) => {
        let body = '';
        response.on('data', (bytes) => { body += bytes; }).on('end', () => reject(Object.assign(new Error(body), { status: response.statusCode })));
      });
      socket.on('error', reject);
    });
  }

  /** The whole answer to a call. */
  call(method, params = {}, sessionId) {
    const id = ++this.next;
    return new Promise((done, fail) => {
      this.waiting.set(id, { done, fail });
      this.socket.send(JSON.stringify({ id, method, params, sessionId }));
    });
  }

  /** A session with the first page. */
  async page() {
    const { result } = await this.call('Target.getTargets');
    const { targetId } = result.targetInfos.find(({ type }) => type === 'page');
    return (await this.call('Target.attachToTarget', { targetId, flatten: true })).result.sessionId;
  }

  async evaluate(expression, sessionId) {
    const { result, error } = await this.call('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true }, sessionId);
    assert.ok(result, JSON.stringify(error));
    return result.result.value;
  }
}

test('Playwright connects with one URL, over HTTP or WebSocket, with the token in it or as a Bearer', async () => {
  const bare = `${session.origin}/cdp`;
  for (const [url, options] of [[session.cdp], [socketUrl(session.cdp)], [bare, { headers: bearer() }], [socketUrl(bare), { headers: bearer() }]]) {
    const browser = await chromium.connectOverCDP(url, { timeout: PATIENCE, ...options });
    const [context] = browser.contexts();
    assert.equal(context.pages()[0].url(), pages.url('colors.html'), 'the page that people see is there');
    await browser.close();
  }
});

test('Playwright connects while the first page is still on its way', async () => {
  const late = pages.url('colors.html?late=2000');
  const other = await Session.start(['--url', late]);
  try {
    const browser = await chromium.connectOverCDP(other.cdp, { timeout: PATIENCE });
    assert.equal(browser.contexts()[0].pages()[0].url(), late);
    await browser.close();
  } finally {
    await other.stop();
  }
});

test('Playwright: contexts, pages, headers, several clients at once, and a browser that stays', async () => {
  const [one, two] = await Promise.all([1, 2].map(() => chromium.connectOverCDP(session.cdp, { timeout: PATIENCE })));
  const context = await one.newContext({ extraHTTPHeaders: { 'x-test': 'yes' } });
  const page = await context.newPage();
  const sent = page.waitForRequest('**/input.html');
  await page.goto(pages.url('input.html'));
  assert.equal((await (await sent).allHeaders())['x-test'], 'yes');
  await page.evaluate(() => localStorage.setItem('mine', '1'));
  assert.ok((await page.screenshot()).length > 1_000);

  const shared = await two.contexts()[0].newPage();
  await shared.goto(pages.url('input.html'));
  assert.equal(await shared.evaluate(() => localStorage.getItem('mine')), null, 'contexts are apart');
  await shared.setContent('<button onclick="this.textContent = 1 + Number(this.textContent)">0</button>');
  for (let clicks = 0; clicks < 3; clicks++) await shared.click('button');
  assert.equal(await shared.textContent('button'), '3');

  await one.close();
  assert.equal(await shared.textContent('button'), '3', 'the other client goes on');
  await shared.close();
  await two.close();
  const raw = await Raw.connect(socketUrl(session.cdp));
  await until('the context of a client that left is gone', async () => (await raw.call('Target.getBrowserContexts')).result.browserContextIds.length === 0
    && (await raw.call('Target.getTargets')).result.targetInfos.filter(({ type }) => type === 'page').length === 1);
  raw.socket.close();
  const again = await chromium.connectOverCDP(session.cdp, { timeout: PATIENCE });
  assert.equal(again.contexts().length, 1);
  assert.equal(again.contexts()[0].pages()[0].url(), pages.url('colors.html'));
  await again.close();
});

test('Puppeteer connects; its close() leaves the browser running', async () => {
  const browser = await puppeteer.connect({ browserWSEndpoint: socketUrl(session.cdp), defaultViewport: null });
  const page = await browser.newPage();
  await page.goto(pages.url('input.html'));
  assert.ok((await page.content()).includes('<html'));
  await page.close();
  await browser.close();
  const raw = await Raw.connect(socketUrl(session.cdp));
  assert.ok((await raw.call('Browser.getVersion')).result.product.startsWith('Chrome/'));
  raw.socket.close();
});

test('a page is not told that a program may drive the browser', async () => {
  const raw = await Raw.connect(socketUrl(session.cdp));
  assert.equal(await raw.evaluate('navigator.webdriver', await raw.page()), false);
  raw.socket.close();
});

test('pages have WebGL, in software', async () => {
  const raw = await Raw.connect(socketUrl(session.cdp));
  const drawn = await raw.evaluate(`(() => {
    const gl = document.createElement('canvas').getContext('webgl2');
    gl.clearColor(1, 0, 0.2, 1);
    gl.clear(gl.COLOR_BUFFER_BIT);
    const pixel = new Uint8Array(4);
    gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, pixel);
    return String(pixel);
  })()`, await raw.page());
  assert.equal(drawn, '255,0,51,255');
  raw.socket.close();
});

test('who may only look sees, and touches nothing', async () => {
  const { url } = await limited({ power: 'read-only' });
  const raw = await Raw.connect(socketUrl(url));
  const page = await raw.page();
  const shot = await raw.call('Page.captureScreenshot', { format: 'jpeg' }, page);
  assert.ok(shot.result.data.length > 1_000);
  for (const [method, params] of [
    ['Page.navigate', { url: 'about:blank' }], ['Runtime.evaluate', { expression: '1' }],
    ['Input.dispatchMouseEvent', { type: 'mousePressed', x: 1, y: 1 }], ['Storage.getCookies', {}],
  ]) {
    const { error, sessionId } = await raw.call(method, params, page);
    assert.ok(error.message.includes(method) && error.message.includes('read-only'), JSON.stringify(error));
    assert.equal(sessionId, page);
  }
  raw.socket.close();

  const browser = await puppeteer.connect({ browserWSEndpoint: socketUrl(url), defaultViewport: null });
  assert.ok(browser.targets().some((target) => target.url() === pages.url('colors.html')));
  await browser.disconnect();

  const denied = await Raw.connect(socketUrl((await limited({ deny: ['Page.navigate', 'Network.*'] })).url));
  const session_ = await denied.page();
  assert.ok((await denied.call('Page.navigate', { url: 'about:blank' }, session_)).error);
  assert.ok((await denied.call('Network.enable', {}, session_)).error);
  assert.equal(await denied.evaluate('2 + 2', session_), 4);
  denied.socket.close();
});

test('a message of 50 MB arrives', async () => {
  const raw = await Raw.connect(socketUrl(session.cdp), { maxPayload: 0 });
  const page = await raw.page();
  assert.equal((await raw.evaluate("'x'.repeat(50_000_000)", page)).length, 50_000_000);
  assert.equal(await raw.evaluate(`${JSON.stringify('y'.repeat(5_000_000))}.length`, page), 5_000_000);
  raw.socket.close();
});

test('strangers, other pages and other names are refused', async () => {
  const base = `${socketUrl(session.origin)}/cdp`;
  for (const [url, options, status] of [
    [base, {}, 401],
    [`${base}?token=wrong`, {}, 401],
    [`${base}?token=${session.admin_password}`, {}, 401],
    [socketUrl(session.cdp), { origin: 'https://evil.example' }, 403],
    [socketUrl(session.cdp), { headers: { host: 'rebound.example' } }, 421],
  ]) {
    await assert.rejects(Raw.connect(url, options), (error) => error.status === status, `${url} ${JSON.stringify(options)}`);
  }
  for (const path of ['/json', '/json/version', '/json/protocol', '/cdp', '/devtools/browser/x']) {
    const response = await fetch(session.origin + path);
    assert.equal(response.status, 401, path);
    assert.match((await response.json()).message, /token/);
  }
  const rebound = await new Promise((resolve, reject) => {
    const { hostname, port } = new URL(session.origin);
    request({ hostname, port, path: `/json/version?token=${token()}`, headers: { host: 'rebound.example' } }, (response) => {
      response.resume();
      resolve(response.statusCode);
    }).on('error', reject).end();
  });
  assert.equal(rebound, 421);
});

test('a page in the session reaches neither the port of its own browser nor the gate', async () => {
  const raw = await Raw.connect(socketUrl(session.cdp));
  const { result } = await raw.call('Target.createTarget', { url: pages.url('input.html') });
  const page = (await raw.call('Target.attachToTarget', { targetId: result.targetId, flatten: true })).result.sessionId;
  await until('the page is there', () => raw.evaluate("document.readyState === 'complete' && location.pathname === '/input.html'", page));
  const gate = new URL(session.origin).port;
  const attempt = (port) => raw.evaluate(`(async () => {
    const tried = [];
    for (const host of ['127.0.0.1', 'localhost', '[::1]']) {
      for (const mode of ['cors', 'no-cors']) {
        const path = 'http://' + host + ':${port}/json/version?token=${token()}';
        tried.push(await fetch(path, { mode }).then(async (answer) => (await answer.text()).includes('webSocketDebuggerUrl'), () => false));
      }
      tried.push(await new Promise((resolve) => {
        const socket = new WebSocket('ws://' + host + ':${port}/devtools/browser');
        socket.onopen = () => resolve(true);
        socket.onerror = () => resolve(false);
      }));
    }
    return tried;
  })()`, page);
  assert.deepEqual(await attempt(9222), Array(9).fill(false));
  assert.deepEqual(await attempt(gate), Array(9).fill(false));
  // Chromium does what such a request says, whoever sends it.
  await raw.evaluate(`fetch('http://127.0.0.1:9222/json/close/${result.targetId}', { mode: 'no-cors' }).catch(() => 0).then(() => 0)`, page);
  const { result: { targetInfos } } = await raw.call('Target.getTargets');
  assert.ok(targetInfos.some(({ targetId }) => targetId === result.targetId), 'the request came through');
  await raw.call('Target.closeTarget', { targetId: result.targetId });
  raw.socket.close();
});

test('a message wakes a frozen session, and so does a new client', async () => {
  const raw = await Raw.connect(socketUrl(session.cdp));
  const page = await raw.page();
  const { token: admin } = await session.login('admin');
  const freeze = async () => {
    const { status, body } = await session.api('POST', '/api/glasshouse/freeze', undefined, admin);
    assert.ok(status < 300, JSON.stringify(body));
  };
  await freeze();
  assert.equal(await raw.evaluate('6 * 7', page), 42);
  await freeze();
  const other = await Raw.connect(socketUrl(session.cdp));
  assert.equal(await other.evaluate('6 * 7', await other.page()), 42);
  other.socket.close();
  raw.socket.close();
});

test('when the browser ends, clients hear why, and the same URL works again', async () => {
  const raw = await Raw.connect(socketUrl(session.cdp));
  const browser = tree(session.pid).find(({ name }) => name === 'chromium' || name === 'chrome');
  process.kill(browser.pid, 'SIGKILL');
  const { code, reason } = await within('it is closed', raw.closed);
  assert.equal(code, 1012);
  assert.match(reason, /connect again/);
  const again = await chromium.connectOverCDP(session.cdp, { timeout: PATIENCE });
  const page = await again.contexts()[0].newPage();
  await page.goto(pages.url('input.html'));
  await again.close();
});

test('a session below a path, behind a proxy that ends TLS, gives addresses that lead back; its end is told', async () => {
  const other = await Session.start(['--path-prefix', '/desk'], { env: { GLASSHOUSE_CDP_TOKEN: 'a-token-of-the-owner' } });
  try {
    assert.equal(other.cdp, `${other.origin}/desk/cdp?token=a-token-of-the-owner`);
    const browser = await chromium.connectOverCDP(other.cdp, { timeout: PATIENCE });
    assert.equal(browser.contexts().length, 1);
    await browser.close();
    const forwarded = { 'x-forwarded-proto': 'https', 'x-forwarded-host': '192.0.2.1', 'x-forwarded-prefix': '/s/7' };
    const response = await fetch(`${other.origin}/desk/json/version?token=a-token-of-the-owner`, { headers: forwarded });
    const { webSocketDebuggerUrl } = await response.json();
    assert.match(webSocketDebuggerUrl, /^wss:\/\/192\.0\.2\.1\/s\/7\/desk\/devtools\/browser\/[-\w]+\?token=a-token-of-the-owner$/);
    const raw = await Raw.connect(socketUrl(other.cdp));
    process.kill(other.pid, 'SIGTERM');
    assert.deepEqual(await within('it is closed', raw.closed), { code: 1001, reason: 'the session ended' });
  } finally {
    await other.stop();
  }
});
