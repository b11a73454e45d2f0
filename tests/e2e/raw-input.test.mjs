// Input at its edges: zoom, text of every kind by paste, touch and clamping, and nothing that stays pressed.

import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { Session } from './lib/session.mjs';
import { joinSession, launch } from './lib/viewer.mjs';
import { until } from './lib/wait.mjs';
import { serve } from './raw-pages.mjs';
import { RawSocket } from './raw-socket.mjs';

const SHIFT = 0xffe1, CONTROL = 0xffe3, ALT = 0xffe9, SUPER = 0xffeb, BACKSPACE = 0xff08;
const PAGE = `<style>html,body{margin:0;height:100%}textarea{position:fixed;top:0;left:0;width:100%;height:40%}</style><textarea autofocus></textarea>
<script>
  const field = document.querySelector('textarea');
  for (const type of ['keydown', 'keyup']) addEventListener(type, (e) => { say({ type, key: e.key, shift: e.shiftKey, ctrl: e.ctrlKey, alt: e.altKey, meta: e.metaKey, repeat: e.repeat, caps: e.getModifierState('CapsLock') }); if (e.key === 'Alt' || e.key === 'Meta') e.preventDefault(); }, true);
  for (const type of ['mousedown', 'mouseup', 'dblclick', 'mousemove']) addEventListener(type, (e) => { if (e.button > 2) e.preventDefault(); say({ type, button: e.button, screen: [e.screenX, e.screenY], shift: e.shiftKey, ctrl: e.ctrlKey, selected: field.selectionEnd - field.selectionStart }); }, true);
  addEventListener('contextmenu', (e) => e.preventDefault());
  addEventListener('auxclick', (e) => e.preventDefault(), true);
  addEventListener('wheel', (e) => say({ type: 'wheel', x: e.deltaX, y: e.deltaY, ctrl: e.ctrlKey, mode: e.deltaMode }), { passive: true });
  addEventListener('resize', () => say({ type: 'size', width: innerWidth, ratio: devicePixelRatio }));
  field.addEventListener('input', () => say({ type: 'text', text: field.value }));
  field.addEventListener('select', () => say({ type: 'select', length: field.selectionEnd - field.selectionStart }));
  if (document.hasFocus()) say({ type: 'ready' }); else addEventListener('focus', () => say({ type: 'ready' }), { once: true });
</script>`;

let pages, session, browser, viewer;
before(async () => {
  pages = await serve({ keys: PAGE });
  session = await Session.start(['--url', pages.url('keys'), '--app-flag=--kiosk']);
  browser = await launch();
  viewer = await joinSession(browser, session);
  await until('the page has focus', () => pages.reports.some(({ type }) => type === 'ready'));
  await viewer.do((client) => client.api('POST', '/api/room/control/take'));
  // Chromium drops input until a page was first painted, and does not say when that is.
  await until('keys arrive', async () => { await press(0x71); return text(); });
});
after(async () => {
  await browser?.close();
  await session?.stop();
  await pages?.stop();
});
beforeEach(async () => {
  await viewer.do((client) => client.api('POST', '/api/room/control/take'));
  await viewer.until('is host', (client) => client.host === client.id);
  pages.reports.length = 0;
  await viewer.do((client) => { client.move(200, 50); client.click(); });
  // Keys overtake clicks inside Chromium, which finds out first whom a click hits.
  await until('the click is there', () => events('mouseup').some(({ screen }) => screen[0] === 200 && screen[1] === 50));
  await press(CONTROL, 0x61);
  await press(BACKSPACE);
  await press(0x5f);
  await until('the mark is there', () => text()?.endsWith('_'));
  await press(BACKSPACE);
  await until('the field is empty', () => text() === '');
  pages.reports.length = 0;
});

const press = (...keysyms) => viewer.do((client, keysyms) => client.press(...keysyms), keysyms);
const text = () => pages.reports.findLast(({ type }) => type === 'text')?.text;
const events = (...types) => pages.reports.filter(({ type }) => types.includes(type));
const typed = (expected) => until('the text', () => text() === expected).catch(async (error) => { throw new Error(`${error.message}: ${JSON.stringify(text())} in place of ${JSON.stringify(expected)}; clipboard ${JSON.stringify((await viewer.do((client) => client.api('GET', '/api/room/clipboard'))).body)}`); });
const saw = (what, test) => until(what, () => pages.reports.find(test)).catch((error) => { throw new Error(`${error.message}: ${JSON.stringify(pages.reports.slice(-8))}`); });

