/** The JSON shapes of neko v3 and of docs/protocol.md. */

export interface Profile {
  name: string;
  is_admin: boolean;
  can_login: boolean;
  can_connect: boolean;
  can_watch: boolean;
  can_host: boolean;
  can_share_media: boolean;
  can_access_clipboard: boolean;
  sends_inactive_cursor: boolean;
  can_see_inactive_cursors: boolean;
  plugins: Record<string, unknown> | null;
}

export interface SessionState {
  is_connected: boolean;
  is_watching: boolean;
}

export interface SessionData {
  id: string;
  token?: string;
  profile: Profile;
  state: SessionState;
}

export interface Settings {
  private_mode: boolean;
  locked_logins: boolean;
  locked_controls: boolean;
  control_protection: boolean;
  implicit_hosting: boolean;
  inactive_cursors: boolean;
  merciful_reconnect: boolean;
  /** Seconds. */
  heartbeat_interval: number;
  plugins: Record<string, unknown> | null;
}

export interface ScreenSize {
  width: number;
  height: number;
  rate: number;
}

export interface ControlHost {
  id: string;
  has_host: boolean;
  host_id?: string;
}

export interface PeerVideo {
  disabled: boolean;
  id: string;
  video: string;
  auto: boolean;
  codec?: string;
}

export interface SystemInit {
  session_id: string;
  control_host: ControlHost;
  screen_size: ScreenSize;
  sessions: Record<string, SessionData>;
  settings: Settings;
  touch_events: boolean;
  screencast_enabled: boolean;
  webrtc: { videos: string[] | null };
}

export type ProgramState = 'starting' | 'running' | 'restarting' | 'failed' | 'stopped';

export interface Program {
  name: string;
  state: ProgramState;
  detail: string | null;
}

export interface GlasshouseInit {
  version: string;
  codecs: string[];
  screen: { min: { width: number; height: number }; max: { width: number; height: number } };
  programs: Program[];
  has_audio: boolean;
  asleep?: boolean;
  asks?: Ask[];
}

/** A question of a program to the people of the room. */
export interface Ask {
  id: string;
  /** Who asks: session id and name. */
  by: string;
  name: string;
  reason: string;
  asked_at: string;
  /** How long it still waits, when this was sent. */
  timeout_ms: number;
  /** Session id of whoever has taken over for it. */
  taken_by: string | null;
}

/** Who may act on the desktop: people and programs, programs only while no person has control, or people only. */
export type ProgramsMode = 'together' | 'person-first' | 'watch-only';

/** Programs that are members, and who may act. */
export interface Programs {
  mode: ProgramsMode;
  /** `way` is how it came: `cdp`, `computer` or `mcp`; `token` the public name of its token. */
  programs: { id: string; way: string; token: string }[];
}

export interface Pointer {
  id: string;
  x: number;
  y: number;
}

export interface ServerStats {
  video: {
    codec: string | null;
    quality: string | null;
    frames: number | null;
    key_frames: number | null;
    bytes: number | null;
    encode_ms: number | null;
    target_bit_rate: number | null;
  } | null;
  viewer: {
    estimate: number | null;
    round_trip_ms: number | null;
    loss: number | null;
    bytes_sent: number | null;
    packets_sent: number | null;
    nacks: number | null;
    plis: number | null;
    frames_dropped: number | null;
    protocol: string | null;
    remote: string | null;
  } | null;
}

export interface SignalProvide {
  sdp: string;
  iceservers: RTCIceServer[] | null;
  video: PeerVideo;
  audio: { disabled: boolean };
}

export interface ChatMessage {
  id: string;
  created: string;
  content: { text: string };
}

/** Events that a server sends, with their payloads. */
export interface ServerEvents {
  'system/init': SystemInit;
  'system/settings': Settings & { id: string };
  'system/disconnect': { message: string };
  'system/heartbeat': undefined;
  'signal/provide': SignalProvide;
  'signal/offer': { sdp: string };
  'signal/restart': { sdp: string };
  'signal/candidate': RTCIceCandidateInit;
  'signal/video': PeerVideo;
  'signal/audio': { disabled: boolean };
  'signal/close': null;
  'session/created': SessionData;
  'session/deleted': { id: string };
  'session/profile': Profile & { id: string };
  'session/state': SessionState & { id: string };
  'session/cursors': { id: string; cursors: { x: number; y: number }[] }[];
  'control/host': ControlHost;
  'control/request': { id: string };
  'screen/updated': ScreenSize & { id: string };
  'clipboard/updated': { text: string };
  'chat/init': { enabled: boolean };
  'chat/message': ChatMessage;
  'glasshouse/init': GlasshouseInit;
  'glasshouse/program': Program;
  'glasshouse/asleep': { asleep: boolean };
  'glasshouse/asks': Ask[];
  'glasshouse/limit': { name: string; detail: string };
  'glasshouse/cursors': Pointer[];
  'glasshouse/programs': Programs;
  'glasshouse/acted': { id: string; act: 'click' | 'type' | 'navigate'; x?: number; y?: number };
  'glasshouse/clipboard': { text: boolean; html: boolean; image: boolean };
  'glasshouse/stats': ServerStats;
  'glasshouse/error': { event: string; message: string };
}

export type ServerMessage = { [K in keyof ServerEvents]: { event: K; payload: ServerEvents[K] } }[keyof ServerEvents];

/** Reads one text frame; null when it is not an object with an `event`. */
export function parseMessage(text: string): ServerMessage | null {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && typeof (value as { event?: unknown }).event === 'string') {
      return value as ServerMessage;
    }
  } catch {
    // Falls through: not JSON is as wrong as JSON of another shape.
  }
  return null;
}
