// neko's default video pipeline (VP8, 25 frames a second), run by gst-launch-1.0 on any display.
//
// What neko builds when nothing is configured: ximagesrc without the pointer and without DAMAGE, converted, and vp8enc at constant
// bit rate with a key frame every 25 frames. neko's own work after the encoder (RTP, SRTP, sockets) is not in it.

import { closeSync, openSync, readSync, readdirSync, statSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Child, cpuDuring, scratch, until } from './process.mjs';
import { WIDTH, HEIGHT } from './desktop.mjs';

export const NEKO_FPS = 25;
const ENCODER = ['vp8enc', 'target-bitrate=1996800', 'cpu-used=4', 'end-usage=cbr', 'threads=4', 'deadline=1', 'undershoot=95', 'buffer-size=12288',
  'buffer-initial-size=6144', 'buffer-optimal-size=9216', 'keyframe-max-dist=25', 'min-quantizer=4', 'max-quantizer=20'];

const source = (display, frames) => ['ximagesrc', `display-name=${display}`, 'show-pointer=false', 'use-damage=false', `num-buffers=${frames}`, '!',
  `video/x-raw,framerate=${NEKO_FPS * 100}/100`, '!', 'videoconvert', '!'];

const launch = (pipeline, env, log) => new Child(['gst-launch-1.0', '-q', ...pipeline], { env, log });

/** Share of a core and bit rate of the pipeline on a display, after its start. */
export async function gstCost(display, env, seconds) {
  const folder = scratch('gst');
  const child = launch([...source(display, -1), 'queue', '!', ...ENCODER, '!', 'multifilesink', `location=${join(folder, 'frame-%d')}`, 'sync=false'], env, join(folder, 'log'));
  const frames = () => readdirSync(folder).filter((name) => name.startsWith('frame-'));
  await until('one second of frames from gst-launch-1.0', () => {
    if (!child.running) throw new Error(`gst-launch-1.0 ended: ${child.tail()}`);
    return frames().length >= NEKO_FPS;
  });
  const before = new Set(frames());
  const cpu = await cpuDuring(child.pid, seconds);
  const fresh = frames().filter((name) => !before.has(name));
  await child.stop('SIGKILL');
  const bytes = fresh.reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
  rmSync(folder, { recursive: true });
  return { ...cpu, fps: fresh.length / cpu.seconds, bytes_per_second: bytes / cpu.seconds };
}

/**
 * Bytes and PSNR of the pipeline's stream: every captured frame is kept beside its encoded one, which is decoded afterwards.
 * The first `skip` seconds are decoded but not counted: the rate control starts there.
 */
export async function gstQuality(display, env, seconds, skip = 2) {
  const folder = scratch('gst');
  const path = (name) => join(folder, name);
  const skipped = NEKO_FPS * skip, frames = skipped + NEKO_FPS * seconds;
  const record = launch([...source(display, frames), 'video/x-raw,format=I420', '!', 'tee', 'name=t',
    't.', '!', 'queue', '!', ...ENCODER, '!', 'tee', 'name=e', 'e.', '!', 'queue', '!', 'webmmux', '!', 'filesink', `location=${path('e.webm')}`, 'sync=false',
    'e.', '!', 'queue', '!', 'multifilesink', `location=${path('frame-%d')}`, 'sync=false',
    't.', '!', 'queue', '!', 'filesink', `location=${path('raw.yuv')}`, 'sync=false'], env, path('log'));
  let status = await record.ended;
  if (status !== 0) throw new Error(`gst-launch-1.0 ended with ${status}: ${record.tail()}`);
  const decode = launch(['filesrc', `location=${path('e.webm')}`, '!', 'matroskademux', '!', 'vp8dec', '!', 'video/x-raw,format=I420', '!',
    'filesink', `location=${path('dec.yuv')}`, 'sync=false'], env, path('log'));
  status = await decode.ended;
  if (status !== 0) throw new Error(`gst-launch-1.0 (decoder) ended with ${status}: ${decode.tail()}`);
  let bytes = 0;
  for (let n = skipped; n < frames; n++) bytes += statSync(path(`frame-${n}`)).size;
  const result = { frames: frames - skipped, seconds, bytes, ...psnr(path('raw.yuv'), path('dec.yuv'), skipped) };
  rmSync(folder, { recursive: true });
  return result;
}

/** PSNR of two I420 files of 1280×720 frames from frame `first` on: mean of the frames and that of all pixels together, in dB. */
function psnr(reference, decoded, first) {
  const luma = WIDTH * HEIGHT, size = (luma * 3) / 2;
  const frames = statSync(reference).size / size;
  if (frames !== statSync(decoded).size / size) throw new Error(`${frames} frames captured, ${statSync(decoded).size / size} decoded`);
  const files = [openSync(reference), openSync(decoded)];
  const [a, b] = [new Uint8Array(size), new Uint8Array(size)];
  // Equal pictures count as 100 dB, as in encode_bench.
  const db = (mse) => Math.min(100, 10 * Math.log10(65025 / mse));
  let mean = 0, total = 0;
  for (let n = first; n < frames; n++) {
    readSync(files[0], a, 0, size, n * size);
    readSync(files[1], b, 0, size, n * size);
    let sum = 0;
    for (let i = 0; i < luma; i++) { const d = a[i] - b[i]; sum += d * d; }
    mean += db(sum / luma) / (frames - first);
    total += sum / luma / (frames - first);
  }
  files.forEach(closeSync);
  return { psnr_luma_mean: mean, psnr_luma_all: db(total) };
}
