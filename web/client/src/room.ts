import type { Ask, ChatMessage, GlasshouseInit, PeerVideo, Program, ProgramsMode, ServerMessage, SessionData, Settings } from './protocol.ts';

/** What is known of the room. Replaced, never changed, so that it can be compared by identity. */
export interface Room {
  /** The own member's id; empty before the first `system/init`. */
  readonly selfId: string;
  readonly members: ReadonlyMap<string, SessionData>;
  readonly hostId: string | null;
  /** Members that asked for control, the oldest first. Only the host is told. */
  readonly requests: readonly string[];
  readonly settings: Settings | null;
  readonly screen: { readonly width: number; readonly height: number };
  /** Ids of the renditions, best first. */
  readonly videos: readonly string[];
  readonly video: PeerVideo | null;
  readonly glasshouse: GlasshouseInit | null;
  readonly programs: readonly Program[];
  /** Members that are programs, with how they came. */
  readonly actors: ReadonlyMap<string, string>;
  /** Who may act on the desktop. */
  readonly mode: ProgramsMode;
  /** The desktop is frozen until somebody uses it. */
  readonly asleep: boolean;
  /** Open questions of programs, the oldest first. */
  readonly asks: readonly Ask[];
  readonly chat: readonly ChatMessage[];
  readonly chatEnabled: boolean;
}

export const emptyRoom: Room = {
  selfId: '',
  members: new Map(),
  hostId: null,
  requests: [],
  settings: null,
  screen: { width: 0, height: 0 },
  videos: [],
  video: null,
  glasshouse: null,
  programs: [],
  actors: new Map(),
  mode: 'together',
  asleep: false,
  asks: [],
  chat: [],
  chatEnabled: false,
};

/** Chat lines kept in memory. */
const CHAT_LIMIT = 500;

function withMember(room: Room, id: string, change: (member: SessionData) => SessionData): Room {
  const member = room.members.get(id);
  if (!member) return room;
  return { ...room, members: new Map(room.members).set(id, change(member)) };
}

/** The room after a message of the server. */
export function reduce(room: Room, message: ServerMessage): Room {
  switch (message.event) {
    case 'system/init': {
      const init = message.payload;
      return {
        ...room,
        selfId: init.session_id,
        members: new Map(Object.entries(init.sessions)),
        hostId: init.control_host.has_host ? (init.control_host.host_id ?? null) : null,
        requests: [],
        settings: init.settings,
        screen: { width: init.screen_size.width, height: init.screen_size.height },
        videos: init.webrtc?.videos ?? [],
      };
    }
    case 'system/settings': {
      const { id: _, ...settings } = message.payload;
      return { ...room, settings };
    }
    case 'session/created':
      return { ...room, members: new Map(room.members).set(message.payload.id, message.payload) };
    case 'session/deleted': {
      const members = new Map(room.members);
      members.delete(message.payload.id);
      return { ...room, members, requests: room.requests.filter((id) => id !== message.payload.id) };
    }
    case 'session/profile': {
      const { id, ...profile } = message.payload;
      return withMember(room, id, (member) => ({ ...member, profile }));
    }
    case 'session/state': {
      const { id, ...state } = message.payload;
      const next = withMember(room, id, (member) => ({ ...member, state }));
      return state.is_connected ? next : { ...next, requests: next.requests.filter((other) => other !== id) };
    }
    case 'control/host':
      return { ...room, hostId: message.payload.has_host ? (message.payload.host_id ?? null) : null, requests: [] };
    case 'control/request':
      return room.requests.includes(message.payload.id) ? room : { ...room, requests: [...room.requests, message.payload.id] };
    case 'screen/updated':
      return { ...room, screen: { width: message.payload.width, height: message.payload.height } };
    case 'signal/provide':
      return { ...room, video: message.payload.video };
    case 'signal/video':
      return { ...room, video: message.payload };
    case 'glasshouse/init':
      return { ...room, glasshouse: message.payload, programs: message.payload.programs ?? [], asleep: message.payload.asleep ?? false, asks: message.payload.asks ?? [] };
    case 'glasshouse/program': {
      const others = room.programs.filter((program) => program.name !== message.payload.name);
      return { ...room, programs: [...others, message.payload] };
    }
    case 'glasshouse/programs':
      return { ...room, mode: message.payload.mode, actors: new Map(message.payload.programs.map(({ id, way }) => [id, way])) };
    case 'glasshouse/asleep':
      return { ...room, asleep: message.payload.asleep };
    case 'glasshouse/asks':
      return { ...room, asks: message.payload };
    case 'chat/init':
      return { ...room, chatEnabled: message.payload.enabled };
    case 'chat/message':
      return { ...room, chat: [...room.chat, message.payload].slice(-CHAT_LIMIT) };
    default:
      return room;
  }
}

export const self = (room: Room): SessionData | undefined => room.members.get(room.selfId);
export const isHost = (room: Room): boolean => room.hostId !== null && room.hostId === room.selfId;
export const isAdmin = (room: Room): boolean => self(room)?.profile.is_admin ?? false;

/** Whether this member may never control, whatever the room's rules. */
export const isWatcher = (room: Room): boolean => self(room)?.profile.can_host === false;

/** Whether the rules let this member have control at all. */
export function mayHost(room: Room): boolean {
  const profile = self(room)?.profile;
  if (!profile?.can_host || !room.settings) return false;
  return profile.is_admin || (!room.settings.locked_controls && !room.settings.private_mode);
}

/** Whether simply using the desktop gives control: nobody has it, or the room says so. */
export const takesControlByUse = (room: Room): boolean => mayHost(room) && (room.hostId === null || (room.settings?.implicit_hosting ?? false));
