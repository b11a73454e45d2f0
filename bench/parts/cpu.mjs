// CPU, bytes and memory of a session with one real viewer on each page, against neko's default pipeline on the same display.

import { readdirSync } from 'node:fs';
import { Glasshouse, histogramQuantile } from '../lib/glasshouse.mjs';
import { gstCost } from '../lib/gst.mjs';
import { cpuByThread, cpuDuring, residentMiB, sleep, until } from '../lib/process.mjs';
import { fixed, kilobytes, median, note } from '../lib/table.mjs';
import { openViewer, videoStats } from '../lib/viewer.mjs';

const LIMITS = { typing: 0.2, scrolling: 0.6, motion: 0.6 };
const FPS = 30;

export async function cpu({ pages, quick, failed }) {
  const results = {};
  try {
    results.static = await still(pages, quick);
  } catch (error) {
    failed('static page', error);
  }
  for (const page of ['typing', 'scrolling', 'motion']) {
    try {
      results[page] = await moving(page, pages, quick);
    } catch (error) {
      failed(`CPU on ${page}`, error);
    }
  }
  try {
    await changeToSend(pages, quick, results);
  } catch (error) {
    failed('change to first packet', error);
  }
  return results;
}

async function withSession(url, flags, work) {
  const session = new Glasshouse();
  try {
    await session.start(url, flags);
    return await work(session);
  } finally {
    await session.stop();
  }
}

async function watch(session) {
  const viewer = await openViewer(await session.viewerUrl());
  try {
    await until('video in the viewer', async () => (await videoStats(viewer.page))?.framesDecoded > 0, { timeout: 30000, every: 200 });
    return viewer;
  } catch (error) {
    await viewer.close();
    throw error;
  }
}

/** The difference of two readings of a viewer's video statistics. */
const traffic = (before, after, seconds) => ({
  codec: after.decoderImplementation,
  frames: after.framesReceived - before.framesReceived,
  bytes: after.bytesReceived + after.headerBytesReceived - before.bytesReceived - before.headerBytesReceived,
  fps: (after.framesReceived - before.framesReceived) / seconds,
});

async function still(pages, quick) {
  return withSession(pages.url('static'), [], async (session) => {
    const viewer = await watch(session);
    try {
      // Refinement is over when three seconds bring no frame.
      let seen = -1;
      await until('the end of refinement', async () => {
        const frames = (await videoStats(viewer.page)).framesReceived, same = frames === seen;
        seen = frames;
        return same;
      }, { timeout: 60000, every: 3000 });
      const seconds = quick ? 5 : 10;
      const before = await videoStats(viewer.page), threads = cpuByThread(session.pid, readdirSync);
      const own = await cpuDuring(session.pid, seconds);
      const video = traffic(before, await videoStats(viewer.page), seconds);
      const by_thread = threadShares(threads, cpuByThread(session.pid, readdirSync), seconds);
      const memory = residentMiB(session.pid);
      await viewer.close();
      const neko = await gstCost(session.display, session.environment, quick ? 3 : 5);
      note('static', `video with a viewer in ${seconds} s after refinement`, `${video.frames} frames, ${video.bytes} bytes`, '0 frames, 0 bytes', video.frames === 0 && video.bytes === 0);
      note('static', 'CPU of our process', `${fixed(own.core_percent, 2)} % of a core (neko's pipeline ${fixed(neko.core_percent)} %)`, '≤ 0.5 %', own.core_percent <= 0.5);
      note('memory', 'our process with one viewer', `${fixed(memory)} MiB`, '≤ 60 MB', memory <= 60e6 / 1048576);
      return { own: { ...own, ...video, by_thread, resident_mib: memory }, neko };
    } finally {
      await viewer.close();
    }
  });
}

async function moving(page, pages, quick) {
  // Within the walls, shared memory by number leads nowhere, and neko's pipeline, which is outside, would see a black screen.
  return withSession(pages.url(page), ['--max-fps', String(FPS), '--isolation=none'], async (session) => {
    const rounds = [];
    for (let round = 0; round < (quick ? 1 : 3); round++) {
      const seconds = quick ? 4 : 6;
      const viewer = await watch(session);
      let own;
      try {
        await sleep(3000);
        const before = await videoStats(viewer.page), threads = cpuByThread(session.pid, readdirSync);
        const cost = await cpuDuring(session.pid, seconds);
        own = { ...cost, ...traffic(before, await videoStats(viewer.page), cost.seconds), by_thread: threadShares(threads, cpuByThread(session.pid, readdirSync), cost.seconds) };
      } finally {
        await viewer.close();
      }
      const neko = await gstCost(session.display, session.environment, seconds);
      rounds.push({ own, neko, ratio: own.core_percent / neko.core_percent });
    }
    const ratio = median(rounds.map((r) => r.ratio));
    const of = (pick) => median(rounds.map(pick));
    note(page, `CPU, ours with one viewer at ${fixed(of((r) => r.own.fps))} fps / neko's pipeline at ${fixed(of((r) => r.neko.fps))}`,
      `${fixed(of((r) => r.own.core_percent))} % / ${fixed(of((r) => r.neko.core_percent))} % = ${fixed(ratio, 2)}×`, `≤ ${LIMITS[page]}×`, ratio <= LIMITS[page]);
    note(page, 'bytes a second, ours to the viewer / neko\'s pipeline',
      `${kilobytes(of((r) => r.own.bytes / r.own.seconds))} / ${kilobytes(of((r) => r.neko.bytes_per_second))}`);
    if (ratio > LIMITS[page]) note(page, 'profile: % of a core by thread', profile(rounds.at(-1).own.by_thread));
    return { rounds, ratio };
  });
}

function threadShares(before, after, seconds) {
  return Object.fromEntries(Object.entries(after).map(([name, time]) => [name, (100 * (time - (before[name] ?? 0))) / seconds])
    .filter(([, share]) => share > 0).sort((a, b) => b[1] - a[1]));
}

const profile = (threads) => Object.entries(threads).slice(0, 6).map(([name, share]) => `${name} ${fixed(share)}`).join(', ');

/** From a change on screen to its first packet, by the server's own histogram, at the product's default frame rate. */
async function changeToSend(pages, quick, results) {
  for (const page of ['marker', 'typing', 'scrolling']) {
    await withSession(pages.url(page), [], async (session) => {
      const viewer = await watch(session);
      try {
        await sleep(3000);
        const before = await session.metrics();
        await sleep(quick ? 4000 : 10000);
        const after = await session.metrics();
        const of = (p) => histogramQuantile(before, after, 'glasshouse_change_to_send_seconds', p);
        const p95 = of(0.95);
        if (!p95) throw new Error('glasshouse_change_to_send_seconds in /metrics has no observation');
        const ms = { p50: of(0.5).value * 1000, p95: p95.value * 1000, frames: p95.count };
        (results.change_to_send ??= {})[page] = ms;
        note(page, 'change on screen to first packet sent', `p50 ${fixed(ms.p50)} ms, p95 ${p95.beyond_last_bucket ? '> ' : ''}${fixed(ms.p95)} ms (${ms.frames} frames)`,
          'p95 ≤ 12 ms', !p95.beyond_last_bucket && ms.p95 <= 12);
      } finally {
        await viewer.close();
      }
    });
  }
}
