import { applyPatch, type Patch, readPatch, shows } from './patch.ts';

// `MediaStreamTrackProcessor` as Chromium has it in windows; TypeScript's library does not know it.
interface TrackProcessor {
  readonly readable: ReadableStream<VideoFrame>;
}
type TrackProcessorConstructor = new (init: { track: MediaStreamTrack; maxBufferSize: number }) => TrackProcessor;

/**
 * Largest picture in pixels that is painted: 1920×1200. The processor converts the colours, about a millisecond for 1280×720; a
 * video element leaves that to graphics hardware.
 */
const MOST_PIXELS = 1920 * 1200;

/** Patches that wait for the frames that show the same; more take the place of the oldest. */
const MOST_PATCHES = 32;

/** RTP timestamp of a frame, where the browser tells it. */
function timeOf(frame: VideoFrame): number | null {
  const { rtpTimestamp } = (frame as { metadata?(): { rtpTimestamp?: number } }).metadata?.() ?? {};
  return rtpTimestamp ?? null;
}

const processors = (): TrackProcessorConstructor | undefined =>
  'VideoFrame' in globalThis ? (globalThis as { MediaStreamTrackProcessor?: TrackProcessorConstructor }).MediaStreamTrackProcessor : undefined;

/**
 * Paints decoded frames onto a canvas the moment that they are there.
 *
 * A video element shows a frame some 5 to 10 ms later than a canvas that it is painted on, at the median and at the 95th percentile
 * (`cargo xtask bench --only latency`). Colours are converted into memory that is kept: `drawImage` of a frame takes new
 * memory for each one, which takes longer than the conversion.
 *
 * Small changes come as patches before the frames that show them (`patch.ts`): they are painted at once, and again over each
 * frame that is older than they are.
 */
export class Painter {
  #reader: ReadableStreamDefaultReader<VideoFrame> | null = null;
  #context: CanvasRenderingContext2D | null = null;
  #pixels: ImageData | null = null;
  #wake: (() => void) | null = null;
  /** RTP timestamp of the last frame painted. */
  #time: number | null = null;
  #patches: Patch[] = [];
  /** A frame is being written into `#pixels`. */
  #copying = false;

  constructor(
    readonly canvas: HTMLCanvasElement,
    /** A frame was painted, of another size than the one before or not. */
    readonly painted: (resized: boolean) => void,
    /** Frames are no longer painted: they are too large, or cannot be read. */
    readonly gaveUp: () => void,
    /** The first frame of a track is painted, and patches can be told from frames by their time. */
    readonly timed: () => void = () => {},
  ) {}

  /** Whether pictures of this size can be painted here; of an unknown size, whether any can. */
  static can(size: { width: number; height: number } = { width: 0, height: 0 }): boolean {
    return processors() !== undefined && size.width * size.height <= MOST_PIXELS;
  }

  /** Paints what comes of `track` until `stop`, another `start` or the end of the track. */
  start(track: MediaStreamTrack): void {
    this.stop();
    const Processor = processors();
    if (!Processor) return;
    // One frame waits at most, the newest.
    const reader = new Processor({ track, maxBufferSize: 1 }).readable.getReader();
    this.#reader = reader;
    void this.#run(reader).catch((error: unknown) => {
      if (this.#reader !== reader) return;
      console.warn('Glasshouse: frames cannot be painted; the video element shows them.', error);
      this.stop();
      this.gaveUp();
    });
  }

  /** Paints a patch, unless a frame that shows the same is painted; returns whether it was of use. */
  patch(data: ArrayBuffer): boolean {
    const patch = readPatch(data);
    if (!patch || !this.#reader || this.#time === null || shows(this.#time, patch.time)) return false;
    if (this.#pixels?.width !== patch.width || this.#pixels.height !== patch.height) return false;
    this.#patches.push(patch);
    if (this.#patches.length > MOST_PATCHES) this.#patches.shift();
    // Else it is painted with the frame.
    if (!this.#copying) {
      const dirty = applyPatch(patch, this.#pixels);
      if (dirty) this.#context?.putImageData(this.#pixels, 0, 0, dirty.x, dirty.y, dirty.width, dirty.height);
    }
    return true;
  }

  /** Paints no more; what is on the canvas stays. */
  stop(): void {
    const reader = this.#reader;
    this.#reader = null;
    this.#time = null;
    this.#patches = [];
    this.#wake?.();
    void reader?.cancel().catch(() => {});
  }

  async #run(reader: ReadableStreamDefaultReader<VideoFrame>): Promise<void> {
    for (;;) {
      const { value: frame, done } = await reader.read();
      if (done) return;
      try {
        // Newer frames replace the one that waits, which is read as soon as this one is painted.
        if (document.hidden) await this.#untilShown();
        if (this.#reader !== reader) return;
        const size = { width: frame.displayWidth, height: frame.displayHeight };
        if (!Painter.can(size)) {
          this.stop();
          this.gaveUp();
          return;
        }
        await this.#paint(frame, size, reader);
      } finally {
        frame.close();
      }
    }
  }

  #untilShown(): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        document.removeEventListener('visibilitychange', done);
        this.#wake = null;
        resolve();
      };
      this.#wake = done;
      document.addEventListener('visibilitychange', done);
    });
  }

  async #paint(frame: VideoFrame, { width, height }: { width: number; height: number }, reader: unknown): Promise<void> {
    const same = this.#pixels?.width === width && this.#pixels.height === height;
    const pixels = same && this.#pixels ? this.#pixels : new ImageData(width, height);
    this.#pixels = pixels;
    this.#copying = true;
    await frame.copyTo(pixels.data, { format: 'RGBA', layout: [{ offset: 0, stride: width * 4 }] }).finally(() => {
      this.#copying = false;
    });
    if (this.#reader !== reader) return;
    const first = this.#time === null;
    const time = timeOf(frame);
    this.#time = time;
    this.#patches = time === null ? [] : this.#patches.filter((patch) => !shows(time, patch.time));
    for (const patch of this.#patches) applyPatch(patch, pixels);
    const resized = this.canvas.width !== width || this.canvas.height !== height;
    // Setting a size clears the canvas.
    if (resized) Object.assign(this.canvas, { width, height });
    this.#context ??= this.canvas.getContext('2d', { alpha: false });
    this.#context?.putImageData(pixels, 0, 0);
    this.painted(resized);
    if (first && time !== null) this.timed();
  }
}
