// The page below a path prefix: found there, nowhere else, and only under names that are allowed.

import assert from 'node:assert/strict';
import { request } from 'node:http';
import { after, before, test } from 'node:test';
import { Session } from './lib/session.mjs';
import { launch } from './lib/viewer.mjs';

let session, browser;
before(async () => {
  session = await Session.start(['--path-prefix', '/desk', '--allowed-host', 'desk.example', '--', 'xterm', '-fullscreen']);
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await session?.stop();
});

/** Status of a path asked for under a host name. */
const status = (path, host) => new Promise((resolve, reject) => {
  request(session.origin + path, { headers: { host } }, (response) => {
    response.resume();
    resolve(response.statusCode);
  }).on('error', reject).end();
});

test('the page answers below its prefix and under allowed names only', async () => {
  assert.ok(new URL(session.url).pathname === '/desk/', session.url.split('#')[0]);
  assert.equal(await status('/desk/', 'localhost'), 200);
  assert.equal(await status('/desk', 'localhost'), 308);
  assert.equal(await status('/desk/', 'desk.example'), 200);
  assert.equal(await status('/desk/', 'rebound.example'), 421);
  assert.equal(await status('/', 'localhost'), 404);
});

test('its link shows the desktop', async () => {
  const page = await browser.newPage();
  await page.goto(session.url);
  await page.waitForFunction(() => document.querySelector('video')?.videoWidth > 0, null, { timeout: 60_000 });
  assert.equal(new URL(page.url()).pathname, '/desk/');
  assert.equal(new URL(page.url()).hash, '');
});
