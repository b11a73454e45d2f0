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

const processors = (): TrackProcessorConstructor | undefined =>
  'VideoFrame' in globalThis ? (globalThis as { MediaStreamTrackProcessor?: TrackProcessorConstructor }).MediaStreamTrackProcessor : undefined;

/**
 * Paints decoded frames onto a canvas the moment that they are there.
 *
 * A video element shows a frame some 5 to 10 ms later than a canvas that it is painted on, at the median and at the 95th percentile
 * (`cargo xtask bench --only latency`). Colours are converted into memory that is kept: `drawImage` of a frame takes new
 * memory for each one, which takes longer than the conversion.
 */
export class Painter {
  #reader: ReadableStreamDefaultReader<VideoFrame> | null = null;
  #context: CanvasRenderingContext2D | null = null;
  #pixels: ImageData | null = null;
  #wake: (() => void) | null = null;

  constructor(
    readonly canvas: HTMLCanvasElement,
    /** A frame was painted, of another size than the one before or not. */
    readonly painted: (resized: boolean) => void,
    /** Frames are no longer painted: they are too large, or cannot be read. */
    readonly gaveUp: () => void,
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

  /** Paints no more; what is on the canvas stays. */
  stop(): void {
    const reader = this.#reader;
    this.#reader = null;
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
    await frame.copyTo(pixels.data, { format: 'RGBA', layout: [{ offset: 0, stride: width * 4 }] });
    if (this.#reader !== reader) return;
    const resized = this.canvas.width !== width || this.canvas.height !== height;
    // Setting a size clears the canvas.
    if (resized) Object.assign(this.canvas, { width, height });
    this.#context ??= this.canvas.getContext('2d', { alpha: false });
    this.#context?.putImageData(pixels, 0, 0);
    this.painted(resized);
  }
}
