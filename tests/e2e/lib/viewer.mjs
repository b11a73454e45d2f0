// A viewer: headless Chromium with a v3 client in it.

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { until } from './wait.mjs';

const CLIENT = readFileSync(join(import.meta.dirname, 'client.js'), 'utf8');
const PROGRAMS = ['/usr/bin/chromium', '/usr/bin/google-chrome', '/usr/bin/chromium-browser'];

/** A headless Chromium, which leaves sound on; as root its own sandbox cannot start. */
export function launch(flags = []) {
  return chromium.launch({
    executablePath: PROGRAMS.find((path) => existsSync(path)), headless: true,
    args: [...(process.getuid() === 0 ? ['--no-sandbox'] : []), '--autoplay-policy=no-user-gesture-required', ...flags],
    ignoreDefaultArgs: ['--mute-audio'],
  });
}

/** Opens a page of the session's origin with `client` in it, logged in and connected. */
export async function joinSession(browser, session, { name = 'viewer', admin = true, token, video = {}, watch = true, query = '&glasshouse=1' } = {}) {
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(`${session.origin}/healthz`);
  await page.addScriptTag({ content: CLIENT });
  await page.evaluate(async ([name, password, token, query]) => {
    window.client = new window.Client();
    if (token) window.client.token = token; else await window.client.login(name, password);
    await window.client.connect(query);
  }, [name, admin ? session.admin_password : session.user_password, token, query]);
  const viewer = {
    page, context,
    /** Runs a function of the client in the page. */
    do: (code, argument) => page.evaluate(`(${code})(window.client, ${JSON.stringify(argument) ?? 'undefined'})`),
    /** Waits until a function of the client returns something true. */
    until: (what, code, argument) => until(`${name}: ${what}`, () => viewer.do(code, argument)),
    close: () => context.close(),
  };
  await viewer.until('is greeted', (client) => client.screen);
  viewer.id = await viewer.do((client) => client.events.find((one) => one.event === 'system/init').payload.session_id);
  viewer.token = await viewer.do((client) => client.token);
  if (watch) {
    await viewer.do((client, video) => client.watch(video), video);
    await viewer.until('sees the picture', (client) => client.isReady);
  }
  return viewer;
}
