"""browser-use, with any model that speaks OpenAI's chat API, in a session that people can watch.

Set GLASSHOUSE_SERVER, GLASSHOUSE_TOKEN, OPENAI_API_KEY and, for another model than OpenAI's, OPENAI_BASE_URL and MODEL.
"""

import asyncio
import os
import sys

import glasshouse
from browser_use import Agent, Browser
from browser_use.llm import ChatOpenAI


async def main(url: str) -> None:
    async with glasshouse.AsyncClient() as client, await client.create(url="about:blank") as session:
        browser = Browser(cdp_url=(await session.cdp())["url"])
        model = ChatOpenAI(model=os.environ.get("MODEL", "gpt-4.1-mini"), base_url=os.environ.get("OPENAI_BASE_URL"))
        agent = Agent(task=f"Open {url}, follow its first link, and say the title of the page behind it.", llm=model, browser=browser)
        history = await agent.run(max_steps=10)
        print(history.final_result())


asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "https://example.com"))
