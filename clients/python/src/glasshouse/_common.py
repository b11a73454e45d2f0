"""What the two kinds of client have in common: it does no I/O."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import httpx

from ._errors import GlasshouseError, ProblemError

ORPHANED = 60
"""Seconds without any connection after which the server ends a session whose program was killed."""

TIMEOUT = httpx.Timeout(30.0, read=330.0)
"""A creation, a program that runs and a wait for the screen answer late."""


def server_of(server: str | None) -> str:
    """Address of the server, without a slash at the end."""
    return (server or os.environ.get("GLASSHOUSE_SERVER") or "http://127.0.0.1:8080").rstrip("/")


def token_of(token: str | None) -> str:
    """The token, from an argument or the environment."""
    found = token or os.environ.get("GLASSHOUSE_TOKEN")
    if not found:
        raise GlasshouseError("no token: give one, or set GLASSHOUSE_TOKEN")
    return found


def given(**values: Any) -> dict[str, Any]:
    """Those that are not None, as they are sent in an address or as JSON."""
    return {name: value for name, value in values.items() if value is not None}


def query(values: dict[str, Any] | None) -> httpx.QueryParams:
    """Words of an address."""
    pairs: list[tuple[str, str | int | float | bool | None]] = []
    for name, value in (values or {}).items():
        many = cast("list[Any]", value) if isinstance(value, list) else [value]
        for one in many:
            if one is not None:
                pairs.append((name, str(one).lower() if isinstance(one, bool) else str(one)))
    return httpx.QueryParams(pairs)


def refusal(request: str, response: httpx.Response) -> ProblemError:
    """The error that an answer says, which was read."""
    try:
        body = json.loads(response.text)
    except ValueError:
        body = {"detail": response.text.strip()[:500]} if response.text.strip() else {}
    try:
        wait = float(response.headers["retry-after"])
    except (KeyError, ValueError):
        wait = None
    known = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
    return ProblemError(request, response.status_code, known, wait)


@dataclass
class ServerEvent:
    """A server-sent event (HTML standard, 9.2)."""

    id: str | None
    event: str
    data: str


@dataclass
class ServerEvents:
    """Reads server-sent events from lines."""

    id: str | None = None
    _event: str = ""
    _data: list[str] = field(default_factory=list[str])

    def line(self, line: str) -> Iterator[ServerEvent]:
        """Takes a line; yields the event that it ends."""
        if not line:
            if self._data:
                yield ServerEvent(self.id, self._event or "message", "\n".join(self._data))
            self._event, self._data = "", []
            return
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id":
            self.id = value
