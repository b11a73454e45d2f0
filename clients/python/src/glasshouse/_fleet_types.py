"""Types of the API. Made by clients/generate.mjs from openapi/fleet.json: do not edit."""

# ruff: noqa
from __future__ import annotations

from typing import Literal, TypedDict


# Program on the desktop.
App = Literal["chromium", "firefox", "none"]


class AuditEntry(TypedDict):
    """Something that was done, as it is written down."""

    action: str
    """What, such as `session.create`."""
    at: str
    """When (RFC 3339)."""
    detail: str
    """Anything else."""
    origin: str
    """Address that it came from, or empty."""
    seq: int
    """Counts up."""
    target: str
    """Id of the session or token that it was done to."""
    who: str
    """Id of the token, or `fleet` for what nobody asked for."""


class AuditLog(TypedDict):
    """Part of the audit log."""

    entries: list[AuditEntry]
    """Newest first."""


class Change(TypedDict, total=False):
    """What can be changed while a session runs; what is left out stays."""

    idle_freeze_seconds: int | None
    """Like in the creation."""
    idle_timeout_seconds: int | None
    """Like in the creation."""
    labels: dict[str, str | None]
    """New labels; a value of null removes one."""


class Credentials(TypedDict):
    """Who signs in."""

    name: str
    """Name of the users file."""
    password: str
    """Password."""


class Driver(TypedDict):
    """Where programs drive a session's browser."""

    token: str
    """What is secret of it. Good until the session ends."""
    url: str
    """For `connectOverCDP` and the like: a WebSocket that speaks the DevTools protocol."""


class Egress(TypedDict, total=False):
    """What a session may reach; the public internet, if nothing is said."""

    allow: list[str]
    """If not empty, only these: `example.com` (and what is below it), `*.example.com`, `10.0.0.0/8`, with `:PORT` or without. A range of addresses opens private ones as well, and takes a token with the power `admin`."""
    block_all: bool
    """Nothing at all."""
    deny: list[str]
    """Never these, written likewise."""
    upstream_proxy: str | None
    """Proxy that all goes through: `http://user:password@host:port`, or `https` or `socks5`. The user and the password are never shown again. One that is not on a public address takes a token with the power `admin`."""


class _Event(TypedDict):
    at: str
    """When (RFC 3339)."""
    seq: int
    """Counts up; starts anew with the server."""
    session: str
    """The session."""
    state: State
    """Its state from now on."""


class Event(_Event, total=False):
    """One thing that happened to a session."""

    reason: str | None
    """Why."""


class Extension(TypedDict):
    """For how long a session lives on."""

    seconds: int | None
    """Seconds from now, or null for no end."""


class Link(TypedDict):
    """A link that was made."""

    token: str
    """What is secret of it; also the password with which neko's clients log in."""
    url: str
    """To be opened in a browser."""


class NewLink(TypedDict, total=False):
    """A link to a session's room."""

    admin: bool
    """Who opens it is an admin of the room; needs the power `admin`."""
    expires_in_seconds: int
    """For how long it works."""
    uses: int
    """How often it works."""


class _NewShare(TypedDict):
    powers: list[Power]
    """What it lets do: `view`, `control` (which includes `view`) or `admin`. At least one, and none that the caller lacks."""


class NewShare(_NewShare, total=False):
    """A link to be made."""

    expires_in_seconds: int
    """For how long it works; a day, if not said."""
    name: str | None
    """For people."""


class Person(TypedDict):
    """Somebody who is signed in."""

    name: str
    """For people."""
    powers: list[Power]
    """What they may do: with everything if `admin` is among it, else with sessions of their own."""


# One thing that a token lets do.
Power = Literal["view", "control", "cdp", "admin"]


class _Problem(TypedDict):
    detail: str
    """One line for people: what was wrong and what to do."""
    status: int
    """The HTTP status."""
    title: str
    """The status in words."""
    type: str
    """Kind of the problem, for programs."""


class Problem(_Problem, total=False):
    """What went wrong (RFC 9457)."""

    errors: list[Wrong]
    """Fields of the request that cannot be used."""


class _Profile(TypedDict):
    bytes: int
    """Bytes on disk."""
    changed_at: str
    """When its directory was last changed (RFC 3339)."""
    name: str
    """Its name."""


class Profile(_Profile, total=False):
    """A profile that is kept."""

    session: str | None
    """The session that uses it."""


class Profiles(TypedDict):
    """All profiles."""

    profiles: list[Profile]
    """By name."""


# Who may act on a desktop.
ProgramsMode = Literal["together", "person-first", "watch-only"]


class Resources(TypedDict, total=False):
    """Most of a machine that a session may use; the server has defaults."""

    cpu: float | None
    """Processor time of all programs together, in processors."""
    disk_mib: int | None
    """Profile, downloads and other files together, in MiB. The session ends when it has more."""
    memory_mib: int | None
    """Memory of all programs together, /tmp and /dev/shm included, in MiB."""
    pids: int | None
    """Processes and threads of all programs together."""


class Screen(TypedDict):
    """Size of a screen in pixels."""

    height: int
    """240 to 2160."""
    width: int
    """320 to 3840."""


class _Sessions(TypedDict):
    sessions: list[View]
    """Newest first."""


class Sessions(_Sessions, total=False):
    """A page of sessions."""

    next: str | None
    """What to give as `cursor` for the next page, if there may be one."""


