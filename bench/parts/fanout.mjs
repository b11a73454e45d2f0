// Many viewers of one session: the engine alone (fanout_bench), and real WebRTC viewers in Chromium.

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Glasshouse, ROOT } from '../lib/glasshouse.mjs';
import { openCrowd } from '../lib/crowd.mjs';
import { cpuDuring, residentMiB, sleep, until } from '../lib/process.mjs';
import { fixed, median, note } from '../lib/table.mjs';

const run = promisify(execFile);
const ENGINE = join(ROOT, 'target', 'release', 'examples', 'fanout_bench');
const VIEWERS = 50, FPS = 30;

export async function fanout({ pages, quick, failed }) {
  const results = {};
  try {
    results.engine = await engine(quick);
  } catch (error) {
    failed('fan-out of the engine', error);
  }
  try {
    results.chromium = await real(pages, quick);
  } catch (error) {
    failed(`${VIEWERS} viewers in Chromium`, error);
  }
  return results;
}

async function engine(quick) {
  if (!existsSync(ENGINE)) throw new Error(`${ENGINE} not found: build it with cargo build --release -p glasshouse-webrtc --examples`);
  const { stdout } = await run('setpriv', ['--pdeathsig=KILL', ENGINE, '--json', ...(quick ? ['--seconds', '3'] : [])], { timeout: 180000 });
  const result = JSON.parse(stdout.trim().split('\n').at(-1));
  const share = result.frames_min / result.frames_sent;
  note('fan-out', `engine alone, ${result.viewers} viewers, 2 Mbit/s: frames that each got of ${result.frames_sent} sent`, `min ${result.frames_min}, median ${result.frames_median}`,
    'every one at full frame rate', share >= 0.99);
  note('fan-out', 'engine alone: CPU per extra viewer', `${fixed(result.cpu_percent_per_extra_viewer, 3)} % of a core (1: ${fixed(result.cpu_percent_one)} %, ${result.viewers}: ${fixed(result.cpu_percent_all)} %)`, 'printed');
  return result;
}

async function real(pages, quick) {
  const session = new Glasshouse();
  try {
    await session.start(pages.url('typing'), ['--max-fps', String(FPS)]);
    const measured = {};
    for (const viewers of [1, VIEWERS]) measured[viewers] = await crowd(session, viewers, quick ? 4 : 10);
    const [one, all] = [measured[1], measured[VIEWERS]];
    const full = all.max_fps;
    note('fan-out', `${VIEWERS} real WebRTC viewers on typing (10 changes a second), frames a second each`, `min ${fixed(all.min_fps)}, median ${fixed(all.median_fps)}, max ${fixed(full)}; one viewer ${fixed(one.median_fps)}`,
      'every one at full frame rate', all.min_fps >= 0.95 * all.median_fps && all.median_fps >= 0.9 * one.median_fps);
    note('fan-out', 'our CPU per extra viewer', `${fixed((all.cpu.core_percent - one.cpu.core_percent) / (VIEWERS - 1), 2)} % of a core at ${fixed(all.bits_per_second / 1e6, 2)} Mbit/s each (1: ${fixed(one.cpu.core_percent)} %, ${VIEWERS}: ${fixed(all.cpu.core_percent)} %)`, 'printed');
    note('fan-out', 'our memory', `${fixed(one.resident_mib)} MiB with 1 viewer, ${fixed(all.resident_mib)} MiB with ${VIEWERS}`);
    return measured;
  } finally {
    await session.stop();
  }
}

async function crowd(session, viewers, seconds) {
  const crowd = await openCrowd(session.origin, await session.loginToken(viewers), viewers);
  try {
    await until('a frame at every viewer', async () => (await crowd.counts()).every((c) => c.frames > 0), { every: 200 });
    await sleep(3000);
    const before = await crowd.counts(), start = performance.now();
    const cpu = await cpuDuring(session.pid, seconds);
    const after = await crowd.counts(), elapsed = (performance.now() - start) / 1000;
    const fps = after.map((c, i) => (c.frames - before[i].frames) / elapsed);
    return {
      cpu, fps, min_fps: Math.min(...fps), median_fps: median(fps), max_fps: Math.max(...fps), resident_mib: residentMiB(session.pid),
      bits_per_second: (8 * median(after.map((c, i) => c.bytes - before[i].bytes))) / elapsed,
    };
  } finally {
    await crowd.close();
  }
}