test('Ctrl+A selects, with the modifier seen by the page', async () => {
  for (const key of [0x61, 0x62, 0x63]) await press(key);
  await press(CONTROL, 0x61);
  await saw('a selection', ({ type, length }) => type === 'select' && length === 3);
  assert.ok(events('keydown').some(({ key, ctrl }) => key === 'a' && ctrl));
  await press(0x78);
  await until('it is replaced', () => text() === 'x');
});

test('every modifier is seen with a letter, and all are up in the end', async () => {
  for (const [keysym, name] of [[SHIFT, 'shift'], [CONTROL, 'ctrl'], [ALT, 'alt'], [SUPER, 'meta']]) {
    await press(keysym, keysym === SHIFT ? 0x42 : 0x62);
    await saw(name, (one) => one.type === 'keydown' && one.key.toLowerCase() === 'b' && one[name]);
  }
  await press(0x68);
  const plain = await saw('a plain letter', ({ type, key }) => type === 'keydown' && key === 'h');
  assert.deepEqual([plain.shift, plain.ctrl, plain.alt, plain.meta], [false, false, false, false]);
});

test('upper case comes from the keysym, whether or not Shift is held', async () => {
  await press(0x41);
  await press(SHIFT, 0x42);
  await press(0x63);
  await press(SHIFT, 0x64);
  // The keysym decides, so that a client whose own Shift went astray types what it means.
  await until('the text', () => text() === 'ABcd');
});

test('Caps Lock is set as the viewer has it, and taken away again', async () => {
  // By the WebSocket, as the letter: the data channel is another way, which may be faster.
  for (const [capslock, keysym, key] of [[true, 0x71, 'q'], [false, 0x72, 'r']]) {
    await viewer.do((client, [capslock, keysym]) => { client.send('keyboard/modifiers', { capslock }); client.send('control/keypress', { keysym }); }, [capslock, keysym]);
    await saw(`${key}, Caps Lock ${capslock}`, (one) => one.type === 'keydown' && one.key === key && one.caps === capslock);
  }
});

test('many letters beyond the layout, more than there are free keys', async () => {
  const all = Array.from({ length: 60 }, (_, i) => String.fromCodePoint(0x4e00 + i * 37)).join('');
  // One after the other, as people write: what a program makes of a key whose meaning has just changed depends on its
  // pace, so that longer text has to go by control/paste.
  for (let i = 0; i < all.length; i++) {
    await press(0x01000000 + all.charCodeAt(i));
    await typed(all.slice(0, i + 1));
  }
});

test('a composed text arrives by control/paste', async () => {
  const all = 'Schöne Grüße 世界 👨‍👩‍👧‍👦 नमस्ते\tמזל';
  await viewer.do((client, text) => client.send('control/paste', { text }), all);
  await typed(all);
  await viewer.do((client) => client.send('control/select_all'));
  await saw('a selection', ({ type }) => type === 'select');
  await viewer.do((client) => client.send('control/cut'));
  await typed('');
  await viewer.do((client) => client.send('control/paste', {}));
  await typed(all);
});

test('Ctrl and the wheel zoom the page', async () => {
  await viewer.do((client) => { client.move(600, 600); client.scroll(0, 1, true); });
  const zoomed = await saw('a change of zoom', ({ type }) => type === 'size');
  assert.ok(zoomed.ratio > 1, JSON.stringify(zoomed));
  await viewer.do((client) => client.scroll(0, -1, true));
  await saw('the zoom is back', ({ type, ratio }) => type === 'size' && ratio === 1);
});

test('the old scroll message without a modifier works, and so does a burst', async () => {
  await viewer.do((client) => { client.move(600, 600); client.input(2, [-2, 0], [-2, -1]); });
  await saw('a wheel event', ({ type }) => type === 'wheel');
  pages.reports.length = 0;
  await viewer.do((client) => client.scroll(0, -10));
  const total = () => events('wheel').reduce((sum, { y }) => sum + y, 0);
  await until('ten clicks', () => total() >= 9 * 53);
});

