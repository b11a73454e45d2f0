// The viewer's browser: headless Chromium with the same flags for every system compared.

import { chromium } from 'playwright-core';
import { CHROMIUM, WIDTH, HEIGHT } from './desktop.mjs';
import { keepPeers } from './peers.mjs';

const FLAGS = ['--no-sandbox', '--disable-quic', '--autoplay-policy=no-user-gesture-required', '--disable-background-networking'];

/** Opens a page in a browser of its own; `close()` ends both. */
export async function openViewer(url) {
  const browser = await chromium.launch({ executablePath: CHROMIUM, headless: true, args: FLAGS });
  const page = await browser.newPage({ viewport: { width: WIDTH, height: HEIGHT } });
  await keepPeers(page);
  await page.goto(url);
  return { page, close: () => browser.close() };
}

/** The inbound video's WebRTC statistics, or null when there is none. */
export function videoStats(page) {
  return page.evaluate(async () => {
    for (const peer of window.__peers.toReversed()) {
      if (peer.connectionState === 'closed') continue;
      for (const report of (await peer.getStats()).values()) {
        if (report.type === 'inbound-rtp' && report.kind === 'video') return JSON.parse(JSON.stringify(report));
      }
    }
    return null;
  });
}
