import { Api, ApiError } from './api.ts';
import * as channel from './channel.ts';
import { Emitter } from './emitter.ts';
import { Link, type LinkState } from './link.ts';
import { Peer } from './peer.ts';
import { type ServerMessage, type ServerStats, parseMessage } from './protocol.ts';
import { type Room, emptyRoom, isHost, reduce, takesControlByUse } from './room.ts';
import type { FineKind } from './wheel.ts';

export type Status =
  | { state: 'signed-out'; error: string | null }
  | { state: 'connecting' }
  | { state: 'live' }
  /** `retryAt` is in milliseconds since 1970; null while an attempt is under way. */
  | { state: 'reconnecting'; attempt: number; retryAt: number | null }
  /** Another window took over this membership. */
  | { state: 'asleep'; message: string }
  | { state: 'kicked'; message: string }
  | { state: 'ended'; message: string };

export interface ConnectionEvents {
  status: Status;
  room: Room;
  message: ServerMessage;
  track: MediaStreamTrack;
  /** The tracks are about to end; the picture can still be copied. */
  closing: undefined;
  channel: channel.ChannelMessage;
  /** A small change of the picture, before the frame that shows it. */
  patch: ArrayBuffer;
  stats: ServerStats;
  /** Input was dropped because someone else has control. */
  refused: undefined;
}

export interface ConnectionOptions {
  /** The page's base path, ending with a slash. */
  server: URL;
  /** Where the session's token is kept; null keeps it in memory only. */
  storage?: Storage | null;
  /** The video settings to begin with. */
  video?: VideoChoice;
}

export interface VideoChoice {
  /** `auto` or the id of a rendition. */
  quality: string;
  /** `auto` or a codec's name. */
  codec: string;
}

/** An answer to `signal/request` takes one round trip; without one the socket is taken for dead. */
const PROVIDE_TIMEOUT = 5000;
/** Bytes in the data channel beyond which pointer moves wait. */
const MOVE_BACKLOG = 2048;

/** Takes a one-time token out of the address bar; null when there is none. */
export function takeToken(location: Location, history: History): string | null {
  const token = new URLSearchParams(location.hash.slice(1)).get('token');
  if (token === null) return null;
  history.replaceState(history.state, '', location.pathname + location.search);
  return token;
}

/** One membership in a room: logs in, keeps the WebSocket and the WebRTC peer up, and carries input. */
export class Connection extends Emitter<ConnectionEvents> {
  readonly api: Api;
  status: Status = { state: 'signed-out', error: null };
  room: Room = emptyRoom;
  video: VideoChoice;
  peer: Peer | null = null;
  /** The desktop's cursor as last told. */
  cursor: Extract<channel.ChannelMessage, { type: 'image' }> | null = null;
  #socket: WebSocket | null = null;
  #link: Link;
  #storage: Storage | null;
  #key: string;
  #early: RTCIceCandidateInit[] = [];
  #pointer: { x: number; y: number } | null = null;
  /** Presses that were sent before this member was known as host. */
  readonly #claims = new Set<string>();
  #mediaUp = false;
  #wasLive = false;
  #provideTimer: ReturnType<typeof setTimeout> | null = null;
  #mediaAttempt = 0;
  #heartbeat: ReturnType<typeof setInterval> | null = null;
  #off: () => void;

