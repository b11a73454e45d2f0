import { Painter } from './painter.ts';

/** What the decoder did since the page was opened, and its rates over the last interval. */
export interface PlayerStats {
  fps: number;
  /** Bit/s of video and sound. */
  bitRate: number;
  /** 0 – 1 of the interval's packets. */
  loss: number;
  roundTripMs: number | null;
  decodeMs: number | null;
  jitterBufferMs: number | null;
  codec: string | null;
  decoder: string | null;
  framesDecoded: number;
  framesDropped: number;
  width: number;
  height: number;
  /** For instance `udp` and `host`, of the server's end. */
  protocol: string | null;
  candidate: string | null;
  remote: string | null;
}

/**
 * Shows the picture and plays the sound. They are separate elements, so that the picture may play before the browser allows sound.
 * While there is no connection the last picture stays. Where the browser hands out decoded frames they are painted onto the
 * canvas, and the video element, which has them later, is hidden.
 */
export class Player {
  readonly video = document.createElement('video');
  readonly audio = document.createElement('audio');
  /** Lies over the video while it has no frames, or shows them in its place. */
  readonly canvas = document.createElement('canvas');
  /** The browser waits for a gesture before it plays sound. */
  blocked = false;
  /** Whether the picture's connection is up. */
  live = true;
  readonly #abort = new AbortController();
  readonly #painter = new Painter(
    this.canvas,
    (resized) => this.#painted(resized),
    () => this.#showVideo(),
    () => this.patchable(),
  );
  /** The canvas shows the picture, frame by frame. */
  #painting = false;
  #frames = 0;
  #patches = 0;
  #frameHandle = 0;
  #previous: { time: number; bytes: number; packets: number; lost: number; frames: number; decode: number; jitter: number; emitted: number } | null = null;

  constructor(
    /** Called when the picture's size or `blocked` changed. */
    readonly changed: () => void,
    /** Called when `patch` is of use from now on, for each track. */
    readonly patchable: () => void = () => {},
  ) {
    this.video.muted = true;
    this.video.autoplay = true;
    this.video.playsInline = true;
    this.video.disablePictureInPicture = true;
    this.video.tabIndex = -1;
    this.video.setAttribute('aria-hidden', 'true');
    this.audio.autoplay = true;
    this.canvas.hidden = true;
    this.canvas.setAttribute('aria-hidden', 'true');
    this.video.addEventListener('resize', () => {
      // It may have become small enough.
      if (!this.#painting) this.#paint();
      changed();
    });
    const thaw = (): void => {
      if (!this.#painting) this.canvas.hidden = true;
    };
    this.video.addEventListener('loadeddata', thaw);
    // Frames that came while the page was hidden are not told of, and a static picture sends no more.
    const shown = (): void => {
      if (!document.hidden && this.live && this.video.readyState >= 2) thaw();
    };
    document.addEventListener('visibilitychange', shown, { signal: this.#abort.signal });
    const gesture = (): void => {
      if (this.blocked) void this.#play();
    };
    for (const event of ['pointerdown', 'pointerup', 'keydown', 'touchend']) addEventListener(event, gesture, { capture: true, signal: this.#abort.signal });
  }

  get size(): { width: number; height: number } {
    if (this.#painting) return { width: this.canvas.width, height: this.canvas.height };
    return { width: this.video.videoWidth, height: this.video.videoHeight };
  }

  /** Frames shown so far. */
  get frames(): number {
    return this.#frames;
  }

  /** Patches shown so far. */
  get patches(): number {
    return this.#patches;
  }

  /** Shows a small change before the frame that shows it too. */
  patch(data: ArrayBuffer): void {
    if (this.#painting && this.#painter.patch(data)) this.#patches++;
  }

  add(track: MediaStreamTrack): void {
    if (track.kind === 'audio') {
      this.audio.srcObject = new MediaStream([track]);
      void this.#play();
      return;
    }
    this.freeze();
    this.video.srcObject = new MediaStream([track]);
    void this.video.play().catch(() => {});
    this.#watch();
    this.#paint();
  }

  /** Copies the present picture over the video, until the next frame comes. */
  freeze(): void {
    if (!this.video.videoWidth || this.video.readyState < 2 || !this.canvas.hidden) return;
    this.canvas.width = this.video.videoWidth;
    this.canvas.height = this.video.videoHeight;
    this.canvas.getContext('2d', { alpha: false })?.drawImage(this.video, 0, 0);
    this.canvas.hidden = false;
  }

  /** Keeps the present picture until another track is added. A track that ends shows a black frame, which must not count. */
  hold(): void {
    this.#painter.stop();
    this.freeze();
    this.video.cancelVideoFrameCallback?.(this.#frameHandle);
  }

  setVolume(volume: number): void {
    this.audio.volume = Math.max(0, Math.min(1, volume));
    this.audio.muted = volume <= 0;
  }

  close(): void {
    this.#abort.abort();
    this.#painter.stop();
    this.video.cancelVideoFrameCallback?.(this.#frameHandle);
    this.video.srcObject = null;
    this.audio.srcObject = null;
  }

  async #play(): Promise<void> {
    try {
      await this.audio.play();
      this.#setBlocked(false);
    } catch (error) {
      this.#setBlocked(error instanceof DOMException && error.name === 'NotAllowedError');
    }
  }

  #setBlocked(blocked: boolean): void {
    if (blocked === this.blocked) return;
    this.blocked = blocked;
    this.changed();
  }

  /** Paints the present track's frames from the next one on, if they can be. */
  #paint(): void {
    const [track] = (this.video.srcObject as MediaStream | null)?.getVideoTracks() ?? [];
    if (track && Painter.can({ width: this.video.videoWidth, height: this.video.videoHeight })) this.#painter.start(track);
  }

  #painted(resized: boolean): void {
    this.#frames++;
    if (this.#painting && !resized) return;
    this.#painting = true;
    this.canvas.hidden = false;
    // Not shown, it costs nothing but the memory of a frame.
    this.video.hidden = true;
    this.changed();
  }

  #showVideo(): void {
    this.#painting = false;
    this.video.hidden = false;
    if (this.live && this.video.readyState >= 2) this.canvas.hidden = true;
    this.changed();
  }

  #watch(): void {
    const shown = (): void => {
      if (!this.#painting) {
        this.#frames++;
        this.canvas.hidden = true;
      }
      this.#frameHandle = this.video.requestVideoFrameCallback(shown);
    };
    if ('requestVideoFrameCallback' in this.video) {
      this.video.cancelVideoFrameCallback(this.#frameHandle);
      this.#frameHandle = this.video.requestVideoFrameCallback(shown);
    }
  }

  /** Reads the peer's statistics; rates are over the time since the last call. */
  async stats(connection: RTCPeerConnection): Promise<PlayerStats> {
    const report = await connection.getStats();
    const all = [...(report as unknown as Map<string, Record<string, unknown>>).values()];
    const inbound = all.filter((entry) => entry['type'] === 'inbound-rtp');
    const video = inbound.find((entry) => entry['kind'] === 'video');
    const transport = all.find((entry) => entry['type'] === 'transport');
    const pairs = all.filter((entry) => entry['type'] === 'candidate-pair');
    const pair = pairs.find((entry) => entry['id'] === transport?.['selectedCandidatePairId']) ?? pairs.find((entry) => entry['nominated'] && entry['state'] === 'succeeded');
    const remote = all.find((entry) => entry['id'] === pair?.['remoteCandidateId']);
    const local = all.find((entry) => entry['id'] === pair?.['localCandidateId']);
    const codec = all.find((entry) => entry['id'] === video?.['codecId']);
    const value = (entry: Record<string, unknown> | undefined, key: string): number => Number(entry?.[key] ?? 0);
    const sum = (key: string): number => inbound.reduce((total, entry) => total + value(entry, key), 0);
    const now = {
      time: performance.now(),
      bytes: sum('bytesReceived'),
      packets: sum('packetsReceived'),
      lost: sum('packetsLost'),
      frames: value(video, 'framesDecoded'),
      decode: value(video, 'totalDecodeTime'),
      jitter: value(video, 'jitterBufferDelay'),
      emitted: value(video, 'jitterBufferEmittedCount'),
    };
    // A new connection counts from nothing again.
    const old = this.#previous && this.#previous.bytes <= now.bytes ? this.#previous : now;
    this.#previous = now;
    const seconds = Math.max(0.001, (now.time - old.time) / 1000);
    const frames = now.frames - old.frames;
    const lost = Math.max(0, now.lost - old.lost);
    const expected = now.packets - old.packets + lost;
    const text = (entry: Record<string, unknown> | undefined, key: string): string | null => (typeof entry?.[key] === 'string' ? (entry[key] as string) : null);
    return {
      fps: frames / seconds,
      bitRate: ((now.bytes - old.bytes) * 8) / seconds,
      loss: expected ? lost / expected : 0,
      roundTripMs: typeof pair?.['currentRoundTripTime'] === 'number' ? value(pair, 'currentRoundTripTime') * 1000 : null,
      decodeMs: frames ? ((now.decode - old.decode) / frames) * 1000 : null,
      jitterBufferMs: now.emitted > old.emitted ? ((now.jitter - old.jitter) / (now.emitted - old.emitted)) * 1000 : null,
      codec: text(codec, 'mimeType')?.replace('video/', '') ?? null,
      decoder: text(video, 'decoderImplementation'),
      framesDecoded: now.frames,
      framesDropped: value(video, 'framesDropped'),
      width: value(video, 'frameWidth'),
      height: value(video, 'frameHeight'),
      protocol: text(local, 'protocol') ?? text(remote, 'protocol'),
      candidate: text(remote, 'candidateType'),
      remote: remote ? `${text(remote, 'address') ?? text(remote, 'ip') ?? '?'}:${String(remote['port'] ?? '?')}` : null,
    };
  }
}
