// Made by clients/generate.mjs from openapi/fleet.json: do not edit.

/** Program on the desktop. */
export type App = "chromium" | "firefox" | "none";

/** Something that was done, as it is written down. */
export interface AuditEntry {
  /** What, such as `session.create`. */
  action: string;
  /** When (RFC 3339). */
  at: string;
  /** Anything else. */
  detail: string;
  /** Address that it came from, or empty. */
  origin: string;
  /** Counts up. */
  seq: number;
  /** Id of the session or token that it was done to. */
  target: string;
  /** Id of the token, or `fleet` for what nobody asked for. */
  who: string;
}

/** Part of the audit log. */
export interface AuditLog {
  /** Newest first. */
  entries: Array<AuditEntry>;
}

/** What can be changed while a session runs; what is left out stays. */
export interface Change {
  /** Like in the creation. */
  idle_freeze_seconds?: number | null | undefined;
  /** Like in the creation. */
  idle_timeout_seconds?: number | null | undefined;
  /** New labels; a value of null removes one. */
  labels?: Record<string, string | null> | undefined;
}

/** Who signs in. */
export interface Credentials {
  /** Name of the users file. */
  name: string;
  /** Password. */
  password: string;
}

/** Where programs drive a session's browser. */
export interface Driver {
  /** What is secret of it. Good until the session ends. */
  token: string;
  /** For `connectOverCDP` and the like: a WebSocket that speaks the DevTools protocol. */
  url: string;
}

/** What a session may reach; the public internet, if nothing is said. */
export interface Egress {
  /** If not empty, only these: `example.com` (and what is below it), `*.example.com`, `10.0.0.0/8`, with `:PORT` or without. A range of addresses opens private ones as well, and takes a token with the power `admin`. */
  allow?: Array<string> | undefined;
  /** Nothing at all. */
  block_all?: boolean | undefined;
  /** Never these, written likewise. */
  deny?: Array<string> | undefined;
  /** Proxy that all goes through: `http://user:password@host:port`, or `https` or `socks5`. The user and the password are never shown again. One that is not on a public address takes a token with the power `admin`. */
  upstream_proxy?: string | null | undefined;
}

/** One thing that happened to a session. */
export interface Event {
  /** When (RFC 3339). */
  at: string;
  /** Why. */
  reason?: string | null | undefined;
  /** Counts up; starts anew with the server. */
  seq: number;
  /** The session. */
  session: string;
  /** Its state from now on. */
  state: State;
}

/** For how long a session lives on. */
export interface Extension {
  /** Seconds from now, or null for no end. */
  seconds: number | null;
}

/** A link that was made. */
export interface Link {
  /** What is secret of it; also the password with which neko's clients log in. */
  token: string;
  /** To be opened in a browser. */
  url: string;
}

/** A link to a session's room. */
export interface NewLink {
  /** Who opens it is an admin of the room; needs the power `admin`. */
  admin?: boolean | undefined;
  /** For how long it works. */
  expires_in_seconds?: number | undefined;
  /** How often it works. */
  uses?: number | undefined;
}

/** A link to be made. */
export interface NewShare {
  /** For how long it works; a day, if not said. */
  expires_in_seconds?: number | undefined;
  /** For people. */
  name?: string | null | undefined;
  /** What it lets do: `view`, `control` (which includes `view`) or `admin`. At least one, and none that the caller lacks. */
  powers: Array<Power>;
}

/** Somebody who is signed in. */
export interface Person {
  /** For people. */
  name: string;
  /** What they may do: with everything if `admin` is among it, else with sessions of their own. */
  powers: Array<Power>;
}

/** One thing that a token lets do. */
export type Power = "view" | "control" | "cdp" | "admin";