  constructor(options: ConnectionOptions) {
    super();
    this.api = new Api(options.server);
    this.#storage = options.storage ?? null;
    this.#key = `glasshouse:${options.server.pathname}:session`;
    this.video = options.video ?? { quality: 'auto', codec: 'auto' };
    this.#link = new Link({
      open: () => this.#open(),
      close: (clean) => this.#closeSocket(clean),
      changed: (state) => this.#linkChanged(state),
      now: () => Date.now(),
      setTimeout: (callback, ms) => setTimeout(callback, ms) as unknown as number,
      clearTimeout: (id) => clearTimeout(id),
    });
    const hurry = (): void => {
      if (document.visibilityState === 'visible') this.#link.hurry();
    };
    // A page that is left says so, and control is free at once instead of after the grace.
    const leave = (event: PageTransitionEvent): void => {
      if (!event.persisted) this.#socket?.close(1000);
    };
    addEventListener('online', hurry);
    addEventListener('pageshow', hurry);
    addEventListener('pagehide', leave);
    document.addEventListener('visibilitychange', hurry);
    this.#off = () => {
      removeEventListener('online', hurry);
      removeEventListener('pageshow', hurry);
      removeEventListener('pagehide', leave);
      document.removeEventListener('visibilitychange', hurry);
    };
  }

  /** Goes on with the kept session; false when there is none. */
  resume(): boolean {
    this.api.token = this.#storage?.getItem(this.#key) ?? null;
    if (!this.api.token) return false;
    this.#link.start();
    return true;
  }

  /** Logs in with a password or a one-time token and connects. A failure is told by the status. */
  async login(name: string, password: string): Promise<void> {
    this.#setStatus({ state: 'connecting' });
    try {
      const session = await this.api.login(name, password);
      if (session.token) this.#storage?.setItem(this.#key, session.token);
      this.#link.start();
    } catch (error) {
      this.#setStatus({ state: 'signed-out', error: error instanceof ApiError ? explain(error) : String(error) });
    }
  }

  /** Shows the sign-in with a message: what was to be used to log in is good no more. */
  refuse(error: string | null): void {
    this.#setStatus({ state: 'signed-out', error });
  }

  /** Says that a way in is being looked for. */
  wait(): void {
    this.#setStatus({ state: 'connecting' });
  }

  async logout(): Promise<void> {
    const done = this.api.logout().catch(() => {});
    this.#link.stop('signed-out');
    await done;
    this.api.token = null;
  }

  /** The tracks that are playing now. */
  get tracks(): MediaStreamTrack[] {
    return this.peer?.connection.getReceivers().map(({ track }) => track) ?? [];
  }

  /** Connects again after `asleep`, `kicked` or `ended`. */
  reconnect(): void {
    this.#link.start();
  }

  /** Ends everything; the object is of no use afterwards. */
  close(): void {
    this.#link.stop('closed');
    this.#off();
  }

  /** Sends an event; false when the socket is not open. */
  send(event: string, payload?: unknown): boolean {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(payload === undefined ? { event } : { event, payload }));
    return true;
  }

  /** Chooses rendition and codec, now and for later connections. */
  chooseVideo(video: VideoChoice): void {
    this.video = video;
    this.send('signal/video', this.#videoRequest());
  }

  // Input. Over the data channel where it is open; else, and to gain control by use, over the socket.

  /** Moves the pointer; false when it should be tried again later because earlier moves are still waiting. */
  move(x: number, y: number): boolean {
    this.#pointer = { x: Math.round(x), y: Math.round(y) };
    if (this.peer?.open) {
      if (this.peer.backlog > MOVE_BACKLOG) return false;
      return this.peer.send(channel.encodeMove(x, y));
    }
    if (isHost(this.room)) this.send('control/move', this.#pointer);
    return true;
  }

  scroll(deltaX: number, deltaY: number, control: boolean): void {
    this.#input(channel.encodeScroll(deltaX, deltaY, control), 'control/scroll', { delta_x: deltaX, delta_y: deltaY, control_key: control });
  }

  /** Whether less than a click of a wheel can be sent: by who has control, while the data channel is open. */
  get scrollsFinely(): boolean {
    return isHost(this.room) && this.peer?.open === true;
  }

  /** Scrolls by 256ths of a pixel, in the DOM's direction. */
  scrollFinely(x: number, y: number, kind: FineKind): void {
    this.peer?.send(channel.encodeFine(x, y, kind));
  }

  /** Presses or releases an X button. */
  button(code: number, down: boolean): void {
    const bytes = down ? channel.encodeButtonDown(code) : channel.encodeButtonUp(code);
    this.#input(bytes, down ? 'control/buttondown' : 'control/buttonup', { code });
  }

  /** Presses or releases an X11 keysym. */
  key(keysym: number, down: boolean): void {
    const bytes = down ? channel.encodeKeyDown(keysym) : channel.encodeKeyUp(keysym);
    this.#input(bytes, down ? 'control/keydown' : 'control/keyup', { keysym });
  }

  #input(bytes: ArrayBuffer, event: string, payload: Record<string, unknown>): void {
    const release = event.endsWith('up');
    const what = JSON.stringify(payload);
    if (isHost(this.room)) {
      // The server said so after it handled the press, so the data channel cannot overtake it.
      if (release) this.#claims.delete(what);
      if (!this.peer?.send(bytes)) this.send(event, payload);
    } else if (release) {
      // A release alone must not ask for control, but one whose press did must follow it.
      if (this.#claims.delete(what)) this.send(event, payload);
    } else if (takesControlByUse(this.room)) {
      if (event !== 'control/scroll') this.#claims.add(what);
      // Moves sent before were those of a guest, so the place goes along.
      this.send(event, event === 'control/scroll' ? payload : { ...payload, ...this.#pointer });
    } else this.emit('refused', undefined);
  }

  #open(): void {
    this.#closeSocket(false);
    const url = this.api.url('api/ws?glasshouse=1');
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    const socket = new WebSocket(url, ['glasshouse', `token.${this.api.token ?? ''}`]);
    this.#socket = socket;
    socket.onmessage = ({ data }) => {
      if (socket !== this.#socket) return;
      this.#link.message();
      const message = typeof data === 'string' ? parseMessage(data) : null;
      if (message) this.#handle(message);
    };
    socket.onclose = () => {
      if (socket !== this.#socket) return;
      this.#socket = null;
      this.#link.closed();
    };
  }

  #closeSocket(clean: boolean): void {
    const socket = this.#socket;
    this.#socket = null;
    // Anything but 1000 keeps control through the server's grace.
    socket?.close(clean ? 1000 : 4000);
  }

  #handle(message: ServerMessage): void {
    const before = this.room;
    this.room = reduce(before, message);
    switch (message.event) {
      case 'system/init':
        this.#initialised(message.payload.settings.heartbeat_interval);
        break;
      case 'system/disconnect':
        this.#link.disconnected(message.payload.message);
        return;
      case 'signal/provide':
        this.#provide(message.payload);
        break;
      case 'signal/offer':
      case 'signal/restart':
        void this.peer?.answer(message.payload.sdp);
        break;
      case 'signal/candidate':
        if (this.peer) this.peer.candidate(message.payload);
        else this.#early.push(message.payload);
        break;
      case 'signal/close':
        this.#mediaLost();
        break;
      case 'glasshouse/stats':
        this.emit('stats', message.payload);
        break;
      default:
    }
    if (this.room !== before) this.emit('room', this.room);
    this.emit('message', message);
  }

  #initialised(heartbeat: number): void {
    this.#link.opened();
    if (this.#heartbeat) clearInterval(this.#heartbeat);
    this.#heartbeat = setInterval(() => this.send('client/heartbeat'), Math.max(1, heartbeat || 10) * 1000);
    if (this.peer && this.#mediaUp) {
      // The peer outlives the socket; only the choice of video may have been lost.
      this.#update();
      return;
    }
    this.#requestMedia();
  }

  #videoRequest(): Record<string, unknown> {
    const { quality, codec } = this.video;
    const auto = quality === 'auto' || !this.room.videos.includes(quality);
    return { codec, auto, ...(auto ? {} : { selector: { type: 'exact', id: quality } }) };
  }

  #requestMedia(): void {
    this.peer?.close();
    this.peer = null;
    this.#early = [];
    this.#mediaUp = false;
    this.#update();
    if (!this.send('signal/request', { video: this.#videoRequest(), audio: {} })) return;
    this.#clearProvide();
    this.#provideTimer = setTimeout(() => this.#link.fail(), PROVIDE_TIMEOUT);
  }

  #clearProvide(): void {
    if (this.#provideTimer) clearTimeout(this.#provideTimer);
    this.#provideTimer = null;
  }

  #provide(payload: Extract<ServerMessage, { event: 'signal/provide' }>['payload']): void {
    this.#clearProvide();
    this.peer?.close();
    const peer: Peer = new Peer(payload, {
      send: (event, data) => void this.send(event, data),
      track: (track) => this.emit('track', track),
      channel: (data) => {
        if (data.type === 'image') this.cursor = data;
        this.emit('channel', data);
      },
      patch: (data) => this.emit('patch', data),
      closing: () => this.emit('closing', undefined),
      up: () => {
        this.#mediaUp = true;
        this.#mediaAttempt = 0;
        this.#update();
      },
      down: () => {
        if (this.peer === peer) this.#mediaLost();
      },
    });
    this.peer = peer;
    for (const candidate of this.#early.splice(0)) peer.candidate(candidate);
  }

  #mediaLost(): void {
    this.peer?.close();
    this.peer = null;
    this.#mediaUp = false;
    this.#update();
    if (this.#link.state.state !== 'open') return;
    this.#clearProvide();
    const delay = Math.min(5000, this.#mediaAttempt++ === 0 ? 0 : 250 * 2 ** this.#mediaAttempt);
    this.#provideTimer = setTimeout(() => {
      if (this.#link.state.state === 'open') this.#requestMedia();
    }, delay);
  }

  #linkChanged(state: LinkState): void {
    if (state.state !== 'open') {
      this.#clearProvide();
      if (this.#heartbeat) clearInterval(this.#heartbeat);
      this.#heartbeat = null;
    }
    if (state.state === 'stopped') {
      this.peer?.close();
      this.peer = null;
      this.#mediaUp = false;
      this.#wasLive = false;
      if (state.why === 'signed-out') this.#storage?.removeItem(this.#key);
    }
    this.#update();
  }

  #update(): void {
    const link = this.#link.state;
    if (link.state === 'stopped') {
      const { why, message } = link;
      if (why === 'signed-out') {
        this.#setStatus({ state: 'signed-out', error: message ? 'Your session has ended. Please sign in again.' : null });
      } else if (why !== 'closed') this.#setStatus({ state: why, message });
      return;
    }
    const watching = this.room.members.get(this.room.selfId)?.profile.can_watch ?? true;
    if (link.state === 'open' && (this.#mediaUp || !watching)) {
      this.#wasLive = true;
      this.#setStatus({ state: 'live' });
    } else if (this.#wasLive || (link.state !== 'open' && link.state !== 'idle' && this.#attempts() > 0)) {
      this.#setStatus({ state: 'reconnecting', attempt: this.#attempts(), retryAt: link.state === 'waiting' ? link.retryAt : null });
    } else this.#setStatus({ state: 'connecting' });
  }

  #attempts(): number {
    const link = this.#link.state;
    return link.state === 'waiting' || link.state === 'opening' ? link.attempt : 0;
  }

  #setStatus(status: Status): void {
    if (JSON.stringify(status) === JSON.stringify(this.status)) return;
    this.status = status;
    this.emit('status', status);
  }
}

function explain(error: ApiError): string {
  if (error.status === 401) return 'The name, password or link is not valid. A link works once and for ten minutes.';
  if (error.status === 403) return 'Nobody can join right now: logins are locked.';
  if (error.status === 429) return 'Too many attempts. Wait a minute and try again.';
  return error.message;
}
