"""What tests/e2e/clients.test.mjs shows of the Python client: `busy`, or `sync` or `async` with the address of the test's pages."""

from __future__ import annotations

import asyncio
import sys
import time
import uuid

import glasshouse


def expect(is_so: bool, what: object) -> None:
    if not is_so:
        raise AssertionError(what)


async def busy() -> None:
    async with glasshouse.AsyncClient() as client:
        first = await client.create(app="none")
    with glasshouse.Client() as client:
        print(first.id, client.create(app="none").id)


def sync(pages: str) -> None:
    with glasshouse.Client() as client:
        try:
            client.create(screen={"width": 1, "height": 720})
            expect(False, "a screen of a pixel")
        except glasshouse.ProblemError as problem:
            expect(problem.status == 422 and problem.kind == "invalid", problem)
            expect([one["field"] for one in problem.errors] == ["screen.width"], problem.errors)
        key = str(uuid.uuid4())
        with client.create({"url": f"{pages}link.html", "labels": {"team": "blue"}}, idempotency_key=key) as session:
            again = client.create({"url": f"{pages}link.html", "labels": {"team": "blue"}}, idempotency_key=key)
            expect(again.id == session.id, again.id)
            expect([one.id for one in client.list(labels={"team": "blue"})] == [session.id], "the list")
            expect(session.change({"labels": {"team": None}})["labels"] == {}, session.view)
            expect(session.freeze()["state"] == "frozen", session.view)
            expect(session.thaw()["state"] == "ready", session.view)
            share = session.share(["view"])
            session.unshare(share["id"])
            expect(session.shares() == [], "no links")
            expect(session.screenshot()[1:4] == b"PNG", "a picture")
            expect(session.screenshot(format="jpeg", region={"x": 0, "y": 0, "width": 9, "height": 9})[:2] == b"\xff\xd8", "a picture")
            at = session.click(450, 260)
            expect((at["x"], at["y"]) == (450, 260), at)
            session.wait_for_stable(timeout_ms=5000)
            done = session.run(["sh", "-c", "echo $WORD; exit 3"], env={"WORD": "hi"})
            expect((done["stdout"], done["exitCode"]) == ("hi\n", 3), done)
            session.files.write("note.txt", "hello")
            expect(session.files.read_text("note.txt") == "hello", "a file")
            expect("note.txt" in [one.get("name") for one in session.files.list()], "a folder")
            with glasshouse.debugger_address(session.cdp()["url"]) as address:
                import httpx

                version = httpx.get(f"http://{address}/json/version", timeout=60).json()
                expect(version["webSocketDebuggerUrl"].startswith(f"ws://{address}/devtools/browser/"), version)
        expect(client.get(session.id).view["state"] == "terminated", "it has ended")
    with glasshouse.launch(url=f"{pages}link.html") as s:
        s.page.wait_for_load_state()
        expect(s.page.title() == "First page", s.page.title())
    try:
        with glasshouse.launch(url=f"{pages}link.html") as s:
            raise KeyError("mine")
    except KeyError:
        pass


async def asynchronous(pages: str) -> None:
    async with glasshouse.AsyncClient() as client:
        async with await client.create(app="none") as session:
            events = client.events(session.id)

            async def frozen() -> str:
                async for event in events:
                    if event["state"] == "frozen":
                        return event["session"]
                return ""

            seen = asyncio.create_task(frozen())
            until = time.monotonic() + 60
            while not seen.done() and time.monotonic() < until:
                await session.freeze()
                await asyncio.wait([seen], timeout=0.5)
                await session.thaw()
            expect(seen.done() and seen.result() == session.id, "an event")
            expect((await session.run(["true"]))["exitCode"] == 0, "a program")
            expect([one.id async for one in client.list()] == [session.id], "the list")
    async with glasshouse.launch(url=f"{pages}link.html") as s:
        await s.page.wait_for_load_state()
        expect(await s.page.title() == "First page", "a title")
        await s.page.set_content('<a href="data:application/octet-stream,saved" download="word.txt">get</a>')
        async with s.page.expect_download() as waited:
            await s.page.click("a")
        expect(await s.session.read_download(await waited.value) == b"saved", "a download")
    try:
        async with glasshouse.launch(url=f"{pages}link.html") as s:
            raise KeyError("mine")
    except KeyError:
        pass


if sys.argv[1] == "busy":
    asyncio.run(busy())
else:
    if sys.argv[1] == "sync":
        sync(sys.argv[2])
    else:
        asyncio.run(asynchronous(sys.argv[2]))
    print("all is well")
