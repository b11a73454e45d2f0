// Input to photon of our page beside noVNC and Selkies, in interleaved rounds, with what the remote browser alone takes.

import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Glasshouse, histogramQuantile } from '../lib/glasshouse.mjs';
import { Local, NoVnc, Selkies } from '../lib/systems.mjs';
import { openViewer, videoStats } from '../lib/viewer.mjs';
import { photonTimes, preparePhoton, quantile } from '../lib/photon.mjs';
import { sleep } from '../lib/process.mjs';
import { fixed, note } from '../lib/table.mjs';

const run = promisify(execFile);
const WARM_UP_CLICKS = 8;

export async function latency({ pages, quick, failed }) {
  const rounds = quick ? 1 : 4, clicks = quick ? 15 : 30;
  const systems = [new Glasshouse(), new NoVnc(), new Selkies(), new Local()];
  const results = {};
  const started = [];
  try {
    for (const system of systems) {
      try {
        started.push(system);
        await system.start(pages.url('flip'));
        results[system.name] = { times: [], missed: 0 };
      } catch (error) {
        failed(`latency of ${system.name}`, error);
      }
    }
    for (let round = 0; round < rounds; round++) {
      for (const system of systems.filter((s) => results[s.name])) {
        try {
          await oneRound(system, clicks, results[system.name]);
        } catch (error) {
          failed(`latency of ${system.name}`, error);
        }
      }
    }
    const ours = systems[0];
    if (results[ours.name]) results[ours.name].x_only = await xOnly(ours.environment, clicks);
  } finally {
    for (const system of started) await system.stop();
  }
  report(results, systems[0].name);
  return results;
}

async function oneRound(system, clicks, result) {
  const viewer = await openViewer(await system.viewerUrl());
  try {
    result.surface = (await preparePhoton(viewer.page, system.selector)).tag;
    await photonTimes(viewer.page, WARM_UP_CLICKS);
    const metrics = system.metrics && await system.metrics();
    const stats = await videoStats(viewer.page);
    const patches = await patchesOf(viewer.page);
    const { times, missed } = await photonTimes(viewer.page, clicks);
    result.times.push(...times);
    result.missed += missed;
    if (metrics) await stages(system, viewer.page, metrics, stats, result);
    if (patches !== null) result.patches = (result.patches ?? 0) + await patchesOf(viewer.page) - patches;
  } finally {
    await viewer.close();
  }
  await sleep(500);
}

/** Changes that our own page has painted before their frames; null on other pages. */
const patchesOf = (page) => page.evaluate(() => window.glasshouse?.video?.patches ?? null);

/** What our own stages took during a round: server from its metrics, viewer from WebRTC statistics, in ms. */
async function stages(system, page, before, statsBefore, result) {
  const after = await system.metrics(), stats = await videoStats(page);
  const quantileOf = (name, p) => { const q = histogramQuantile(before, after, name, p); return q && q.value * 1000; };
  const frames = stats && statsBefore ? stats.framesDecoded - statsBefore.framesDecoded : 0;
  const perFrame = (key) => (frames ? ((stats[key] - statsBefore[key]) / frames) * 1000 : null);
  (result.stages ??= []).push({
    change_to_send_p50: quantileOf('glasshouse_change_to_send_seconds', 0.5),
    change_to_send_p95: quantileOf('glasshouse_change_to_send_seconds', 0.95),
    viewer_assembly: perFrame('totalAssemblyTime'),
    viewer_jitter_buffer: stats && statsBefore ? ((stats.jitterBufferDelay - statsBefore.jitterBufferDelay)
      / Math.max(1, stats.jitterBufferEmittedCount - statsBefore.jitterBufferEmittedCount)) * 1000 : null,
    viewer_decode: perFrame('totalDecodeTime'),
    viewer_receive_to_decoded: perFrame('totalProcessingDelay'),
    frames,
  });
}

/** Press by XTEST to changed pixels on the X screen of our session: the remote browser's own share. */
async function xOnly(env, clicks) {
  const { stdout } = await run('/usr/bin/python3', [join(import.meta.dirname, '..', 'tools', 'xflip.py'), String(clicks)], { env: { ...process.env, ...env } });
  return JSON.parse(stdout);
}

function report(results, own) {
  const p = (name, q) => (results[name]?.times.length ? quantile(results[name].times, q) : NaN);
  for (const [name, result] of Object.entries(results)) {
    result.p50 = p(name, 0.5); result.p95 = p(name, 0.95); result.min = p(name, 0);
    if (name !== own) note('latency', `input to photon, ${name}`, `p50 ${fixed(result.p50)} ms, p95 ${fixed(result.p95)} ms (n ${result.times.length}, missed ${result.missed})`);
  }
  if (!results[own]) return;
  const others = Object.keys(results).filter((name) => name !== own && name !== 'local page');
  for (const q of [0.5, 0.95]) {
    const best = Math.min(...others.map((name) => p(name, q)).filter((n) => !Number.isNaN(n)));
    const value = p(own, q);
    const ratios = others.map((name) => `${fixed(value / p(name, q), 2)}× ${name}`).join(', ');
    note('latency', `input to photon, ${own}, p${q * 100}`, `${fixed(value)} ms = ${ratios}`, 'no worse than the better of noVNC and Selkies', value <= best);
  }
  const result = results[own];
  note('latency', 'own presses not answered', `${result.missed} of ${result.missed + result.times.length}`);
  if (result.patches !== undefined) note('latency', 'own presses painted by a patch before the frame', `${result.patches} of ${result.times.length}`);
  if (result.x_only) note('latency', 'of it: press on X to pixels on X (remote browser alone)', `p50 ${fixed(quantile(result.x_only, 0.5))} ms, p95 ${fixed(quantile(result.x_only, 0.95))} ms`);
  const mean = (key) => { const v = (result.stages ?? []).map((s) => s[key]).filter((n) => n !== null && n !== undefined); return v.length ? v.reduce((a, b) => a + b) / v.length : NaN; };
  if (result.stages) {
    note('latency', 'of it: change on screen to packet sent', `p50 ${fixed(mean('change_to_send_p50'))} ms, p95 ${fixed(mean('change_to_send_p95'))} ms`);
    note('latency', 'frames in the viewer, behind the patches', `assembly ${fixed(mean('viewer_assembly'), 2)}, jitter buffer ${fixed(mean('viewer_jitter_buffer'))}, decode ${fixed(mean('viewer_decode'))}, first packet to decoded ${fixed(mean('viewer_receive_to_decoded'))} ms`);
  }
}
