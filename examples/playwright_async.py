"""Playwright drives a session that anybody with its link can watch. Set GLASSHOUSE_SERVER and GLASSHOUSE_TOKEN."""

import asyncio
import sys

import glasshouse


async def main(url: str) -> None:
    async with glasshouse.launch(url=url) as s:
        print("watch it:", (await s.session.share(["view"])).get("url"))
        await s.page.wait_for_load_state()
        print(await s.page.title())
        async with s.page.expect_event("domcontentloaded"):
            await s.page.locator("a").first.click()
        print(await s.page.title())


asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "https://example.com"))
