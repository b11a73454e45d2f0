// The room's own page: from the printed link to the picture, input, clipboard, control, phone; and its looks.

import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { servePages } from './lib/pages.mjs';
import { ROOT, Session } from './lib/session.mjs';
import { launch } from './lib/viewer.mjs';
import { until } from './lib/wait.mjs';

const OUT = join(ROOT, 'tests', 'out');
mkdirSync(OUT, { recursive: true });

let pages, session, browser;
afterEach(() => Promise.all(browser.contexts().map((context) => context.close())));
before(async () => {
  pages = await servePages();
  session = await Session.start(['--url', pages.url('input.html'), '--app-flag=--kiosk']);
  browser = await launch();
  await until('the page has focus', () => pages.reports.some(({ type }) => type === 'ready'));
});
after(async () => {
  await browser?.close();
  await session?.stop();
  await pages?.stop();
});

/** Opens the room's page by a link of its own, and waits for the picture. */
async function open(options = {}, { admin = true, url } = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  page.problems = [];
  page.on('pageerror', (error) => page.problems.push(error.message));
  page.on('console', (message) => { if (message.type() === 'error') page.problems.push(message.text()); });
  await page.goto(url ?? `${session.origin}/#token=${await session.link(admin)}`);
  await until('the picture', () => page.evaluate(() => window.glasshouse?.state === 'live' && window.glasshouse.video?.frames > 0 && window.glasshouse.dataChannel));
  return page;
}

const inControl = (page) => until('in control', () => page.evaluate(() => window.glasshouse.hostId !== null && window.glasshouse.hostId === window.glasshouse.selfId));
/** Takes control, unless it comes by itself, as it does to the first one. */
const take = async (page, press = async (button) => { await page.mouse.move(640, 4); await button.click({ timeout: 2_000 }); }) => {
  await until('in control', async () => {
    if (await page.evaluate(() => window.glasshouse.hostId !== null && window.glasshouse.hostId === window.glasshouse.selfId)) return true;
    await press(page.getByRole('button', { name: 'Take control' })).catch(() => {});
    return false;
  });
};
/** A place of the session's screen on the page. */
const place = (page, x, y) => page.evaluate(([x, y]) => {
  const { picture } = window.glasshouse.video;
  const { screen } = window.glasshouse;
  const box = document.querySelector('.gh-viewer, .stage').getBoundingClientRect();
  return [box.x + picture.left + (x + 0.5) * picture.width / screen.width, box.y + picture.top + (y + 0.5) * picture.height / screen.height];
}, [x, y]);
const text = () => pages.reports.findLast(({ type }) => type === 'text')?.text;
const events = (...types) => pages.reports.filter(({ type }) => types.includes(type));
const emptied = async (page) => {
  pages.reports.length = 0;
  await page.mouse.click(...await place(page, 200, 100));
  // Keys overtake clicks inside Chromium, which finds out first whom a click hits.
  await until('the click', () => events('mouseup').some(({ screen }) => Math.abs(screen[0] - 200) < 4 && Math.abs(screen[1] - 100) < 4));
  await page.keyboard.press('Control+a');
  await page.keyboard.press('Backspace');
  pages.reports.length = 0;
  await page.keyboard.press('F9');
  await until('the mark', () => pages.reports.some(({ type, key }) => type === 'keyup' && key === 'F9'));
  pages.reports.length = 0;
};

test('the printed link opens the room, leaves the address bar, and the first one is in control', async () => {
  const page = await open({}, { url: session.url });
  assert.equal(new URL(page.url()).hash, '');
  await inControl(page);
  await emptied(page);
  await page.keyboard.type('Hello, World! 42');
  await until('the text', () => text() === 'Hello, World! 42');
  await page.reload();
  await until('the picture again', () => page.evaluate(() => window.glasshouse?.state === 'live' && window.glasshouse.video?.frames > 0));
  assert.deepEqual(page.problems, []);
});

test('letters by insertion, pointer, five buttons, wheel', async () => {
  const page = await open();
  await take(page);
  await emptied(page);
  // What an input method or an emoji picker does.
  await page.keyboard.insertText('日本語 😀 é');
  await until('the text', () => text() === '日本語 😀 é').catch((error) => { throw new Error(`${error.message}: ${text()}`); });
  const at = await place(page, 400, 600);
  await page.mouse.move(...at);
  for (const button of ['left', 'middle', 'right']) {
    pages.reports.length = 0;
    await page.mouse.click(...at, { button });
    const seen = await until(`${button}`, () => events('mousedown')[0]);
    assert.equal(seen.button, ['left', 'middle', 'right'].indexOf(button));
    assert.ok(Math.abs(seen.screen[0] - 400) <= 1 && Math.abs(seen.screen[1] - 600) <= 1, JSON.stringify(seen));
  }
  pages.reports.length = 0;
  await page.mouse.wheel(0, 300);
  await until('scrolling down', () => events('wheel').some(({ y }) => y > 0));
});