class _Share(TypedDict):
    created_at: str
    """When it was made."""
    id: str
    """Its public name, with which it is taken back."""
    name: str
    """For people."""
    powers: list[Power]
    """What it lets do."""


class Share(_Share, total=False):
    """A link to a session, without its secret."""

    expires_at: str | None
    """When it ends."""
    url: str | None
    """The link itself, told once. What is secret of it is behind the `#`, and never reaches a server's log."""


class Shares(TypedDict):
    """All that let others in to one session."""

    shares: list[Share]


class Spec(TypedDict, total=False):
    """What a session is to be. Everything has a default."""

    app: App
    """Program on the desktop."""
    egress: Egress | None
    environment: dict[str, str]
    """Variables for the programs on the desktop. Never shown again."""
    idle_freeze_seconds: int | None
    """Freezes after so many seconds without a viewer or a request; 0 never. The server has a default."""
    idle_timeout_seconds: int | None
    """Ends after so many seconds without a viewer or a request; 0 never. The server has a default."""
    kiosk: bool | None
    """Whether the page fills the whole screen, without the browser's own controls; no, if not said."""
    labels: dict[str, str]
    """Words of one's own to find the session by."""
    limits: Resources | None
    locale: str | None
    """Language of the browser, such as `de-DE`."""
    max_fps: int | None
    """Frames per second at most."""
    max_lifetime_seconds: int | None
    """Ends so many seconds after its creation, whatever happens; 0 never. The server has a default."""
    name: str | None
    """A name of one's own, unique among the sessions that run: 1 to 63 letters, digits, `.`, `_` and `-`."""
    profile: str | None
    """Name of a profile that is kept: log-ins and settings of the browser outlive the session, and are there for the next one with the same name. Used by one session at a time; made when there is none. 1 to 63 letters, digits, `.`, `_` and `-`."""
    programs: ProgramsMode | None
    screen: Screen
    """Size of the screen."""
    sound: bool | None
    """Whether there is sound; yes, if not said."""
    timezone: str | None
    """Time zone from the tz database, such as `Europe/Berlin`."""
    url: str | None
    """Page to open first: `http:`, `https:` or `about:blank`, without a password in it."""


# Where a session is in its life.
State = Literal["creating", "ready", "frozen", "terminated", "failed"]


class Ticket(TypedDict):
    """What a page logs in to a session's room with."""

    power: Power
    """The strongest of the caller's powers that a room knows: `view`, `control` or `admin`."""
    token: str
    """Password for neko's login, good once, for a minute."""


class _Token(TypedDict):
    created_at: str
    """When it was made."""
    id: str
    """Its public name."""
    name: str
    """For people."""
    powers: list[Power]
    """What it lets do."""


class Token(_Token, total=False):
    """A token, without its secret."""

    account: str | None
    """Whose browser it is, for those who have signed in; null for a token."""
    expires_at: str | None
    """When it ends."""
    session: str | None
    """The only session that it is good for, or null for the whole fleet."""
    token: str | None
    """The secret, told once."""


class _TokenSpec(TypedDict):
    powers: list[Power]
    """What it lets do; at least one."""


class TokenSpec(_TokenSpec, total=False):
    """A token to be made."""

    expires_in_seconds: int | None
    """For how long it is good; without it, until it is revoked."""
    name: str
    """For people."""
    session: str | None
    """The only session that it is good for; without it, the whole fleet."""


class Tokens(TypedDict):
    """All tokens."""

    tokens: list[Token]


class _Usage(TypedDict):
    sent_bytes: int
    """Bytes of picture and sound that went to the viewers who are connected now."""
    viewers: int
    """Viewers."""


class Usage(_Usage, total=False):
    """What a session uses now."""

    cpu_seconds: float | None
    """Processor time since the start; null where nothing counts it."""
    memory_bytes: int | None
    """Memory, cached files included; null where nothing counts it."""


class _View(TypedDict):
    app: App
    """Program on the desktop."""
    connections: int
    """Open WebSockets: viewers and programs."""
    created_at: str
    """When it was created (RFC 3339)."""
    id: str
    """Unguessable name, 26 characters."""
    idle_freeze_seconds: int
    """Freezes after so many seconds without use; 0 never."""
    idle_timeout_seconds: int
    """Ends after so many seconds without use; 0 never."""
    labels: dict[str, str]
    """Words to find it by."""
    path: str
    """Path of everything of the session, with a slash at the end, below the address of the server."""
    screen: Screen
    """Size of the screen at the start."""
    state: State
    """Where it is in its life."""


class View(_View, total=False):
    """A session."""

    egress: Egress | None
    ended_at: str | None
    """When it ended."""
    expires_at: str | None
    """When it ends, whatever happens."""
    limits: Resources | None
    locale: str | None
    """Language of the browser."""
    name: str | None
    """Name of one's own."""
    profile: str | None
    """Name of the profile that is kept."""
    ready_at: str | None
    """When it became ready first."""
    reason: str | None
    """Why it ended, or failed."""
    timezone: str | None
    """Time zone."""
    url: str | None
    """Page that was opened first."""
    used_at: str | None
    """When it was used last."""


class _Ways(TypedDict):
    oidc: bool
    """Whether with an OpenID provider: a browser is sent to `login/oidc`."""
    password: bool
    """Whether with a name and a password."""


class Ways(_Ways, total=False):
    """How people sign in here, and who has."""

    user: Person | None


class Wrong(TypedDict):
    """A field that cannot be used."""

    field: str
    """Path of the field, such as `screen.width`."""
    message: str
    """What to give instead."""
