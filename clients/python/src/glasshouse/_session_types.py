"""Types of the API. Made by clients/generate.mjs from openapi/session.json: do not edit."""

# ruff: noqa
from __future__ import annotations

from typing import Literal, TypedDict


class Clipboard(TypedDict):
    """What is on the clipboard, or marked."""

    selection: str
    """`clipboard` or `primary`."""
    text: str


class _ClipboardText(TypedDict):
    text: str


class ClipboardText(_ClipboardText, total=False):

    selection: str | None
    """`clipboard`, `primary`, or `both`. The clipboard if not said."""


class DesktopError(TypedDict):
    """Why the desktop failed."""

    code: str
    message: str


class DesktopProcess(TypedDict):
    """A program of the desktop."""

    name: str
    running: bool


class _DesktopStatus(TypedDict):
    display: str
    missingDependencies: list[str]
    processes: list[DesktopProcess]
    resolution: Resolution
    startedAt: str
    """When computer use began (RFC 3339)."""
    state: str
    """`active`, `starting` or `failed`."""


class DesktopStatus(_DesktopStatus, total=False):
    """How the desktop is."""

    lastError: DesktopError
    windows: list[Window]
    """Left out when there are none, or the desktop is frozen."""


class DisplayInfo(TypedDict):
    """The display."""

    display: str
    resolution: Resolution


class Done(TypedDict):
    """What is answered when there is nothing to say."""

    ok: bool


class _FileEntry(TypedDict):
    entryType: str
    path: str
    size: int


class FileEntry(_FileEntry, total=False):
    """Something in a folder."""

    kind: str | None
    """What it is, when it is neither: `symlink`, `pipe`, `socket`, `device`."""
    modified: str | None
    name: str | None


class FilePath(TypedDict):
    """Where something is."""

    path: str


class FileWritten(TypedDict):
    """A file that was written."""

    bytesWritten: int
    path: str


class _HasChanged(TypedDict):
    changed: bool
    waitedMs: int


class HasChanged(_HasChanged, total=False):
    """What became of a wait for another picture."""

    error: str
    """Why it ended early."""
    tag: str
    """Of the picture now, to wait for the next change of it."""


class Key(TypedDict):
    key: str


class _KeyPress(TypedDict):
    key: str


class KeyPress(_KeyPress, total=False):

    modifiers: Modifiers | None


class _Launch(TypedDict):
    app: str


class Launch(_Launch, total=False):

    args: list[str] | None
    wait: bool | None


class _Launched(TypedDict):
    processId: str
    """Its id below `/v1/processes`; `app` for the session's own browser."""


class Launched(_Launched, total=False):
    """A program that was started."""

    pid: int
    windowId: str
    """Its window, if that was waited for and came."""


class LogEntry(TypedDict):
    """An entry as clients see it."""

    data: str
    encoding: str
    sequence: int
    stream: LogStream
    timestampMs: int


# Where something was said.
LogStream = Literal["stdout", "stderr", "combined", "pty"]


class Logs(TypedDict):
    """What a process has said."""

    entries: list[LogEntry]
    processId: str
    stream: LogStream


class Modifiers(TypedDict, total=False):
    alt: bool | None
    cmd: bool | None
    ctrl: bool | None
    shift: bool | None


MouseButton = Literal["left", "middle", "right"]


class _MouseClick(TypedDict):
    x: int
    y: int


class MouseClick(_MouseClick, total=False):

    button: MouseButton | None
    clickCount: int | None


class _MouseDrag(TypedDict):
    endX: int
    endY: int
    startX: int
    startY: int


class MouseDrag(_MouseDrag, total=False):

    button: MouseButton | None


class MouseMove(TypedDict):
    x: int
    y: int


class MousePress(TypedDict, total=False):
    button: MouseButton | None
    x: int | None
    y: int | None


class _MouseScroll(TypedDict):
    x: int
    y: int


class MouseScroll(_MouseScroll, total=False):

    deltaX: int | None
    deltaY: int | None


MoveFile = TypedDict(
    "MoveFile",
    {"from": "str", "overwrite": "bool | None", "to": "str"},
    total=False,
)


# What was moved.
Moved = TypedDict(
    "Moved",
    {"from": "str", "to": "str"},
)


class Open(TypedDict):
    target: str


# Who has started a process.
Owner = Literal["user", "desktop", "system"]


PictureFormat = Literal["png", "jpeg", "webp"]


class _Position(TypedDict):
    screen: int
    """Always 0."""
    x: int
    y: int


