// The console in a real browser: a session by the form, its picture, links for others, freezing, deleting; and a server that opens one at its start.

import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { servePages } from './lib/pages.mjs';
import { Fleet } from './lib/serve.mjs';
import { ROOT } from './lib/session.mjs';
import { launch } from './lib/viewer.mjs';
import { PATIENCE, until, within } from './lib/wait.mjs';

const OUT = join(ROOT, 'tests', 'out');
mkdirSync(OUT, { recursive: true });

let pages, port, fleet, browser, session;
before(async () => {
  pages = await servePages();
  port = new URL(pages.url('')).port;
  fleet = await Fleet.start([], { session: [`--expose=${port}`] });
  browser = await launch();
});
afterEach(() => Promise.all(browser.contexts().map((context) => context.close())));
after(async () => {
  await browser?.close();
  fleet?.kill();
  await pages?.stop();
});

/** A page of its own whose every address is kept, with all that went wrong. */
async function openPage(url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  page.asked = [];
  page.problems = [];
  page.on('request', (request) => page.asked.push(request.url()));
  page.on('pageerror', (error) => page.problems.push(error.message));
  await page.goto(url);
  return page;
}
const openConsole = (options) => openPage(`${fleet.url}#token=${fleet.token}`, options);
const card = (page) => page.locator(`[data-session="${session.id}"]`);
const state = async () => (await fleet.api('GET', `api/v1/sessions/${session.id}`)).body.state;
const live = (page) => until('the picture', () => page.evaluate(() => window.glasshouse?.state === 'live' && window.glasshouse.video?.frames > 0));
/** Colours of the picture of the card: in the middle of the upper row's first two fields, and of the lower row's. */
const colours = (page) => card(page).locator('img').evaluate((image) => {
  const canvas = Object.assign(document.createElement('canvas'), { width: image.naturalWidth, height: image.naturalHeight });
  const context = canvas.getContext('2d');
  context.drawImage(image, 0, 0);
  return [[1, 0.4], [3, 0.4], [1, 0.8], [3, 0.8]].map(([eighths, down]) => {
    const [...rgb] = context.getImageData(Math.round(canvas.width * eighths / 8), Math.round(canvas.height * down), 1, 1).data;
    return rgb.slice(0, 3).map((value) => (value > 127 ? 1 : 0)).join('');
  }).join(' ');
});
const showsColours = (page) => until('the colours of the page', async () => await colours(page) === '100 010 110 011');
/** A link made in the console. */
async function share(page, power) {
  await card(page).getByRole('button', { name: /^Share/ }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByRole('radio', { name: new RegExp(`^${power} `) }).check();
  await dialog.getByLabel('For whom').fill(`one to ${power}`);
  await dialog.getByRole('button', { name: 'Make a link' }).click();
  await dialog.getByRole('img', { name: 'QR code of the link' }).waitFor();
  const url = await dialog.getByLabel('Link', { exact: true }).inputValue();
  await page.keyboard.press('Escape');
  return url;
}

test('a session made by the form is seen, and no token is in any address', async () => {
  const page = await openConsole();
  await until('no token is in the address', () => page.url() === fleet.url);
  await page.getByRole('button', { name: 'New session' }).first().click();
  const form = page.getByRole('dialog');
  await form.getByLabel('Address').fill(pages.url('colors.html'));
  await form.getByLabel('Name').fill('-wrong');
  await form.getByRole('button', { name: 'Create' }).click();
  await form.getByText('a name is 1 to 63 letters').waitFor();
  await form.getByLabel('Name').fill('by-form');
  await form.getByLabel('Size').selectOption('1024x768');
  await form.getByLabel('Programs act').selectOption('watch-only');
  await form.getByText('More options').click();
  await form.getByLabel('Labels').fill('team=blue');
  await form.getByLabel('Memory (MiB)').fill('1024');
  await form.getByRole('button', { name: 'Create' }).click();
  await page.getByRole('heading', { name: 'by-form' }).waitFor();
  session = (await fleet.api('GET', 'api/v1/sessions?name=by-form')).body.sessions[0];
  assert.deepEqual([session.screen, session.labels], [{ width: 1024, height: 768 }, { team: 'blue' }]);
  await showsColours(page);
  const { body: link } = await fleet.api('POST', `api/v1/sessions/${session.id}/links`, { admin: true });
  const { body: login } = await fleet.api('POST', `s/${session.id}/api/login`, { username: 'who looks', password: link.token }, { token: null });
  assert.equal((await fleet.api('GET', `s/${session.id}/api/glasshouse/programs`, undefined, { token: login.token })).body.mode, 'watch-only');
  await until('memory and processor are shown', async () => /CPU[\d.]+ %Memory\d+ MB/.test((await card(page).locator('dl').textContent()).replaceAll(/\s*\n\s*/g, '')));
  await page.screenshot({ path: join(OUT, 'console.png') });
  const phone = await openConsole({ viewport: { width: 390, height: 780 }, colorScheme: 'dark', isMobile: true, hasTouch: true });
  await card(phone).locator('img').waitFor();
  assert.ok(await phone.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'nothing is wider than a phone');
  await phone.screenshot({ path: join(OUT, 'console-phone.png') });
  await page.reload();
  await showsColours(page);
  const addresses = [...page.asked, ...phone.asked].map((url) => url.split('#')[0]);
  assert.ok(addresses.length > 10 && addresses.every((url) => !url.includes('gh_')), addresses.find((url) => url.includes('gh_')));
  assert.ok(!page.asked.some((url) => /\/room-/.test(url)), 'the console loads no room');
  assert.deepEqual(page.problems, []);
});

test('a card opens the room as admin, which leads back', async () => {
  const page = await openConsole();
  await card(page).getByRole('link').click();
  await live(page);
  assert.equal(page.url(), `${fleet.origin}${session.path}`);
  await until('in control', () => page.evaluate(() => window.glasshouse.hostId === window.glasshouse.selfId));
  assert.ok(!page.asked.some((url) => /\/s\/.*\/console-/.test(url)), 'the room loads no console');
  await page.reload();
  await live(page);
  await page.mouse.move(640, 4);
  await page.getByRole('link', { name: 'All sessions' }).click();
  await card(page).waitFor();
  assert.equal(page.url(), fleet.url);
});

test('who has a link to view sees the picture and controls nothing; taken back, it leads nowhere and its people are out', async () => {
  const page = await openConsole();
  const guest = await openPage(await share(page, 'View'));
  await live(guest);
  assert.equal(new URL(guest.url()).hash, '');
  // Whoever had control in the test before may be missed for a moment.
  await until('nobody is in control', () => guest.evaluate(() => window.glasshouse.hostId === null));
  await guest.getByText('View only').first().waitFor();
  assert.equal(await guest.getByRole('button', { name: /control/i }).count(), 0);
  assert.equal(await guest.getByRole('link', { name: 'All sessions' }).count(), 0);
  await guest.mouse.click(640, 400);
  await guest.getByText('You can watch only. Whoever').waitFor();
  const asked = await guest.evaluate(async () => {
    const key = Object.keys(sessionStorage).find((name) => name.endsWith(':session'));
    const answer = await fetch('api/room/control/request', { method: 'POST', headers: { authorization: `Bearer ${sessionStorage.getItem(key)}` } });
    return [answer.status, window.glasshouse.hostId];
  });
  assert.deepEqual(asked, [403, null]);
  await guest.reload();
  await live(guest);

  const other = await openPage(await share(page, 'Control'));
  await live(other);
  await until('in control', () => other.evaluate(() => window.glasshouse.hostId === window.glasshouse.selfId));

  await card(page).getByRole('button', { name: /^Share/ }).click();
  await page.getByRole('button', { name: 'Take back the link for one to View' }).click();
  // One whose socket was just being opened anew learns it from the link instead.
  const seen = await until('the guest is out', async () => {
    const text = await guest.evaluate(() => document.body.innerText);
    if (!/You were removed|no longer valid/.test(text)) throw new Error(`the guest sees ${text}, the console ${await page.getByRole('dialog').innerText()}`);
    return text;
  });
  if (seen.includes('removed')) await guest.getByRole('button', { name: 'Try again' }).click();
  await guest.getByText('This link is no longer valid').waitFor();
  await until('the other one stays', () => other.evaluate(() => window.glasshouse.state === 'live'));
  await page.getByText('one to View').waitFor({ state: 'detached' });
  assert.equal(await page.getByText('one to Control').count(), 1);
});

test('mistakes in a link are named, nobody gives more than they have, and it is written down', async () => {
  const path = `api/v1/sessions/${session.id}/share`;
  const field = async (body) => {
    const { status, body: problem, headers } = await fleet.api('POST', path, body);
    return [status, headers.get('content-type'), problem.errors?.[0]?.field];
  };
  const wrong = (name) => [422, 'application/problem+json', name];
  assert.deepEqual(await field({}), wrong('powers'));
  assert.deepEqual(await field({ powers: ['cdp'] }), wrong('powers'));
  assert.deepEqual(await field({ powers: ['everything'] }), wrong('powers[0]'));
  assert.deepEqual(await field({ powers: ['view'], expires_in_seconds: 59 }), wrong('expires_in_seconds'));
  assert.deepEqual(await field({ powers: ['view'], name: 'a\n' }), wrong('name'));
  assert.deepEqual(await field({ powers: ['view'], uses: 1 }), wrong('uses'));
  assert.equal((await fleet.api('POST', `api/v1/sessions/${'a'.repeat(26)}/share`, { powers: ['view'] })).status, 404);

  const made = await fleet.api('POST', path, { powers: ['control'], expires_in_seconds: 600, name: 'by hand' });
  assert.equal(made.status, 201);
  assert.ok(Math.abs(Date.parse(made.body.expires_at) - Date.now() - 600_000) < 120_000, made.body.expires_at);
  const token = new URLSearchParams(new URL(made.body.url).hash.slice(1)).get('token');
  const as = (method, where, body) => fleet.api(method, where, body, { token });
  assert.equal((await as('POST', path, { powers: ['admin'] })).status, 403);
  assert.equal((await as('POST', `api/v1/sessions/${session.id}/links`, { admin: true })).status, 403);
  assert.equal((await as('GET', 'api/v1/tokens')).status, 403);
  assert.deepEqual((await as('GET', 'api/v1/sessions')).body.sessions.map(({ id }) => id), [session.id]);
  assert.equal((await as('POST', `api/v1/sessions/${session.id}/join`)).body.power, 'control');
  const strong = await fleet.api('POST', path, { powers: ['admin'] });
  assert.equal((await as('DELETE', `${path}/${strong.body.id}`)).status, 403);
  const listed = await fleet.api('GET', path);
  assert.ok(listed.body.shares.some(({ id, name }) => id === made.body.id && name === 'by hand'));
  assert.ok(!JSON.stringify(listed.body).includes('gh_'));
  assert.equal((await fleet.api('DELETE', `${path}/${made.body.id}`)).status, 204);
  assert.equal((await fleet.api('DELETE', `${path}/${made.body.id}`)).status, 404);
  assert.equal((await as('GET', `api/v1/sessions/${session.id}`)).status, 401);
  const audit = (await fleet.api('GET', 'api/v1/audit')).body.entries;
  for (const action of ['session.share', 'session.unshare', 'session.join']) assert.ok(audit.some((entry) => entry.action === action), action);
  assert.ok(!JSON.stringify(audit).includes(token));
});

test('a frozen session shows its last picture and is not woken by that; it is thawed, and deleted after a question', async () => {
  const page = await openConsole();
  await showsColours(page);
  await card(page).getByRole('button', { name: /^Freeze/ }).click();
  await card(page).getByText('Frozen').waitFor();
  // Somebody who comes now has never seen it awake.
  const later = await openConsole();
  await showsColours(later);
  assert.equal(await state(), 'frozen');
  await card(later).getByRole('button', { name: /^Thaw/ }).click();
  await card(page).getByText('Ready').waitFor();
  assert.equal(await state(), 'ready');
  await card(page).getByRole('button', { name: /^Delete/ }).click();
  await page.getByRole('button', { name: 'Keep it' }).click();
  assert.equal(await state(), 'ready');
  await card(page).getByRole('button', { name: /^Delete/ }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Delete', exact: true }).click();
  await card(later).waitFor({ state: 'detached' });
  await until('it is over', async () => await state() === 'terminated');
  await page.getByRole('button', { name: 'Ended' }).click();
  await card(page).getByText('deleted').waitFor();
});

test('a server with --open prints one link to a session, which works once; the session ends with the server', async () => {
  assert.equal(await fleet.stop(), 0);
  fleet = await Fleet.start(['--open', pages.url('colors.html')], { session: [`--expose=${port}`] });
  const page = await openPage(fleet.first.link);
  await live(page);
  assert.match(page.url(), /\/s\/[a-z2-7]{26}\/$/);
  await page.mouse.move(640, 4);
  await page.getByRole('link', { name: 'All sessions' }).click();
  await page.locator('.card img').waitFor();
  const again = await openPage(fleet.first.link);
  await again.getByText('This link has been used already').waitFor();
  const [id] = fleet.directories();
  const processes = fleet.processes(id);
  assert.ok(processes.length > 3);
  fleet.seen.child.kill('SIGTERM');
  assert.equal((await within('the server ends', fleet.seen.ended)).code, 0);
  assert.deepEqual(fleet.directories(), []);
});
