// Sound arrives, with its pitch.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { servePages } from './lib/pages.mjs';
import { Session } from './lib/session.mjs';
import { joinSession, launch } from './lib/viewer.mjs';

let pages, session, browser;
before(async () => {
  pages = await servePages();
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await session?.stop();
  await pages?.stop();
});

for (const hertz of [440, 523]) {
  test(`a tone of ${hertz} Hz`, async () => {
    session = await Session.start(['--url', `${pages.url('tone.html')}?hertz=${hertz}`, '--app-flag=--autoplay-policy=no-user-gesture-required']);
    const viewer = await joinSession(browser, session);
    await viewer.until('hears it', `(client) => {
      const { hertz, level } = client.tone();
      return level > -60 && Math.abs(hertz - ${hertz}) < 3;
    }`).catch(async (error) => { throw new Error(`${error.message}; heard ${JSON.stringify(await viewer.do((client) => client.tone()))}`); });
    await viewer.close();
    await session.stop();
    session = null;
  });
}

test('silence costs nothing, and a session without sound says so', async () => {
  session = await Session.start(['--app', 'none', '--no-sound']);
  const viewer = await joinSession(browser, session, { watch: false });
  const { has_audio } = await viewer.do((client) => client.events.find((one) => one.event === 'glasshouse/init').payload);
  assert.equal(has_audio, false);
  await viewer.close();
  await session.stop();
  session = null;
});
