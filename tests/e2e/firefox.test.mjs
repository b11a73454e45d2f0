// A viewer of another make: a stock Firefox, on the machine of the session, opens the printed link.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, test } from 'node:test';
import puppeteer from 'puppeteer-core';
import { servePages } from './lib/pages.mjs';
import { Session } from './lib/session.mjs';
import { PATIENCE, until } from './lib/wait.mjs';

const PROGRAM = ['/usr/bin/firefox-esr', '/usr/bin/firefox'].find((path) => existsSync(path));
/** Of the lower half of input.html. */
const PAD = [0x88, 0xaa, 0xcc];

let pages, session, browser;
before(async () => {
  pages = await servePages();
  session = await Session.start(['--url', pages.url('input.html'), '--app-flag=--kiosk']);
  browser = await puppeteer.launch({ browser: 'firefox', executablePath: PROGRAM, headless: true, timeout: 60_000 });
  await until('the page has focus', () => pages.reports.some(({ type }) => type === 'ready'));
});
after(async () => {
  await browser?.close();
  await session?.stop();
  await pages?.stop();
});

const events = (kind) => pages.reports.filter(({ type }) => type === kind);

test('Firefox shows the right picture, and drives', async () => {
  const page = await browser.newPage();
  const problems = [];
  page.on('pageerror', (error) => problems.push(error.message));
  page.setDefaultTimeout(PATIENCE);
  await page.setViewport({ width: 1280, height: 800 });
  await page.goto(session.url);
  await until('the picture', () => page.evaluate(() => window.glasshouse?.state === 'live' && window.glasshouse.video?.frames > 0 && window.glasshouse.dataChannel));
  await until('the colour of the pad', async () => {
    const seen = await page.evaluate(() => {
      const canvas = document.createElement('canvas');
      const video = document.querySelector('video');
      [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
      const context = canvas.getContext('2d');
      context.drawImage(video, 0, 0);
      return [...context.getImageData(canvas.width / 2, canvas.height * 0.75, 1, 1).data];
    });
    return PAD.every((value, i) => Math.abs(value - seen[i]) <= 10);
  });
  await until('in control', () => page.evaluate(() => window.glasshouse.hostId !== null && window.glasshouse.hostId === window.glasshouse.selfId));
  // The picture is fitted into the window: 1280×720 below 40 px of margin.
  await page.mouse.click(400, 140);
  const click = await until('the click', () => events('mouseup')[0]);
  assert.ok(Math.abs(click.screen[0] - 400) <= 1 && Math.abs(click.screen[1] - 100) <= 1, JSON.stringify(click));
  await page.keyboard.type('Firefox é 日 42');
  await until('the text', () => events('text').at(-1)?.text === 'Firefox é 日 42');
  await page.mouse.wheel({ deltaY: 300 });
  await until('scrolling down', () => events('wheel').some(({ y }) => y > 0));
  assert.deepEqual(problems, []);
});