/** What went wrong (RFC 9457). */
export interface Problem {
  /** One line for people: what was wrong and what to do. */
  detail: string;
  /** Fields of the request that cannot be used. */
  errors?: Array<Wrong> | undefined;
  /** The HTTP status. */
  status: number;
  /** The status in words. */
  title: string;
  /** Kind of the problem, for programs. */
  type: string;
}

/** A profile that is kept. */
export interface Profile {
  /** Bytes on disk. */
  bytes: number;
  /** When its directory was last changed (RFC 3339). */
  changed_at: string;
  /** Its name. */
  name: string;
  /** The session that uses it. */
  session?: string | null | undefined;
}

/** All profiles. */
export interface Profiles {
  /** By name. */
  profiles: Array<Profile>;
}

/** Who may act on a desktop. */
export type ProgramsMode = "together" | "person-first" | "watch-only";

/** Most of a machine that a session may use; the server has defaults. */
export interface Resources {
  /** Processor time of all programs together, in processors. */
  cpu?: number | null | undefined;
  /** Profile, downloads and other files together, in MiB. The session ends when it has more. */
  disk_mib?: number | null | undefined;
  /** Memory of all programs together, /tmp and /dev/shm included, in MiB. */
  memory_mib?: number | null | undefined;
  /** Processes and threads of all programs together. */
  pids?: number | null | undefined;
}

/** Size of a screen in pixels. */
export interface Screen {
  /** 240 to 2160. */
  height: number;
  /** 320 to 3840. */
  width: number;
}

/** A page of sessions. */
export interface Sessions {
  /** What to give as `cursor` for the next page, if there may be one. */
  next?: string | null | undefined;
  /** Newest first. */
  sessions: Array<View>;
}

/** A link to a session, without its secret. */
export interface Share {
  /** When it was made. */
  created_at: string;
  /** When it ends. */
  expires_at?: string | null | undefined;
  /** Its public name, with which it is taken back. */
  id: string;
  /** For people. */
  name: string;
  /** What it lets do. */
  powers: Array<Power>;
  /** The link itself, told once. What is secret of it is behind the `#`, and never reaches a server's log. */
  url?: string | null | undefined;
}

/** All that let others in to one session. */
export interface Shares {
  shares: Array<Share>;
}

/** What a session is to be. Everything has a default. */
export interface Spec {
  /** Program on the desktop. */
  app?: App | undefined;
  egress?: Egress | null | undefined;
  /** Variables for the programs on the desktop. Never shown again. */
  environment?: Record<string, string> | undefined;
  /** Freezes after so many seconds without a viewer or a request; 0 never. The server has a default. */
  idle_freeze_seconds?: number | null | undefined;
  /** Ends after so many seconds without a viewer or a request; 0 never. The server has a default. */
  idle_timeout_seconds?: number | null | undefined;
  /** Whether the page fills the whole screen, without the browser's own controls; no, if not said. */
  kiosk?: boolean | null | undefined;
  /** Words of one's own to find the session by. */
  labels?: Record<string, string> | undefined;
  limits?: Resources | null | undefined;
  /** Language of the browser, such as `de-DE`. */
  locale?: string | null | undefined;
  /** Frames per second at most. */
  max_fps?: number | null | undefined;
  /** Ends so many seconds after its creation, whatever happens; 0 never. The server has a default. */
  max_lifetime_seconds?: number | null | undefined;
  /** A name of one's own, unique among the sessions that run: 1 to 63 letters, digits, `.`, `_` and `-`. */
  name?: string | null | undefined;
  /** Name of a profile that is kept: log-ins and settings of the browser outlive the session, and are there for the next one with the same name. Used by one session at a time; made when there is none. 1 to 63 letters, digits, `.`, `_` and `-`. */
  profile?: string | null | undefined;
  programs?: ProgramsMode | null | undefined;
  /** Size of the screen. */
  screen?: Screen | undefined;
  /** Whether there is sound; yes, if not said. */
  sound?: boolean | null | undefined;
  /** Time zone from the tz database, such as `Europe/Berlin`. */
  timezone?: string | null | undefined;
  /** Page to open first: `http:`, `https:` or `about:blank`, without a password in it. */
  url?: string | null | undefined;
}