class Position(_Position, total=False):
    """Where the pointer is, in pixels of the screen."""

    window: str
    """The window below it, if any."""


class _Problem(TypedDict):
    detail: str
    """One line for people: what was wrong and what to do."""
    status: int
    """The HTTP status."""
    title: str
    """The status in words."""
    type: str
    """Kind of the problem, for programs: `urn:sandbox-agent:error:` and a name."""


class Problem(_Problem, total=False):
    """What went wrong (RFC 9457), as the document of the API has it."""

    code: str
    """The name again, when it is about the desktop."""


class _Process(TypedDict):
    args: list[str]
    command: str
    createdAtMs: int
    id: str
    interactive: bool
    owner: Owner
    pid: int
    status: str
    tty: bool


class Process(_Process, total=False):
    """What clients see of a process."""

    cwd: str | None
    exitCode: int | None
    exitedAtMs: int | None


class _ProcessInput(TypedDict):
    data: str


class ProcessInput(_ProcessInput, total=False):

    encoding: str | None
    end: bool | None
    """Whether there is no more to come: its standard input is closed."""


class ProcessLimits(TypedDict):
    """Limits that clients may change."""

    defaultRunTimeoutMs: int
    maxConcurrentProcesses: int
    maxInputBytesPerRequest: int
    maxLogBytesPerProcess: int
    maxOutputBytes: int
    """Of each of the two streams."""
    maxRunTimeoutMs: int


class ProcessSignal(TypedDict):
    signal: str


class Processes(TypedDict):
    """Processes that were started here."""

    processes: list[Process]


class _Recording(TypedDict):
    bytes: int
    fileName: str
    id: str
    startedAt: str
    """When it began (RFC 3339)."""
    status: str
    """`recording`, `completed` or `failed`."""


class Recording(_Recording, total=False):
    """A film of the screen."""

    endedAt: str


class Recordings(TypedDict):
    """Films of the screen."""

    recordings: list[Recording]


class Region(TypedDict):
    height: int
    width: int
    x: int
    y: int


class Resolution(TypedDict):
    """Size of the screen in pixels, and dots an inch."""

    dpi: int
    height: int
    width: int


class _RunOutcome(TypedDict):
    durationMs: int
    stderr: str
    stderrTruncated: bool
    stdout: str
    stdoutTruncated: bool
    timedOut: bool


class RunOutcome(_RunOutcome, total=False):
    """What became of it."""

    exitCode: int | None


class _RunProcess(TypedDict):
    command: str


class RunProcess(_RunProcess, total=False):
    """What is to run."""

    args: list[str]
    cwd: str | None
    env: dict[str, str]
    interactive: bool
    tty: bool
    maxOutputBytes: int | None
    timeoutMs: int | None


class _StartProcess(TypedDict):
    command: str


class StartProcess(_StartProcess, total=False):
    """A program to start."""

    args: list[str]
    cwd: str | None
    env: dict[str, str]
    interactive: bool
    tty: bool


class StartRecording(TypedDict, total=False):
    fps: int | None


class Streaming(TypedDict):
    """Whether viewers may come by `stream/signaling`."""

    active: bool


class TerminalSize(TypedDict):
    cols: int
    rows: int


class _TypedText(TypedDict):
    text: str


class TypedText(_TypedText, total=False):

    delayMs: int | None


class Unpacked(TypedDict):
    """What an archive has brought."""

    paths: list[str]
    """The first of them."""
    truncated: bool
    """Whether there are more."""


class WaitChange(TypedDict, total=False):
    region: Region | None
    since: str | None
    """`ETag` of a picture of the same region."""
    timeoutMs: int | None


class WaitStable(TypedDict, total=False):
    quietMs: int | None
    region: Region | None
    timeoutMs: int | None


class _WasStable(TypedDict):
    stable: bool
    waitedMs: int


class WasStable(_WasStable, total=False):
    """What became of a wait for a screen that is still."""

    error: str
    """Why it ended early."""


class Window(TypedDict):
    """A window; position and size are of its content, in pixels of the screen."""

    height: int
    id: str
    isActive: bool
    title: str
    width: int
    x: int
    y: int


class WindowPlace(TypedDict):
    x: int
    y: int


class WindowSize(TypedDict):
    height: int
    width: int


class Windows(TypedDict):
    """Windows, lowest first."""

    windows: list[Window]


class Written(TypedDict):
    """How much was written to a process."""

    bytesWritten: int
