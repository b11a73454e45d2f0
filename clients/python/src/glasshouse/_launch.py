"""A session with a Playwright browser on it, in one step."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from ._async import AsyncLaunched
from ._fleet_types import Spec
from ._sync import Launched


class Launch:
    """What `launch` hands out: a block of `async with` or of `with`."""

    def __init__(self, server: str | None, token: str | None, patience: float, fields: dict[str, Any]) -> None:
        self._arguments = (server, token, patience, fields)
        self._entered: Any = None

    async def __aenter__(self) -> AsyncLaunched:
        self._entered = await AsyncLaunched.start(*self._arguments)
        return self._entered

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._entered.close()

    def __enter__(self) -> Launched:
        self._entered = Launched.start(*self._arguments)
        return self._entered

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered.close()


def launch(
    spec: Spec | None = None,
    *,
    server: str | None = None,
    token: str | None = None,
    patience: float = 60.0,
    wait: float = 120,
    queue: int | None = None,
    idempotency_key: str | None = None,
    **fields: Any,
) -> Launch:
    """Creates a session and connects Playwright to its browser; the session ends with the block, also on errors.

    Use it as `async with glasshouse.launch(url=…) as s:` or `with glasshouse.launch(url=…) as s:`; there are `s.page`,
    `s.context`, `s.browser` and `s.session`. A session whose program is killed ends a minute later.
    """
    wanted: dict[str, Any] = {**(spec or {}), **fields}
    more = {"wait": wait, "queue": queue, "idempotency_key": idempotency_key}
    return Launch(server, token, patience, {**wanted, **more})
