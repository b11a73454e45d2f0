import { type ChannelMessage, decode, encodePing } from './channel.ts';
import type { SignalProvide } from './protocol.ts';

/** What a peer tells its owner. */
export interface PeerEvents {
  send(event: string, payload: unknown): void;
  track(track: MediaStreamTrack): void;
  channel(message: ChannelMessage): void;
  /** A small change, before the frame that shows it. */
  patch(data: ArrayBuffer): void;
  /** The tracks are about to end; the picture can still be copied. */
  closing(): void;
  /** Media and data channel are up. */
  up(): void;
  /** The peer is of no use any more. */
  down(reason: string): void;
}

const PING_INTERVAL = 1000;
/** Without an answer for so long the path is taken for dead; a static picture sends nothing, so silence alone says nothing. */
const PONG_TIMEOUT = 5000;
const CONNECT_TIMEOUT = 12000;

/** Chrome decodes stereo only when the answer says so. */
export function preferStereo(sdp: string): string {
  return sdp.replace(/^(a=fmtp:(\d+) )([^\r\n]*)/gm, (line, start: string, payload: string, parameters: string) =>
    new RegExp(`^a=rtpmap:${payload} opus/`, 'mi').test(sdp) && !/(^|;)\s*stereo=/.test(parameters) ? `${start}${parameters};stereo=1` : line,
  );
}

/** One WebRTC connection, answering the server's offer. Never reused: a new offer makes a new peer. */
export class Peer {
  readonly connection: RTCPeerConnection;
  /** Smoothed round trip of the data channel in milliseconds, null before the first answer. */
  roundTrip: number | null = null;
  #channel: RTCDataChannel | null = null;
  #patches: RTCDataChannel | null = null;
  #early: RTCIceCandidateInit[] = [];
  #described = false;
  #closed = false;
  #up = false;
  #lastPong = 0;
  #timer: ReturnType<typeof setInterval>;
  readonly #created = performance.now();

  constructor(
    provide: SignalProvide,
    readonly events: PeerEvents,
  ) {
    this.connection = new RTCPeerConnection({ iceServers: provide.iceservers ?? [], bundlePolicy: 'max-bundle' });
    this.connection.onicecandidate = ({ candidate }) => {
      if (candidate?.candidate) events.send('signal/candidate', candidate.toJSON());
    };
    this.connection.ontrack = ({ track, receiver }) => {
      // Show and play at once; smoothness comes from the sender's pacing.
      const late = receiver as RTCRtpReceiver & { jitterBufferTarget?: number | null; playoutDelayHint?: number | null };
      if ('jitterBufferTarget' in late) late.jitterBufferTarget = 0;
      if ('playoutDelayHint' in late) late.playoutDelayHint = 0;
      events.track(track);
    };
    this.connection.ondatachannel = ({ channel }) => this.#adopt(channel);
    this.connection.onconnectionstatechange = () => {
      const state = this.connection.connectionState;
      if (state === 'failed' || state === 'closed') this.#down(state);
      else this.#check();
    };
    this.#timer = setInterval(() => this.#tick(), PING_INTERVAL);
    void this.answer(provide.sdp);
  }

  /** Answers an offer: the first one, a renegotiation or an ICE restart. */
  async answer(sdp: string): Promise<void> {
    try {
      await this.connection.setRemoteDescription({ type: 'offer', sdp });
      this.#described = true;
      const answer = await this.connection.createAnswer();
      answer.sdp = preferStereo(answer.sdp ?? '');
      await this.connection.setLocalDescription(answer);
      this.events.send('signal/answer', { sdp: answer.sdp });
      for (const candidate of this.#early.splice(0)) await this.connection.addIceCandidate(candidate).catch(() => {});
    } catch (error) {
      this.#down(error instanceof Error ? error.message : 'negotiation failed');
    }
  }

  candidate(candidate: RTCIceCandidateInit): void {
    if (!this.#described) this.#early.push(candidate);
    // A candidate of a kind that this browser does not know is no reason to stop.
    else void this.connection.addIceCandidate(candidate).catch(() => {});
  }

  /** Whether `send` reaches the server. */
  get open(): boolean {
    return this.#channel?.readyState === 'open';
  }

  /** Bytes waiting in the data channel. */
  get backlog(): number {
    return this.#channel?.bufferedAmount ?? 0;
  }

  send(data: ArrayBuffer): boolean {
    if (!this.open) return false;
    this.#channel?.send(data);
    return true;
  }

  /** Asks the server for patches, by the channel that they come on. */
  takePatches(): void {
    if (this.#closed || this.#patches) return;
    this.#patches = this.connection.createDataChannel('patches');
    this.#patches.binaryType = 'arraybuffer';
    this.#patches.onmessage = ({ data }) => {
      if (data instanceof ArrayBuffer) this.events.patch(data);
    };
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.events.closing();
    clearInterval(this.#timer);
    this.connection.onconnectionstatechange = null;
    this.connection.ontrack = null;
    this.connection.close();
  }

  #adopt(channel: RTCDataChannel): void {
    this.#channel = channel;
    channel.binaryType = 'arraybuffer';
    channel.onopen = () => this.#check();
    channel.onclose = () => this.#down('data channel closed');
    channel.onmessage = ({ data }) => {
      const message = data instanceof ArrayBuffer ? decode(data) : null;
      if (message?.type === 'pong') {
        this.#lastPong = performance.now();
        const sample = Math.max(0, Date.now() - message.sent);
        this.roundTrip = this.roundTrip === null ? sample : this.roundTrip * 0.8 + sample * 0.2;
      } else if (message) this.events.channel(message);
    };
    this.#check();
  }

  #check(): void {
    if (this.#up || this.#closed || !this.open || this.connection.connectionState !== 'connected') return;
    this.#up = true;
    this.#lastPong = performance.now();
    this.send(encodePing(Date.now()));
    this.events.up();
  }

  #tick(): void {
    const now = performance.now();
    if (!this.#up) {
      if (now - this.#created > CONNECT_TIMEOUT) this.#down('no path to the server was found');
      return;
    }
    if (now - this.#lastPong > PONG_TIMEOUT) this.#down('no answer');
    else this.send(encodePing(Date.now()));
  }

  #down(reason: string): void {
    if (this.#closed) return;
    this.close();
    this.events.down(reason);
  }
}