test('coordinates beyond the screen end at its edge', async () => {
  for (const [sent, expected] of [[[65535, 65535], [1279, 719]], [[0, 65535], [0, 719]], [[1280, 0], [1279, 0]]]) {
    pages.reports.length = 0;
    await viewer.do((client, [x, y]) => { client.move(x, y); client.click(3); }, sent);
    const { screen } = await saw('a click', ({ type }) => type === 'mousedown');
    assert.deepEqual(screen, expected);
  }
  pages.reports.length = 0;
  await viewer.do((client) => client.send('control/buttonpress', { code: 3, x: -2147483648, y: 2147483647 }));
  assert.deepEqual((await saw('a click', ({ type }) => type === 'mousedown')).screen, [0, 719]);
});

test('a double click, a drag, and a click with Shift', async () => {
  for (const letter of 'hello') await press(letter.codePointAt(0));
  await until('the word', () => text() === 'hello');
  // Chromium takes two clicks within one millisecond for one, and two that a busy machine tore half a second apart for two.
  await until('a double click', async () => {
    await viewer.do(async (client) => {
      client.move(20, 12);
      client.click();
      await new Promise((resolve) => setTimeout(resolve, 20));
      client.click();
    });
    return until('it', () => events('dblclick').length > 0, 2000).catch(() => false);
  });
  await press(0xff57);
  pages.reports.length = 0;
  // From beyond the text: pressing on what is selected would drag it away.
  await viewer.do((client) => { client.move(400, 12); client.button(1, true); client.move(200, 12); client.move(1, 12); client.button(1, false); });
  await saw('a selection', ({ type, length }) => type === 'select' && length === 5);
  await viewer.do((client, shift) => { client.key(shift, true); client.click(); client.key(shift, false); }, SHIFT);
  await saw('a click with Shift', ({ type, shift }) => type === 'mousedown' && shift);
});

/** Something is held down, `leave` happens, and it comes up. */
async function isReleased(leave, other) {
  await other.do((client) => client.api('POST', '/api/room/control/take'));
  await other.until('is host', (client) => client.host === client.id);
  await other.do((client, shift) => { client.move(600, 600); client.key(shift, true); client.button(1, true); }, SHIFT);
  await saw('the key is down', ({ type, key }) => type === 'keydown' && key === 'Shift');
  await saw('the button is down', ({ type }) => type === 'mousedown');
  await leave();
  await saw('the key is up', ({ type, key }) => type === 'keyup' && key === 'Shift');
  await saw('the button is up', ({ type }) => type === 'mouseup');
}
for (const [how, leave] of [
  ['control goes to somebody else', () => viewer.do((client) => client.api('POST', '/api/room/control/take'))],
  ['the host releases control', (other) => other.do((client) => client.send('control/release'))],
  ['its peer connection ends', (other) => other.do((client) => client.peer.close())],
  ['its page is closed', (other) => other.close()],
  ['it is removed', (other) => viewer.do((client, id) => client.api('DELETE', `/api/sessions/${id}`), other.id)],
  ['it logs out', (other) => other.do((client) => client.api('POST', '/api/logout'))],
]) {
  test(`what is held comes up when ${how}`, async () => {
    const other = await joinSession(browser, session, { name: 'other' });
    await isReleased(() => leave(other), other);
    await other.context.close();
  });
}

test('what is held over the WebSocket comes up when that vanishes', async () => {
  const { token } = await session.login('socket');
  const socket = await RawSocket.open(session, token);
  await session.api('POST', '/api/room/control/take', undefined, token);
  socket.send('control/keydown', { keysym: SHIFT });
  await saw('the key is down', ({ type, key }) => type === 'keydown' && key === 'Shift');
  socket.vanish();
  await saw('the key is up', ({ type, key }) => type === 'keyup' && key === 'Shift');
});

test('messages over the limit are dropped, and counted; the next second is good again', async () => {
  const before = (await session.metrics()).get('glasshouse_rejected_input_total{kind="rate"}') ?? 0;
  await viewer.do((client) => { for (let i = 0; i < 6000; i++) client.move(i % 1280, 600); });
  await until('it is counted', async () => ((await session.metrics()).get('glasshouse_rejected_input_total{kind="rate"}') ?? 0) > before);
  await until('letters arrive again', async () => { await press(0x7a); return text()?.includes('z'); });
});
