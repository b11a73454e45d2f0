"""Sessions of a Glasshouse server, for asyncio."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, List, cast
from urllib.parse import quote

import httpx

from ._common import ORPHANED, TIMEOUT, ServerEvents, given, query, refusal, server_of, token_of
from ._errors import GlasshouseError, ProblemError, SessionError
from ._fleet_types import Change, Driver, Event, Link, Power, Profile, Share, Spec, State, Usage, View
from ._session_types import (
    DesktopStatus,
    FileEntry,
    HasChanged,
    Launched as LaunchedProgram,
    MouseButton,
    PictureFormat,
    Position,
    Region,
    RunOutcome,
    Unpacked,
    WasStable,
    Window,
)

if TYPE_CHECKING:
    from playwright.async_api import Browser, BrowserContext, Download, Page, Playwright


class AsyncHttp:
    """Requests: the token, errors, and trying again when the server says when."""

    def __init__(self, server: str | None, token: str | None, patience: float) -> None:
        self.server = server_of(server)
        self.token = token_of(token)
        self.patience = patience
        self.client = httpx.AsyncClient(timeout=TIMEOUT)

    async def ask(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, Any] | None = None,
        body: Any = None,
        content: bytes | None = None,
        headers: dict[str, str] | None = None,
        token: str | None = None,
        is_anonymous: bool = False,
        patience: float | None = None,
    ) -> httpx.Response:
        """Asks; an answer that is none of success is a ProblemError. The path is below the server's address."""
        sent = dict(headers or {})
        if not is_anonymous:
            sent["authorization"] = f"Bearer {token or self.token}"
        until = time.monotonic() + (self.patience if patience is None else patience)
        while True:
            response = await self.client.request(
                method, f"{self.server}/{path}", params=query(params), json=body, content=content, headers=sent
            )
            if response.is_success:
                return response
            problem = refusal(f"{method} /{path}", response)
            wait = problem.retry_after
            if problem.status not in (429, 503) or wait is None or time.monotonic() + wait > until:
                raise problem
            await asyncio.sleep(wait)

    async def json(self, method: str, path: str, **ask: Any) -> Any:
        """Asks for JSON."""
        return (await self.ask(method, path, **ask)).json()

    async def when_ready(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Does it again while the server says that it is not the time yet (409), for as long as patience lasts."""
        until = time.monotonic() + self.patience
        while True:
            try:
                return await work()
            except ProblemError as problem:
                if problem.status != 409 or time.monotonic() > until:
                    raise
            await asyncio.sleep(0.1)


class AsyncRoom:
    """A seat in a session's room, which computer use needs: taken when it is first used."""

    def __init__(self, http: AsyncHttp, id: str) -> None:
        self._http = http
        self._id = id
        self._token: str | None = None
        self.name = "program"

    async def _enter(self) -> str:
        if self._token is None:
            ticket = await self._http.json("POST", f"api/v1/sessions/{self._id}/join")
            member = {"username": self.name, "password": ticket["token"]}
            answer = await self._http.json("POST", f"s/{self._id}/api/login", body=member, is_anonymous=True)
            self._token = cast(str, answer["token"])
        return self._token

    async def ask(self, method: str, path: str, **ask: Any) -> httpx.Response:
        """Asks for a path below the session's own, such as `v1/desktop/screenshot`."""
        if self.name.isascii() and self.name.isprintable():
            # Whom viewers see act. Headers are of ASCII.
            ask["headers"] = {"x-glasshouse-name": self.name} | (ask.get("headers") or {})
        token = await self._enter()
        try:
            return await self._http.ask(method, f"s/{self._id}/{path}", token=token, **ask)
        except ProblemError as problem:
            if problem.status != 401:
                raise
        # The room has forgotten us: its process was restarted, or an admin sent us out.
        if self._token == token:
            self._token = None
        return await self._http.ask(method, f"s/{self._id}/{path}", token=await self._enter(), **ask)

    async def json(self, method: str, path: str, **ask: Any) -> Any:
        """Asks for JSON."""
        return (await self.ask(method, path, **ask)).json()

    async def leave(self) -> None:
        """Gives the seat back."""
        token, self._token = self._token, None
        if token is not None:
            try:
                await self._http.ask("POST", f"s/{self._id}/api/logout", body={}, token=token, patience=0)
            except (ProblemError, httpx.HTTPError):
                pass


class AsyncFiles:
    """Files of a session, below the programs' HOME: relative paths begin there."""

    def __init__(self, room: AsyncRoom) -> None:
        self._room = room

    async def list(self, path: str = ".") -> List[FileEntry]:
        """What is in a folder."""
        return await self._room.json("GET", "v1/fs/entries", params={"path": path})

    async def stat(self, path: str) -> FileEntry:
        """What something is."""
        return await self._room.json("GET", "v1/fs/stat", params={"path": path})

    async def read(self, path: str) -> bytes:
        """Content of a file."""
        return (await self._room.ask("GET", "v1/fs/file", params={"path": path})).content

    async def read_text(self, path: str) -> str:
        """Content of a file of UTF-8."""
        return (await self.read(path)).decode()

    async def write(self, path: str, content: str | bytes) -> None:
        """Writes a file, which has its name when all of it has come."""
        data = content.encode() if isinstance(content, str) else content
        kind = {"content-type": "application/octet-stream"}
        await self._room.ask("PUT", "v1/fs/file", params={"path": path}, content=data, headers=kind)

    async def mkdir(self, path: str) -> None:
        """Makes a folder, with those above it."""
        await self._room.ask("POST", "v1/fs/mkdir", params={"path": path})

    async def move(self, source: str, target: str, *, overwrite: bool = False) -> None:
        """Moves a file or a folder."""
        await self._room.ask("POST", "v1/fs/move", body={"from": source, "to": target, "overwrite": overwrite})

    async def delete(self, path: str, *, recursive: bool = False) -> None:
        """Removes a file, or a folder."""
        await self._room.ask("DELETE", "v1/fs/entry", params={"path": path, "recursive": recursive})

    async def unpack(self, archive: bytes, path: str = ".") -> Unpacked:
        """Unpacks a tar archive that is not compressed."""
        kind = {"content-type": "application/x-tar"}
        return await self._room.json("POST", "v1/fs/upload-batch", params={"path": path}, content=archive, headers=kind)


class AsyncSession:
    """One session: its life, its browser, and its desktop, used as a person does."""

    id: str
    view: View
    """What the server last said of it."""
    files: AsyncFiles

    def __init__(self, http: AsyncHttp, view: View) -> None:
        self._http = http
        self.view = view
        self.id = view["id"]
        self._path = f"api/v1/sessions/{self.id}"
        self._room = AsyncRoom(http, self.id)
        self.files = AsyncFiles(self._room)

    @property
    def url(self) -> str:
        """Address of everything of the session."""
        return f"{self._http.server}/s/{self.id}/"

    @property
    def name(self) -> str:
        """What viewers see the program called; to be set before it is first seen."""
        return self._room.name

    @name.setter
    def name(self, name: str) -> None:
        self._room.name = name

    async def __aenter__(self) -> AsyncSession:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.delete()

    async def refresh(self, *, wait: int | None = None) -> View:
        """Asks how it is; with `wait`, when it is no longer being created, or after so many seconds."""
        self.view = await self._http.json("GET", self._path, params={"wait": wait})
        return self.view

    async def change(self, change: Change) -> View:
        """Changes labels and time-outs."""
        self.view = await self._http.json("PATCH", self._path, body=change)
        return self.view

    async def extend(self, seconds: int | None) -> View:
        """Lets it live for so many seconds from now, or without end."""
        self.view = await self._http.json("POST", f"{self._path}/extend", body={"seconds": seconds})
        return self.view

    async def freeze(self) -> View:
        """Stops its programs until it is used again."""
        self.view = await self._http.json("POST", f"{self._path}/freeze")
        return self.view

    async def thaw(self) -> View:
        """Lets its programs go on."""
        self.view = await self._http.json("POST", f"{self._path}/thaw")
        return self.view

    async def delete(self) -> None:
        """Ends it. One that has ended already is no error."""
        try:
            self.view = await self._http.json("DELETE", self._path)
        except ProblemError as problem:
            if problem.status != 404:
                raise

    async def thumbnail(self) -> bytes:
        """The screen as a small JPEG, which neither wakes the session nor counts as use."""
        return (await self._http.ask("GET", f"{self._path}/thumbnail")).content

    async def usage(self) -> Usage:
        """What it uses of the machine."""
        return await self._http.json("GET", f"{self._path}/usage")

    async def logs(self, max_bytes: int | None = None) -> str:
        """The end of its log."""
        return (await self._http.ask("GET", f"{self._path}/logs", params={"bytes": max_bytes})).text

    async def link(
        self, *, admin: bool = False, expires_in_seconds: int | None = None, uses: int | None = None
    ) -> Link:
        """A link that logs somebody in to the room."""
        body = given(admin=admin, expires_in_seconds=expires_in_seconds, uses=uses)
        return await self._http.json("POST", f"{self._path}/links", body=body)

    async def share(
        self, powers: Sequence[Power], *, name: str | None = None, expires_in_seconds: int | None = None
    ) -> Share:
        """A link for others, with powers, an end, and a way back (`unshare`)."""
        body = given(powers=list(powers), name=name, expires_in_seconds=expires_in_seconds)
        return await self._http.json("POST", f"{self._path}/share", body=body)

    async def shares(self) -> list[Share]:
        """Links for others."""
        return (await self._http.json("GET", f"{self._path}/share"))["shares"]

    async def unshare(self, share: str) -> None:
        """Takes a link back."""
        await self._http.ask("DELETE", f"{self._path}/share/{quote(share, safe='')}")

    async def cdp(self) -> Driver:
        """Where programs drive its Chromium; waits for that to be up."""

        async def ask() -> Any:
            return await self._http.json("POST", f"{self._path}/cdp")

        return await (self._http.when_ready(ask) if self.view["app"] == "chromium" else ask())

    async def read_download(self, download: Download) -> bytes:
        """The content of a Playwright download.

        Its file is in the session, by a name that only Playwright knows, so that Playwright's own `save_as` does not find
        it on this machine.
        """
        return await self.files.read(f"Downloads/{(await download.path()).name}")

    # Computer use.

    async def screenshot(
        self,
        *,
        format: PictureFormat | None = None,
        quality: int | None = None,
        scale: float | None = None,
        cursor: bool | None = None,
        region: Region | None = None,
    ) -> bytes:
        """The screen, or a part of it; PNG, if no other format is said."""
        return (await self.look(format=format, quality=quality, scale=scale, cursor=cursor, region=region))[0]

    async def look(
        self,
        *,
        format: PictureFormat | None = None,
        quality: int | None = None,
        scale: float | None = None,
        cursor: bool | None = None,
        region: Region | None = None,
    ) -> tuple[bytes, str]:
        """A screenshot with its tag, from which `wait_for_change` goes on."""
        path = "v1/desktop/screenshot" if region is None else "v1/desktop/screenshot/region"
        params = given(format=format, quality=quality, scale=scale, showCursor=cursor, **cast("dict[str, Any]", region or {}))
        response = await self._room.ask("GET", path, params=params)
        return response.content, response.headers.get("etag", "")

    async def _do(self, path: str, **body: Any) -> Any:
        return await self._room.json("POST", f"v1/desktop/{path}", body=given(**body))

    async def click(self, x: int, y: int, *, button: MouseButton = "left", count: int = 1) -> Position:
        """Moves the pointer, and clicks."""
        return await self._do("mouse/click", x=x, y=y, button=button, clickCount=count)

    async def move(self, x: int, y: int) -> Position:
        """Moves the pointer."""
        return await self._do("mouse/move", x=x, y=y)

    async def mouse_down(self, x: int, y: int, button: MouseButton = "left") -> Position:
        """Presses a button, and holds it."""
        return await self._do("mouse/down", x=x, y=y, button=button)

    async def mouse_up(self, x: int, y: int, button: MouseButton = "left") -> Position:
        """Lets go of a button."""
        return await self._do("mouse/up", x=x, y=y, button=button)

    async def drag(
        self, start_x: int, start_y: int, end_x: int, end_y: int, *, button: MouseButton = "left"
    ) -> Position:
        """Drags with a button held."""
        return await self._do("mouse/drag", startX=start_x, startY=start_y, endX=end_x, endY=end_y, button=button)

    async def scroll(self, x: int, y: int, delta_x: int, delta_y: int) -> Position:
        """Turns the wheel at a place, in its clicks; positive is right and down."""
        return await self._do("mouse/scroll", x=x, y=y, deltaX=delta_x, deltaY=delta_y)

    async def pointer(self) -> Position:
        """Where the pointer is."""
        return await self._room.json("GET", "v1/desktop/mouse/position")

    async def type(self, text: str, *, delay_ms: int | None = None) -> None:
        """Types text, of any characters."""
        await self._do("keyboard/type", text=text, delayMs=delay_ms)

    async def press(self, key: str) -> None:
        """Presses a key or a combination: `Return`, `ctrl+shift+t`."""
        await self._do("keyboard/press", key=key)

    async def key_down(self, key: str) -> None:
        """Presses a key, and holds it."""
        await self._do("keyboard/down", key=key)

    async def key_up(self, key: str) -> None:
        """Lets go of a key."""
        await self._do("keyboard/up", key=key)

    async def clipboard(self) -> str:
        """Text of the clipboard."""
        return (await self._room.json("GET", "v1/desktop/clipboard"))["text"]

    async def set_clipboard(self, text: str) -> None:
        """Puts text on the clipboard."""
        await self._do("clipboard", text=text)

    async def windows(self) -> list[Window]:
        """Windows that can be seen."""
        return (await self._room.json("GET", "v1/desktop/windows"))["windows"]

    async def focus_window(self, id: str) -> None:
        """Gives a window the keyboard."""
        await self._do(f"windows/{quote(id, safe='')}/focus")

    async def desktop(self) -> DesktopStatus:
        """How the desktop is."""
        return await self._room.json("GET", "v1/desktop/status")

    async def open(self, target: str) -> LaunchedProgram:
        """Opens an address in its browser."""
        return await self._do("open", target=target)

    async def launch(self, app: str, args: Sequence[str] = (), *, wait: bool = False) -> LaunchedProgram:
        """Starts a program on the desktop, and with `wait` waits for its window."""
        return await self._do("launch", app=app, args=list(args), wait=wait)

    async def run(
        self,
        command: Sequence[str],
        *,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        timeout_ms: int | None = None,
        max_output_bytes: int | None = None,
    ) -> RunOutcome:
        """Runs a program to its end, within the session's walls; 30 s at most, if no other time is said."""
        if not command or isinstance(command, str):
            raise GlasshouseError("no command: give a list of a program and its arguments")
        limits = given(cwd=cwd, env=env, timeoutMs=timeout_ms, maxOutputBytes=max_output_bytes)
        body = {"command": command[0], "args": list(command[1:]), **limits}
        return await self._room.json("POST", "v1/processes/run", body=body)

    async def wait_for_stable(
        self, *, quiet_ms: int | None = None, timeout_ms: int | None = None, region: Region | None = None
    ) -> WasStable:
        """Waits until nothing was drawn for a while."""
        return await self._do("wait/stable", quietMs=quiet_ms, timeoutMs=timeout_ms, region=region)

    async def wait_for_turn(self) -> None:
        """Waits until this program may act, when people go first; for what it then does by other ways."""
        await self._do("wait/turn")

    async def wait_for_change(
        self, *, since: str | None = None, timeout_ms: int | None = None, region: Region | None = None
    ) -> HasChanged:
        """Waits until pixels differ from those of `since`, the tag of `look`, or from those now."""
        return await self._do("wait/change", since=since, timeoutMs=timeout_ms, region=region)

    async def leave(self) -> None:
        """Gives the seat in the room back that computer use has taken; the session goes on."""
        await self._room.leave()

    async def request(self, method: str, path: str, **ask: Any) -> httpx.Response:
        """Any request below the session's own path with the room's token, such as `v1/processes`."""
        return await self._room.ask(method, path, **ask)


class AsyncProfiles:
    """Profiles that outlive their sessions."""

    def __init__(self, http: AsyncHttp) -> None:
        self._http = http

    async def list(self) -> List[Profile]:
        """All of them."""
        return (await self._http.json("GET", "api/v1/profiles"))["profiles"]

    async def delete(self, name: str) -> None:
        """Deletes one."""
        await self._http.ask("DELETE", f"api/v1/profiles/{quote(name, safe='')}")

    async def export(self, name: str) -> bytes:
        """One as tar.zst, log-ins included."""
        return (await self._http.ask("GET", f"api/v1/profiles/{quote(name, safe='')}/archive")).content

    async def import_(self, name: str, archive: bytes) -> None:
        """Makes one of a tar.zst."""
        kind = {"content-type": "application/zstd"}
        await self._http.ask("PUT", f"api/v1/profiles/{quote(name, safe='')}/archive", content=archive, headers=kind)


class AsyncClient:
    """A server, with a token: `GLASSHOUSE_SERVER` and `GLASSHOUSE_TOKEN`, if not said.

    A limit (429) is tried again when the server says, within `patience` seconds.
    """

    profiles: AsyncProfiles

    def __init__(self, server: str | None = None, token: str | None = None, *, patience: float = 60.0) -> None:
        self._http = AsyncHttp(server, token, patience)
        self.profiles = AsyncProfiles(self._http)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes connections; sessions go on."""
        await self._http.client.aclose()

    async def create(
        self,
        spec: Spec | None = None,
        *,
        wait: float = 120,
        queue: int | None = None,
        idempotency_key: str | None = None,
        **fields: Any,
    ) -> AsyncSession:
        """Creates a session, of `spec` or of the same fields by name.

        By default one that is ready: `wait` seconds at most, and with 0 as it is being started. `queue` is for how many
        seconds to stand in line on the server when a limit is reached. The same `idempotency_key` makes the same session
        for a day; one is made up, so that trying again is safe.
        """
        until = time.monotonic() + wait
        wanted = {**(spec or {}), **fields}
        key = {"idempotency-key": idempotency_key or str(uuid.uuid4())}
        view = await self._http.json("POST", "api/v1/sessions", params={"queue": queue}, body=wanted, headers=key)
        session = AsyncSession(self._http, view)
        if wait <= 0:
            return session
        try:
            while session.view["state"] == "creating" and time.monotonic() < until:
                await session.refresh(wait=max(1, min(60, int(until - time.monotonic()))))
        except BaseException:
            # Nobody else knows of it.
            await session.delete()
            raise
        state = session.view["state"]
        if state in ("ready", "frozen"):
            return session
        await session.delete()
        if state == "creating":
            raise SessionError(f"session {session.id} was not ready within {wait} s")
        raise SessionError(f"session {session.id} {state}: {session.view.get('reason')}")

    async def get(self, id: str) -> AsyncSession:
        """A session by its id."""
        return AsyncSession(self._http, await self._http.json("GET", f"api/v1/sessions/{quote(id, safe='')}"))

    async def list(
        self, *, states: Sequence[State] = (), labels: dict[str, str] | None = None, name: str | None = None
    ) -> AsyncIterator[AsyncSession]:
        """Sessions, newest first; without states, those that have not ended."""
        words = [f"{key}={value}" for key, value in (labels or {}).items()]
        cursor: str | None = None
        while True:
            params = {"limit": 200, "state": list(states), "label": words, "name": name, "cursor": cursor}
            page = await self._http.json("GET", "api/v1/sessions", params=params)
            for view in page["sessions"]:
                yield AsyncSession(self._http, view)
            cursor = page.get("next")
            if not cursor:
                return

    async def events(self, session: str | None = None, *, after: str | None = None) -> AsyncIterator[Event]:
        """Events of all sessions, or of one, as they happen; goes on where it was when the connection is lost."""
        path = "api/v1/events" if session is None else f"api/v1/sessions/{quote(session, safe='')}/events"
        url = f"{self._http.server}/{path}"
        while True:
            headers = {"authorization": f"Bearer {self._http.token}"} | ({"last-event-id": after} if after else {})
            try:
                async with self._http.client.stream("GET", url, headers=headers) as response:
                    if not response.is_success:
                        await response.aread()
                        raise refusal(f"GET /{path}", response)
                    reader = ServerEvents()
                    async for line in response.aiter_lines():
                        for event in reader.line(line):
                            after = event.id or after
                            if event.event == "session":
                                yield json.loads(event.data)
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.5)


class AsyncLaunched:
    """A session that is driven by Playwright. Ends with `close`, or when the block is left."""

    session: AsyncSession
    browser: Browser
    context: BrowserContext
    """The context that people see."""
    page: Page
    """The page that people see."""

    def __init__(self, client: AsyncClient, session: AsyncSession) -> None:
        self._client = client
        self._playwright: Playwright | None = None
        self._browser: Browser | None = None
        self.session = session

    @classmethod
    async def start(cls, server: str | None, token: str | None, patience: float, fields: dict[str, Any]) -> AsyncLaunched:
        """Creates the session and connects to its browser."""
        client = AsyncClient(server, token, patience=patience)
        try:
            session = await client.create(**{"idle_timeout_seconds": ORPHANED, **fields})
        except BaseException:
            await client.aclose()
            raise
        launched = cls(client, session)
        try:
            await launched._connect()
        except BaseException:
            await launched.close()
            raise
        return launched

    async def _connect(self) -> None:
        try:
            from playwright.async_api import async_playwright
        except ImportError as error:
            raise GlasshouseError("no Playwright: pip install 'glasshouse[playwright]'") from error
        driver = await self.session.cdp()
        self._playwright = await async_playwright().start()
        self._browser = await self._playwright.chromium.connect_over_cdp(driver["url"], timeout=60_000)
        self.browser = self._browser
        self.context = self.browser.contexts[0] if self.browser.contexts else await self.browser.new_context()
        self.page = self.context.pages[0] if self.context.pages else await self.context.new_page()

    async def close(self) -> None:
        """Ends the session, and what drives it."""
        try:
            if self._browser is not None:
                await self._browser.close()
        finally:
            try:
                if self._playwright is not None:
                    await self._playwright.stop()
            finally:
                try:
                    await self.session.delete()
                finally:
                    await self._client.aclose()

    async def __aenter__(self) -> AsyncLaunched:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
