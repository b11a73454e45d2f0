// Made by clients/generate.mjs from openapi/session.json: do not edit.

/** What is on the clipboard, or marked. */
export interface Clipboard {
  /** `clipboard` or `primary`. */
  selection: string;
  text: string;
}

export interface ClipboardText {
  /** `clipboard`, `primary`, or `both`. The clipboard if not said. */
  selection?: string | null | undefined;
  text: string;
}

/** Why the desktop failed. */
export interface DesktopError {
  code: string;
  message: string;
}

/** A program of the desktop. */
export interface DesktopProcess {
  name: string;
  running: boolean;
}

/** How the desktop is. */
export interface DesktopStatus {
  display: string;
  lastError?: DesktopError | undefined;
  missingDependencies: Array<string>;
  processes: Array<DesktopProcess>;
  resolution: Resolution;
  /** When computer use began (RFC 3339). */
  startedAt: string;
  /** `active`, `starting` or `failed`. */
  state: string;
  /** Left out when there are none, or the desktop is frozen. */
  windows?: Array<Window> | undefined;
}

/** The display. */
export interface DisplayInfo {
  display: string;
  resolution: Resolution;
}

/** What is answered when there is nothing to say. */
export interface Done {
  ok: boolean;
}

/** Something in a folder. */
export interface FileEntry {
  entryType: string;
  /** What it is, when it is neither: `symlink`, `pipe`, `socket`, `device`. */
  kind?: string | null | undefined;
  modified?: string | null | undefined;
  name?: string | null | undefined;
  path: string;
  size: number;
}

/** Where something is. */
export interface FilePath {
  path: string;
}

/** A file that was written. */
export interface FileWritten {
  bytesWritten: number;
  path: string;
}

/** What became of a wait for another picture. */
export interface HasChanged {
  changed: boolean;
  /** Why it ended early. */
  error?: string | undefined;
  /** Of the picture now, to wait for the next change of it. */
  tag?: string | undefined;
  waitedMs: number;
}

export interface Key {
  key: string;
}

export interface KeyPress {
  key: string;
  modifiers?: Modifiers | null | undefined;
}

export interface Launch {
  app: string;
  args?: Array<string> | null | undefined;
  wait?: boolean | null | undefined;
}

/** A program that was started. */
export interface Launched {
  pid?: number | undefined;
  /** Its id below `/v1/processes`; `app` for the session's own browser. */
  processId: string;
  /** Its window, if that was waited for and came. */
  windowId?: string | undefined;
}

/** An entry as clients see it. */
export interface LogEntry {
  data: string;
  encoding: string;
  sequence: number;
  stream: LogStream;
  timestampMs: number;
}

/** Where something was said. */
export type LogStream = "stdout" | "stderr" | "combined" | "pty";

/** What a process has said. */
export interface Logs {
  entries: Array<LogEntry>;
  processId: string;
  stream: LogStream;
}

export interface Modifiers {
  alt?: boolean | null | undefined;
  cmd?: boolean | null | undefined;
  ctrl?: boolean | null | undefined;
  shift?: boolean | null | undefined;
}

export type MouseButton = "left" | "middle" | "right";

export interface MouseClick {
  button?: MouseButton | null | undefined;
  clickCount?: number | null | undefined;
  x: number;
  y: number;
}

export interface MouseDrag {
  button?: MouseButton | null | undefined;
  endX: number;
  endY: number;
  startX: number;
  startY: number;
}

export interface MouseMove {
  x: number;
  y: number;
}

export interface MousePress {
  button?: MouseButton | null | undefined;
  x?: number | null | undefined;
  y?: number | null | undefined;
}

export interface MouseScroll {
  deltaX?: number | null | undefined;
  deltaY?: number | null | undefined;
  x: number;
  y: number;
}

export interface MoveFile {
  from: string;
  overwrite?: boolean | null | undefined;
  to: string;
}

/** What was moved. */
export interface Moved {
  from: string;
  to: string;
}

export interface Open {
  target: string;
}

/** Who has started a process. */
export type Owner = "user" | "desktop" | "system";

export type PictureFormat = "png" | "jpeg" | "webp";

/** Where the pointer is, in pixels of the screen. */
export interface Position {
  /** Always 0. */
  screen: number;
  /** The window below it, if any. */
  window?: string | undefined;
  x: number;
  y: number;
}

