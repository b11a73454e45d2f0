// Bytes and PSNR of what is encoded against what was captured: our encoder and neko's default pipeline on the same display.

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ROOT } from '../lib/glasshouse.mjs';
import { Desktop } from '../lib/desktop.mjs';
import { gstQuality } from '../lib/gst.mjs';
import { sleep } from '../lib/process.mjs';
import { fixed, kilobytes, note } from '../lib/table.mjs';

const run = promisify(execFile);
const ENCODER = join(ROOT, 'target', 'release', 'examples', 'encode_bench');
const CODECS = ['vp8', 'vp9', 'h264'];

export async function quality({ pages, quick, failed }) {
  if (!existsSync(ENCODER)) throw new Error(`${ENCODER} not found: build it with cargo build --release -p glasshouse-media --examples`);
  const results = {};
  const seconds = quick ? 3 : 6;
  for (const page of ['static', 'typing', 'scrolling', 'motion']) {
    const desktop = await Desktop.start(pages.url(page));
    try {
      await sleep(3000);
      const neko = await gstQuality(desktop.display, desktop.env, seconds);
      results[page] = { neko };
      note(page, `neko's pipeline, ${seconds} s at 25 fps`, `${kilobytes(neko.bytes)}, PSNR ${fixed(neko.psnr_luma_mean)} dB`);
      for (const codec of CODECS) {
        try {
          const own = await encode(desktop, codec, seconds);
          results[page][codec] = own;
          const better = own.bytes < neko.bytes && own.psnr > neko.psnr_luma_mean;
          const promised = ['typing', 'scrolling'].includes(page) && codec !== 'h264';
          note(page, `ours, ${codec}, at most 30 fps`, `${kilobytes(own.bytes)} (${fixed(own.bytes / neko.bytes, 2)}×), PSNR ${fixed(own.psnr)} dB (${fixed(own.psnr - neko.psnr_luma_mean)} more), ${fixed(own.cpu_percent)} % of a core`,
            promised ? 'fewer bytes at higher PSNR' : '', promised ? better : null);
        } catch (error) {
          failed(`quality of ${codec} on ${page}`, error);
        }
      }
    } catch (error) {
      failed(`quality on ${page}`, error);
    } finally {
      await desktop.stop();
    }
  }
  return results;
}

async function encode(desktop, codec, seconds) {
  const { stdout } = await run('setpriv', ['--pdeathsig=KILL', ENCODER, '--display', desktop.display, '--xauthority', desktop.xauthority, '--codec', codec, '--quality', 'high', '--fps', '30',
    '--seconds', String(seconds), '--json'], { env: { ...process.env, ...desktop.env }, timeout: (seconds + 60) * 1000 });
  return JSON.parse(stdout.trim().split('\n').at(-1));
}