/** Where a session is in its life. */
export type State = "creating" | "ready" | "frozen" | "terminated" | "failed";

/** What a page logs in to a session's room with. */
export interface Ticket {
  /** The strongest of the caller's powers that a room knows: `view`, `control` or `admin`. */
  power: Power;
  /** Password for neko's login, good once, for a minute. */
  token: string;
}

/** A token, without its secret. */
export interface Token {
  /** Whose browser it is, for those who have signed in; null for a token. */
  account?: string | null | undefined;
  /** When it was made. */
  created_at: string;
  /** When it ends. */
  expires_at?: string | null | undefined;
  /** Its public name. */
  id: string;
  /** For people. */
  name: string;
  /** What it lets do. */
  powers: Array<Power>;
  /** The only session that it is good for, or null for the whole fleet. */
  session?: string | null | undefined;
  /** The secret, told once. */
  token?: string | null | undefined;
}

/** A token to be made. */
export interface TokenSpec {
  /** For how long it is good; without it, until it is revoked. */
  expires_in_seconds?: number | null | undefined;
  /** For people. */
  name?: string | undefined;
  /** What it lets do; at least one. */
  powers: Array<Power>;
  /** The only session that it is good for; without it, the whole fleet. */
  session?: string | null | undefined;
}

/** All tokens. */
export interface Tokens {
  tokens: Array<Token>;
}

/** What a session uses now. */
export interface Usage {
  /** Processor time since the start; null where nothing counts it. */
  cpu_seconds?: number | null | undefined;
  /** Memory, cached files included; null where nothing counts it. */
  memory_bytes?: number | null | undefined;
  /** Bytes of picture and sound that went to the viewers who are connected now. */
  sent_bytes: number;
  /** Viewers. */
  viewers: number;
}

/** A session. */
export interface View {
  /** Program on the desktop. */
  app: App;
  /** Open WebSockets: viewers and programs. */
  connections: number;
  /** When it was created (RFC 3339). */
  created_at: string;
  egress?: Egress | null | undefined;
  /** When it ended. */
  ended_at?: string | null | undefined;
  /** When it ends, whatever happens. */
  expires_at?: string | null | undefined;
  /** Unguessable name, 26 characters. */
  id: string;
  /** Freezes after so many seconds without use; 0 never. */
  idle_freeze_seconds: number;
  /** Ends after so many seconds without use; 0 never. */
  idle_timeout_seconds: number;
  /** Words to find it by. */
  labels: Record<string, string>;
  limits?: Resources | null | undefined;
  /** Language of the browser. */
  locale?: string | null | undefined;
  /** Name of one's own. */
  name?: string | null | undefined;
  /** Path of everything of the session, with a slash at the end, below the address of the server. */
  path: string;
  /** Name of the profile that is kept. */
  profile?: string | null | undefined;
  /** When it became ready first. */
  ready_at?: string | null | undefined;
  /** Why it ended, or failed. */
  reason?: string | null | undefined;
  /** Size of the screen at the start. */
  screen: Screen;
  /** Where it is in its life. */
  state: State;
  /** Time zone. */
  timezone?: string | null | undefined;
  /** Page that was opened first. */
  url?: string | null | undefined;
  /** When it was used last. */
  used_at?: string | null | undefined;
}

/** How people sign in here, and who has. */
export interface Ways {
  /** Whether with an OpenID provider: a browser is sent to `login/oidc`. */
  oidc: boolean;
  /** Whether with a name and a password. */
  password: boolean;
  user?: Person | null | undefined;
}

/** A field that cannot be used. */
export interface Wrong {
  /** Path of the field, such as `screen.width`. */
  field: string;
  /** What to give instead. */
  message: string;
}
