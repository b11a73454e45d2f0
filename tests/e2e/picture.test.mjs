// The picture arrives, and it is the right one.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { servePages } from './lib/pages.mjs';
import { Session } from './lib/session.mjs';
import { joinSession, launch } from './lib/viewer.mjs';

const COLORS = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [255, 255, 0], [0, 255, 255], [255, 0, 255], [32, 32, 32]];
// Chroma has half the resolution and both ends round; saturated colours lie at the edge of the limited range.
const TOLERANCE = 10;

let pages, session, browser;
before(async () => {
  pages = await servePages();
  session = await Session.start(['--url', pages.url('colors.html'), '--app-flag=--kiosk']);
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await session?.stop();
  await pages?.stop();
});

for (const codec of ['vp8', 'vp9', 'h264']) {
  test(`${codec} shows the colours of the page`, async () => {
    const viewer = await joinSession(browser, session, { video: { codec } });
    const { width, height } = await viewer.do((client) => client.screen);
    const points = COLORS.map((_, i) => [Math.round(width * (i % 4 + 0.5) / 4), Math.round(height * (i < 4 ? 0.25 : 0.75))]);
    await viewer.until('the colours', `(client) => {
      const expected = ${JSON.stringify(COLORS)};
      const seen = client.colors(${JSON.stringify(points)});
      return client.video.videoWidth === ${width} && client.video.videoHeight === ${height}
        && expected.every((color, i) => color.every((value, c) => Math.abs(value - seen[i][c]) <= ${TOLERANCE}));
    }`).catch(async (error) => {
      throw new Error(`${error.message}; seen ${JSON.stringify(await viewer.do(`(client) => client.colors(${JSON.stringify(points)})`))}`);
    });
    await viewer.until(`it is ${codec}`, `async (client) => await client.codec() === '${codec}'`);
    await viewer.close();
  });
}

test('a page that holds still costs no frames', async () => {
  const viewer = await joinSession(browser, session);
  const frames = () => viewer.do(async (client) => (await client.stats('inbound-rtp', 'video')).framesReceived);
  // Refinement ends: the count holds for two seconds. A page that never holds still runs into the deadline.
  let last = -1, since = Date.now();
  const deadline = Date.now() + 60_000;
  while (Date.now() - since < 2000) {
    assert.ok(Date.now() < deadline, 'frames never stop coming');
    const now = await frames();
    if (now !== last) [last, since] = [now, Date.now()];
  }
  assert.ok(last > 0);
  await viewer.close();
});

test('screenshots are the same picture', async () => {
  const admin = await session.login('shot');
  const response = await fetch(`${session.origin}/api/room/screen/shot.jpg`, { headers: { authorization: `Bearer ${admin.token}` } });
  assert.equal(response.status, 200);
  assert.equal(response.headers.get('content-type'), 'image/jpeg');
  const bytes = Buffer.from(await response.arrayBuffer());
  const page = await browser.newPage();
  const seen = await page.evaluate(async (base64) => {
    const image = new Image();
    image.src = `data:image/jpeg;base64,${base64}`;
    await image.decode();
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [image.width, image.height];
    const context = canvas.getContext('2d');
    context.drawImage(image, 0, 0);
    return Array.from({ length: 8 }, (_, i) => [...context.getImageData(image.width * (i % 4 + 0.5) / 4, image.height * (i < 4 ? 0.25 : 0.75), 1, 1).data].slice(0, 3));
  }, bytes.toString('base64'));
  seen.forEach((color, i) => color.forEach((value, c) => assert.ok(Math.abs(value - COLORS[i][c]) <= TOLERANCE, `${i}: ${color}`)));
  await page.close();
});