/** What went wrong (RFC 9457), as the document of the API has it. */
export interface Problem {
  /** The name again, when it is about the desktop. */
  code?: string | undefined;
  /** One line for people: what was wrong and what to do. */
  detail: string;
  /** The HTTP status. */
  status: number;
  /** The status in words. */
  title: string;
  /** Kind of the problem, for programs: `urn:sandbox-agent:error:` and a name. */
  type: string;
}

/** What clients see of a process. */
export interface Process {
  args: Array<string>;
  command: string;
  createdAtMs: number;
  cwd?: string | null | undefined;
  exitCode?: number | null | undefined;
  exitedAtMs?: number | null | undefined;
  id: string;
  interactive: boolean;
  owner: Owner;
  pid: number;
  status: string;
  tty: boolean;
}

export interface ProcessInput {
  data: string;
  encoding?: string | null | undefined;
  /** Whether there is no more to come: its standard input is closed. */
  end?: boolean | null | undefined;
}

/** Limits that clients may change. */
export interface ProcessLimits {
  defaultRunTimeoutMs: number;
  maxConcurrentProcesses: number;
  maxInputBytesPerRequest: number;
  maxLogBytesPerProcess: number;
  /** Of each of the two streams. */
  maxOutputBytes: number;
  maxRunTimeoutMs: number;
}

export interface ProcessSignal {
  signal: string;
}

/** Processes that were started here. */
export interface Processes {
  processes: Array<Process>;
}

/** A film of the screen. */
export interface Recording {
  bytes: number;
  endedAt?: string | undefined;
  fileName: string;
  id: string;
  /** When it began (RFC 3339). */
  startedAt: string;
  /** `recording`, `completed` or `failed`. */
  status: string;
}

/** Films of the screen. */
export interface Recordings {
  recordings: Array<Recording>;
}

export interface Region {
  height: number;
  width: number;
  x: number;
  y: number;
}

/** Size of the screen in pixels, and dots an inch. */
export interface Resolution {
  dpi: number;
  height: number;
  width: number;
}

/** What became of it. */
export interface RunOutcome {
  durationMs: number;
  exitCode?: number | null | undefined;
  stderr: string;
  stderrTruncated: boolean;
  stdout: string;
  stdoutTruncated: boolean;
  timedOut: boolean;
}

/** What is to run. */
export interface RunProcess {
  args?: Array<string> | undefined;
  command: string;
  cwd?: string | null | undefined;
  env?: Record<string, string> | undefined;
  interactive?: boolean | undefined;
  tty?: boolean | undefined;
  maxOutputBytes?: number | null | undefined;
  timeoutMs?: number | null | undefined;
}

/** A program to start. */
export interface StartProcess {
  args?: Array<string> | undefined;
  command: string;
  cwd?: string | null | undefined;
  env?: Record<string, string> | undefined;
  interactive?: boolean | undefined;
  tty?: boolean | undefined;
}

export interface StartRecording {
  fps?: number | null | undefined;
}

/** Whether viewers may come by `stream/signaling`. */
export interface Streaming {
  active: boolean;
}

export interface TerminalSize {
  cols: number;
  rows: number;
}

export interface TypedText {
  delayMs?: number | null | undefined;
  text: string;
}

/** What an archive has brought. */
export interface Unpacked {
  /** The first of them. */
  paths: Array<string>;
  /** Whether there are more. */
  truncated: boolean;
}

export interface WaitChange {
  region?: Region | null | undefined;
  /** `ETag` of a picture of the same region. */
  since?: string | null | undefined;
  timeoutMs?: number | null | undefined;
}

export interface WaitStable {
  quietMs?: number | null | undefined;
  region?: Region | null | undefined;
  timeoutMs?: number | null | undefined;
}

/** What became of a wait for a screen that is still. */
export interface WasStable {
  /** Why it ended early. */
  error?: string | undefined;
  stable: boolean;
  waitedMs: number;
}

/** A window; position and size are of its content, in pixels of the screen. */
export interface Window {
  height: number;
  id: string;
  isActive: boolean;
  title: string;
  width: number;
  x: number;
  y: number;
}

export interface WindowPlace {
  x: number;
  y: number;
}

export interface WindowSize {
  height: number;
  width: number;
}

/** Windows, lowest first. */
export interface Windows {
  windows: Array<Window>;
}

/** How much was written to a process. */
export interface Written {
  bytesWritten: number;
}