test('nothing stays pressed when the page loses its focus', async () => {
  const page = await open();
  await take(page);
  await emptied(page);
  await page.keyboard.down('Shift');
  await until('shift is down', () => events('keydown').some(({ key }) => key === 'Shift'));
  await page.evaluate(() => window.dispatchEvent(new Event('blur')));
  await until('shift is up', () => events('keyup').some(({ key }) => key === 'Shift'));
  await page.keyboard.up('Shift');
});

test('two people pass control, and see each other', async () => {
  const first = await open();
  const second = await open({}, { admin: false });
  await take(first);
  await second.mouse.move(640, 4);
  await second.getByRole('button', { name: 'Ask for control' }).click();
  await first.getByRole('button', { name: 'Give', exact: true }).first().click();
  await inControl(second);
  await take(first);
});

test('text copied in the session is in the clipboard panel, and back', async () => {
  const page = await open();
  await take(page);
  await emptied(page);
  await page.keyboard.type('copied');
  await until('the text', () => text() === 'copied');
  await page.keyboard.press('Control+a');
  await page.keyboard.press('Control+c');
  await page.mouse.move(640, 4);
  await page.getByRole('button', { name: 'Clipboard' }).click();
  await until('it is shown', async () => (await page.getByLabel('Clipboard text').inputValue()) === 'copied');
});

test('without the network the last picture stays, and everything comes back', async () => {
  const page = await open();
  await take(page);
  const before = await page.evaluate(() => window.glasshouse.selfId);
  // The program stops answering, which is to the viewer what a cut line is: nothing arrives on any path.
  process.kill(session.pid, 'SIGSTOP');
  try {
    await until('a clear state', () => page.evaluate(() => window.glasshouse.state === 'reconnecting'));
    assert.ok(await page.evaluate(() => document.querySelector('video').videoWidth > 0), 'the last picture stays');
    await page.screenshot({ path: join(OUT, 'reconnecting.png') });
  } finally {
    process.kill(session.pid, 'SIGCONT');
  }
  await until('live again', () => page.evaluate(() => window.glasshouse.state === 'live' && window.glasshouse.dataChannel));
  assert.equal(await page.evaluate(() => window.glasshouse.selfId), before);
  await inControl(page);
  await emptied(page);
  await page.keyboard.type('back');
  await until('the text', () => text() === 'back');
});

test('a phone: tap, long press, two fingers, soft keyboard', async () => {
  const page = await open({ viewport: { width: 390, height: 844 }, deviceScaleFactor: 3, hasTouch: true, isMobile: true });
  await take(page, (button) => button.tap({ timeout: 2_000 }));
  pages.reports.length = 0;
  await page.touchscreen.tap(...await place(page, 400, 600));
  await until('a click', () => events('mousedown').some(({ button, screen }) => button === 0 && Math.abs(screen[0] - 400) < 6 && Math.abs(screen[1] - 600) < 6));
  const cdp = await page.context().newCDPSession(page);
  const touch = (type, ...points) => cdp.send('Input.dispatchTouchEvent', { type, touchPoints: points.map(([x, y], id) => ({ x, y, id })) });
  const [x, y] = await place(page, 500, 600);
  await touch('touchStart', [x, y]);
  await until('a right click', () => events('contextmenu').length > 0);
  await touch('touchEnd');
  pages.reports.length = 0;
  await touch('touchStart', [x, y], [x + 40, y]);
  for (let i = 1; i <= 10; i++) await touch('touchMove', [x, y - 8 * i], [x + 40, y - 8 * i]);
  await touch('touchEnd');
  await until('scrolling', () => events('wheel').length > 0);
  await page.touchscreen.tap(...await place(page, 200, 100));
  // Keys overtake clicks inside Chromium, which finds out first whom a click hits.
  await until('the tap', () => events('mouseup').some(({ screen }) => Math.abs(screen[0] - 200) < 6 && Math.abs(screen[1] - 100) < 6));
  await page.getByRole('button', { name: 'Keyboard' }).tap();
  await page.keyboard.insertText('phone');
  await until('the text', () => text()?.includes('phone'));
  await page.screenshot({ path: join(OUT, 'phone.png') });
});

for (const colorScheme of ['light', 'dark']) {
  test(`looks: ${colorScheme}`, async () => {
    const page = await open({ colorScheme });
    await page.mouse.move(640, 4);
    await page.getByRole('button', { name: 'People' }).click();
    await page.getByRole('dialog').waitFor();
    await page.screenshot({ path: join(OUT, `room-${colorScheme}.png`) });
      const stranger = await browser.newPage({ colorScheme });
    await stranger.goto(session.origin);
    await stranger.getByLabel('Your name').waitFor();
    await stranger.screenshot({ path: join(OUT, `login-${colorScheme}.png`) });
  });
}
