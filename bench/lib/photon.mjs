// Input to photon, as a viewer sees it: time from a mouse press in the viewer's page to the first animation frame in which the
// drawn picture has changed. The remote desktop shows pages/flip.html, which switches its colour at every press. Works for
// <video> and <canvas> alike, so systems can be compared.

import { sleep, until } from './process.mjs';

/** Prepares a page to be measured: finds the widest drawn surface that matches `selector` and puts the pointer on it. */
export async function preparePhoton(page, selector) {
  const find = (selector) => {
    const width = (e) => e.getBoundingClientRect().width;
    // Looked up anew each time: a page may start on a <canvas> and go on with a <video> (Selkies).
    const find = () => [...document.querySelectorAll(selector)].sort((a, b) => width(b) - width(a))[0];
    let surface = find();
    if (!surface || !(surface.videoWidth ?? surface.width) || width(surface) < 100) return null;
    const probe = document.createElement('canvas');
    probe.width = probe.height = 1;
    const context = probe.getContext('2d', { willReadFrequently: true });
    window.__red = () => {
      if (width(surface) < 100) surface = find();
      const w = surface.videoWidth || surface.width, h = surface.videoHeight || surface.height;
      context.drawImage(surface, (w * 0.25) | 0, (h * 0.25) | 0, 1, 1, 0, 0, 1, 1);
      return context.getImageData(0, 0, 1, 1).data[0];
    };
    const red = window.__red();
    // Dark is 0x10 red, bright 0xe0: anything else is a loading page.
    if (!(Math.abs(red - 0x10) < 10 || Math.abs(red - 0xe0) < 10)) return null;
    window.__pressed = 0;
    addEventListener('pointerdown', () => { window.__pressed = performance.now(); }, true);
    window.__flip = (before) => new Promise((done) => {
      const start = performance.now();
      const look = () => {
        if (Math.abs(window.__red() - before) > 90) done(performance.now() - window.__pressed);
        else if (performance.now() - start > 3000) done(-1);
        else requestAnimationFrame(look);
      };
      look();
    });
    const r = surface.getBoundingClientRect();
    return { x: r.x, y: r.y, width: r.width, height: r.height, tag: surface.tagName.toLowerCase() };
  };
  const look = () => page.evaluate(find, selector).catch(() => null);
  const what = `the flip page in ${selector}`;
  await until(what, look, { timeout: 30000, every: 100 });
  await sleep(2000);
  const box = await until(what, look, { timeout: 30000, every: 100 });
  await page.mouse.move(box.x + box.width * 0.6, box.y + box.height * 0.6);
  await sleep(500);
  return box;
}

/** Presses the mouse `clicks` times; returns the times in ms and how many presses were not answered within 3 s. */
export async function photonTimes(page, clicks) {
  const times = [];
  let missed = 0;
  for (let i = 0; i < clicks; i++) {
    const before = await page.evaluate('window.__red()');
    const flipped = page.evaluate((before) => window.__flip(before), before);
    await page.mouse.down();
    const time = await flipped;
    await page.mouse.up();
    if (time < 0) missed++; else times.push(time);
    await sleep(150 + Math.random() * 120);
  }
  return { times, missed };
}

/** The value below which a share `p` of the numbers lies. */
export function quantile(numbers, p) {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))] : NaN;
}
