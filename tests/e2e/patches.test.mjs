// Small changes are painted before the frames that show them: with their very pixels, and by those who may see the picture only.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { servePages } from './lib/pages.mjs';
import { Session } from './lib/session.mjs';
import { joinSession, launch } from './lib/viewer.mjs';
import { until } from './lib/wait.mjs';

const COLOURS = [[0x10, 0x20, 0x30], [0xe0, 0xf0, 0x10]];

let pages, session, browser;
before(async () => {
  pages = await servePages();
  session = await Session.start(['--url', pages.url('flip.html'), '--app-flag=--kiosk']);
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await session?.stop();
  await pages?.stop();
});

/** Waits until a count stays the same for half a second. */
async function atRest(count) {
  let [last, since] = [-1, 0];
  await until('rest', async () => {
    const now = await count();
    if (now !== last) [last, since] = [now, Date.now()];
    return Date.now() - since > 500;
  });
}

test('a change is painted as it is, once, and frames of before do not take it away', async () => {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
  const page = await context.newPage();
  await page.addInitScript(() => {
    // What is painted at a place of the picture, and whether a patch did it.
    window.painted = [];
    const put = CanvasRenderingContext2D.prototype.putImageData;
    CanvasRenderingContext2D.prototype.putImageData = function (image, ...rest) {
      put.call(this, image, ...rest);
      const at = (200 * image.width + 300) * 4;
      window.painted.push({ patch: rest.length > 2, colour: [...image.data.slice(at, at + 3)] });
    };
  });
  await page.goto(`${session.origin}/#token=${await session.link(true)}`);
  await until('the picture', () => page.evaluate(() => window.glasshouse?.state === 'live' && window.glasshouse.video?.frames > 0 && window.glasshouse.dataChannel));
  const near = (colour, expected) => colour.every((value, c) => Math.abs(value - expected[c]) <= 10);
  const last = async () => (await page.evaluate(() => window.painted.at(-1)))?.colour ?? [0, 0, 0];
  await until('the page', async () => near(await last(), COLOURS[0]));
  await page.mouse.move(640, 500);
  // What a click does that is made before control is there shows later, if at all: one that takes control must not be in the way.
  let clicks = 0;
  await until('clicks arrive', async () => {
    clicks += 1;
    await page.mouse.click(640, 500);
    return until('a turn', () => pages.reports.length > 0, 5_000).catch(() => false);
  });
  if (clicks > 1) await atRest(() => pages.reports.length);
  await until('its colour', async () => near(await last(), COLOURS[pages.reports.at(-1).turn % 2]));
  await until('in control', () => page.evaluate(() => window.glasshouse.hostId !== null && window.glasshouse.hostId === window.glasshouse.selfId));

  let patches = 0;
  for (let turn = 0; turn < 12; turn++) {
    await atRest(() => page.evaluate(() => window.painted.length));
    const before = await last();
    const from = COLOURS.findIndex((colour) => near(before, colour));
    assert.notEqual(from, -1, `${before}`);
    await page.evaluate(() => { window.painted.length = 0; });
    await page.mouse.click(640, 500);
    const to = COLOURS[1 - from];
    await until('a frame of the change', () => page.evaluate(`window.painted.some(({ patch, colour }) => !patch && ${JSON.stringify(to)}.every((value, c) => Math.abs(value - colour[c]) <= 10))`));
    const seen = await page.evaluate(() => window.painted);
    const first = seen.findIndex(({ colour }) => near(colour, to));
    for (const { patch, colour } of seen.slice(first)) {
      assert.ok(near(colour, to), `back to ${colour} after ${to}`);
      if (patch) assert.deepEqual(colour, to, 'a patch has the very colours');
    }
    patches += seen[first].patch ? 1 : 0;
  }
  // A machine that stalls may bring a frame first.
  assert.ok(patches > 0, 'no change was painted by a patch first');
  await context.close();
});

test('whoever may not see the picture gets no patches', async () => {
  const admin = await session.login('admin');
  const call = (method, path, body) => fetch(`${session.origin}${path}`, {
    method, body: JSON.stringify(body), headers: { authorization: `Bearer ${admin.token}`, 'content-type': 'application/json' },
  });
  const guest = await joinSession(browser, session, { name: 'guest', admin: false });
  const host = await joinSession(browser, session, { name: 'host' });
  await guest.do((client) => {
    client.patches = [];
    client.patchChannel = client.peer.createDataChannel('patches');
    client.patchChannel.binaryType = 'arraybuffer';
    client.patchChannel.onmessage = ({ data }) => client.patches.push(data.byteLength);
  });
  await guest.until('the channel', (client) => client.patchChannel.readyState === 'open');
  await host.do((client) => client.send('control/request'));
  await host.until('in control', (client) => client.host === client.id);
  await host.do((client) => client.move(300, 300));
  const frames = () => host.do(async (client) => (await client.stats('inbound-rtp', 'video')).framesDecoded);
  const flip = async () => {
    // Only what comes alone is worth a patch.
    await atRest(frames);
    const before = await frames();
    await host.do((client) => client.click());
    await until('a frame', async () => await frames() > before);
  };
  await until('a patch', async () => {
    await flip();
    return guest.do((client) => client.patches.length > 0);
  });

  assert.equal((await call('POST', '/api/room/settings', { private_mode: true })).status, 204);
  await guest.until('knows', (client) => client.events.some(({ event, payload }) => event === 'system/settings' && payload.private_mode));
  // All channels are of one association: whatever was sent before is here with the answer to a ping.
  const passed = async () => {
    await guest.do((client) => { client.pong = false; client.input(7, [4, 0], [4, 1]); });
    await guest.until('the answer', (client) => client.pong);
  };
  await passed();
  await guest.do((client) => { client.patches.length = 0; });
  for (let turn = 0; turn < 5; turn++) await flip();
  await passed();
  assert.deepEqual(await guest.do((client) => client.patches), []);
  assert.equal((await call('POST', '/api/room/settings', { private_mode: false })).status, 204);
  await until('a patch again', async () => {
    await flip();
    return guest.do((client) => client.patches.length > 0);
  });
  await Promise.all([guest.close(), host.close()]);
});
