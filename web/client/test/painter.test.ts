// @vitest-environment happy-dom
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Painter } from '../src/painter.ts';

const track = {} as MediaStreamTrack;
let push: (frame: VideoFrame) => void;
let fail: (error: Error) => void;
let put: ReturnType<typeof vi.fn>;

const frame = (width: number, height: number, rtpTimestamp?: number) => {
  const value = { displayWidth: width, displayHeight: height, metadata: () => ({ rtpTimestamp }), close: vi.fn(), copyTo: vi.fn(async (into: Uint8ClampedArray) => { into.fill(7); return []; }) };
  return value as typeof value & VideoFrame;
};
const settled = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0));

const painter = () => {
  const canvas = document.createElement('canvas');
  vi.spyOn(canvas, 'getContext').mockReturnValue({ putImageData: put } as unknown as never);
  const calls = { painted: vi.fn(), gaveUp: vi.fn(), timed: vi.fn() };
  return { canvas, ...calls, painter: new Painter(canvas, calls.painted, calls.gaveUp, calls.timed) };
};

beforeEach(() => {
  put = vi.fn();
  vi.stubGlobal('VideoFrame', class {});
  vi.stubGlobal('ImageData', class { readonly data: Uint8ClampedArray; constructor(readonly width: number, readonly height: number) { this.data = new Uint8ClampedArray(width * height * 4); } });
  vi.stubGlobal('MediaStreamTrackProcessor', class {
    readonly readable = new ReadableStream<VideoFrame>({ start(controller) { push = (value) => controller.enqueue(value); fail = (error) => controller.error(error); } });
  });
});
afterEach(() => { vi.unstubAllGlobals(); vi.restoreAllMocks(); });

describe('Painter', () => {
  it('paints each frame at its size and lets go of it', async () => {
    const { canvas, painted, painter: it } = painter();
    it.start(track);
    const frames = [frame(64, 32), frame(64, 32), frame(48, 40)];
    for (const value of frames) { push(value); await settled(); }
    expect(painted.mock.calls).toEqual([[true], [false], [true]]);
    expect([canvas.width, canvas.height]).toEqual([48, 40]);
    expect(put.mock.calls.map(([image]) => [image.width, image.height, image.data[0]])).toEqual([[64, 32, 7], [64, 32, 7], [48, 40, 7]]);
    expect(put.mock.calls[0]?.[0]).toBe(put.mock.calls[1]?.[0]);
    for (const value of frames) expect(value.close).toHaveBeenCalledOnce();
  });

  it('leaves what is too large, and what cannot be read, to the video element', async () => {
    const large = painter();
    large.painter.start(track);
    const value = frame(3840, 2160);
    push(value);
    await settled();
    expect([large.gaveUp.mock.calls.length, large.painted.mock.calls.length, value.close.mock.calls.length]).toEqual([1, 0, 1]);

    vi.spyOn(console, 'warn').mockImplementation(() => {});
    const broken = painter();
    broken.painter.start(track);
    fail(new Error('no'));
    await settled();
    expect(broken.gaveUp).toHaveBeenCalledOnce();
  });

  it('waits while the page is hidden, and not for ever when it is stopped', async () => {
    const { painted, painter: it } = painter();
    const hidden = vi.spyOn(document, 'hidden', 'get').mockReturnValue(true);
    it.start(track);
    const [one, two] = [frame(8, 8), frame(8, 8)];
    push(one);
    await settled();
    expect(painted).not.toHaveBeenCalled();
    hidden.mockReturnValue(false);
    document.dispatchEvent(new Event('visibilitychange'));
    await settled();
    expect(painted).toHaveBeenCalledOnce();
    hidden.mockReturnValue(true);
    push(two);
    await settled();
    it.stop();
    await settled();
    expect(two.close).toHaveBeenCalledOnce();
    expect(painted).toHaveBeenCalledOnce();
  });

  it('paints a patch at once and over older frames, until a frame shows the same', async () => {
    const { timed, painter: it } = painter();
    // The second of four tiles of 32×32 in one colour.
    const patch = (time: number, red: number) => new Uint8Array([1, 0, 0, 0, time, 0, 32, 0, 32, 0, 1, 0, 0, 0, 1, 0, 1, 1, 0, 1, red, 0, 0]).buffer;
    const corners = () => { const image = put.mock.lastCall?.[0] as ImageData; return [image.data[0], image.data[16 * 4]]; };
    it.start(track);
    expect(it.patch(patch(5, 50))).toBe(false);
    push(frame(32, 32, 10));
    await settled();
    expect(timed).toHaveBeenCalledOnce();
    expect([it.patch(patch(10, 50)), it.patch(patch(9, 50)), it.patch(new ArrayBuffer(3))]).toEqual([false, false, false]);
    expect(it.patch(patch(20, 60))).toBe(true);
    expect(put.mock.lastCall?.slice(1)).toEqual([0, 0, 16, 0, 16, 16]);
    expect(corners()).toEqual([7, 60]);
    push(frame(32, 32, 15));
    await settled();
    expect(corners(), 'an older frame does not take it away').toEqual([7, 60]);
    push(frame(32, 32, 20));
    await settled();
    expect(corners(), 'the frame of the change shows it itself').toEqual([7, 7]);
    push(frame(48, 32, 30));
    await settled();
    expect(it.patch(patch(40, 60)), 'of another size').toBe(false);
    it.stop();
    expect(it.patch(patch(50, 60)), 'stopped').toBe(false);
  });

  it('takes no patches where frames have no time', async () => {
    const { timed, painter: it } = painter();
    it.start(track);
    push(frame(32, 32));
    await settled();
    expect(timed).not.toHaveBeenCalled();
    expect(it.patch(new Uint8Array([1, 0, 0, 0, 9, 0, 32, 0, 32]).buffer)).toBe(false);
  });

  it('is told by the browser whether it can', () => {
    expect(Painter.can()).toBe(true);
    expect(Painter.can({ width: 1920, height: 1200 })).toBe(true);
    expect(Painter.can({ width: 2560, height: 1440 })).toBe(false);
    vi.stubGlobal('MediaStreamTrackProcessor', undefined);
    expect(Painter.can()).toBe(false);
  });
});
