// Touchpads and fingers scroll by any distance: pages of the session's browser exactly, anything else by wheel clicks.

import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { servePages } from './lib/pages.mjs';
import { Session } from './lib/session.mjs';
import { joinSession, launch } from './lib/viewer.mjs';
import { until } from './lib/wait.mjs';

let pages, session, browser, page, mouse, top, token;
before(async () => {
  pages = await servePages();
  session = await Session.start(['--no-sound', '--url', pages.url('scroll.html')]);
  token = (await session.login('Helper')).token;
  browser = await launch();
  page = await (await browser.newContext({ viewport: { width: 1280, height: 800 } })).newPage();
  await page.goto(`${session.origin}/#token=${await session.link(true)}`);
  await until('the picture', () => page.evaluate(() => window.glasshouse?.state === 'live' && window.glasshouse.video?.frames > 0 && window.glasshouse.dataChannel));
  await until('in control', () => page.evaluate(() => window.glasshouse.hostId !== null && window.glasshouse.hostId === window.glasshouse.selfId));
  mouse = await page.context().newCDPSession(page);
  ({ top } = await until('the page is there', () => pages.reports.find(({ type }) => type === 'ready')));
});
after(async () => {
  await browser?.close();
  await session?.stop();
  await pages?.stop();
});

/** What the page in the session says last. */
const at = () => pages.reports.findLast(({ type }) => type === 'at');
/** A place of the session's page on the viewer's. */
const place = (x, y) => page.evaluate(([x, y]) => {
  const { picture } = window.glasshouse.video;
  const { screen } = window.glasshouse;
  const box = document.querySelector('.gh-viewer, .stage').getBoundingClientRect();
  return [box.x + picture.left + (x + 0.5) * picture.width / screen.width, box.y + picture.top + (y + 0.5) * picture.height / screen.height];
}, [x, y + top]);
/** Turns the viewer's wheel by pixels, as a touchpad does. */
const turn = async ([x, y], deltaX, deltaY, modifiers = 0) => {
  await mouse.send('Input.dispatchMouseEvent', { type: 'mouseWheel', x, y, deltaX, deltaY, modifiers });
};
const near = (value, wanted) => Math.abs(value - wanted) <= 1;
const told = (what, condition) => until(what, condition).catch((error) => { throw new Error(`${error.message}: ${JSON.stringify(at())}`); });
/** Everything at the beginning, and the page's place known. */
beforeEach(async () => {
  await page.mouse.click(...await place(100, 300));
  await until('the beginning', async () => { await press('F9'); return at()?.y === 0 && at().x === 0 && at().box === 0 && at().frame === 0 && at().wheels === 0; });
});
async function press(key) {
  const before = pages.reports.filter(({ type }) => type === 'mark').length;
  await page.keyboard.press(key);
  await until('the mark', () => pages.reports.filter(({ type }) => type === 'mark').length > before);
}
/** Until single pixels arrive as such, which is once it is known where the page is; then from the beginning. */
async function known() {
  const spot = await place(100, 300);
  // Clicks are 120 pixels.
  await told('a page that scrolls by pixels', async () => { await turn(spot, 0, 1); return at().turned % 120; });
  // What was sent before is there when this is.
  await told('the last of them', async () => { await turn(spot, 1, 0); return at().x > 0; });
  await turn(spot, -201, 0);
  await told('the left edge', () => at().x === 0);
  await until('the beginning', async () => { await press('F9'); return at().y === 0; });
}

test('a page, what scrolls within it, and a frame scroll by just what a touchpad says', async () => {
  await known();
  const open = await place(100, 300);
  for (let i = 0; i < 40; i++) await turn(open, 0, 3.25);
  await told('130 pixels down', () => near(at().y, 130));
  assert.ok(near(at().x, 0));
  for (let i = 0; i < 30; i++) await turn(open, 2.5, -1);
  await told('75 to the right and 30 up', () => near(at().x, 75) && near(at().y, 100));
  for (let i = 0; i < 12; i++) await turn(await place(650, 250), 0, 4.5);
  await told('54 within', () => near(at().box, 54));
  for (let i = 0; i < 12; i++) await turn(await place(1000, 250), 0, 5.5);
  await told('66 in the frame', () => near(at().frame, 66));
  assert.ok(near(at().x, 75) && near(at().y, 100), JSON.stringify(at()));
});

test('a pinch arrives as one, and undoes itself', async () => {
  await known();
  const spot = await place(100, 300);
  for (let i = 0; i < 12; i++) await turn(spot, 0, -4, 2);
  await told('the wheel with Control and a larger page', () => at().ctrl < -6 && Math.abs(Math.log(at().pinch) - 0.48) < 0.02);
  for (let i = 0; i < 12; i++) await turn(spot, 0, 8, 2);
  await told('the page as before', () => at().pinch === 1);
});

test('a notch of a wheel is still one', async () => {
  await known();
  await turn(await place(100, 300), 0, 120);
  // Chromium's own distance of a click.
  await told('a click', () => at().y > 30);
  assert.ok((await until('one wheel event', () => at().wheels)) >= 1);
});

test('who is not host scrolls nothing', async () => {
  await known();
  const guest = await joinSession(browser, session, { name: 'guest', admin: false });
  await guest.do((client) => { for (let i = 0; i < 20; i++) client.input(0x40, [4, 0], [4, 10 * 256], [1, 0]); });
  // What the host does after the guest's messages are answered comes after them.
  await guest.do((client) => client.input(7, [4, 1], [4, 2]));
  await guest.until('pong', (client) => client.pong);
  const spot = await place(100, 300);
  for (let i = 0; i < 10; i++) await turn(spot, 0, 2);
  await told('what the host has scrolled, and no more', () => near(at().y, 20));
  await guest.close();
});

test('above the page, and over another window, there are clicks', async () => {
  await known();
  const [x, y] = await place(100, -top + 12);
  for (let i = 0; i < 30; i++) await turn([x, y], 0, 7);
  await press('F9');
  assert.equal(at().y, 0);
  // A terminal that writes down what its mouse does (xterm's "SGR" encoding: 64 and 65 are wheel up and down).
  const started = await session.api('POST', '/v1/processes', {
    command: 'xterm', args: ['-geometry', '60x20+300+200', '-e', 'sh', '-c', 'stty raw -echo; printf "\\033[?1000h\\033[?1006h"; touch ~/ready; exec cat > ~/clicks'],
  }, token);
  assert.ok(started.status < 300, JSON.stringify(started.body));
  const file = async (name) => (await session.api('GET', `/v1/fs/file?path=${name}`, undefined, token));
  await until('the terminal', async () => (await file('ready')).status === 200);
  const over = await place(380, 300 - top);
  await page.mouse.move(...over);
  const clicks = async () => (String((await file('clicks')).body).match(/<6[45];/g) ?? []);
  await until('clicks in the terminal', async () => { await turn(over, 0, 9); return (await clicks()).length > 0; });
  const before = (await clicks()).length;
  for (let i = 0; i < 30; i++) await turn(over, 0, 10);
  await until('three clicks', async () => (await clicks()).length >= before + 3);
  assert.ok((await clicks()).every((one) => one === '<65;'));
  await session.api('POST', `/v1/processes/${started.body.id}/signal`, { signal: 'SIGKILL' }, token);
  assert.equal(at().y, 0);
});
