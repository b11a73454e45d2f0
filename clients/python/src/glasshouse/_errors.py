"""What can go wrong."""

from __future__ import annotations

from typing import Any, cast


class GlasshouseError(Exception):
    """Anything that this package raises by itself."""


class SessionError(GlasshouseError):
    """A session did not become ready."""


class ProblemError(GlasshouseError):
    """The server refused: a problem (RFC 9457)."""

    type: str
    """Kind of the problem, such as `urn:glasshouse:problem:invalid`."""
    title: str
    """The status in words."""
    status: int
    """The HTTP status."""
    detail: str
    """What was wrong, and what to do."""
    errors: list[dict[str, str]]
    """Fields of the request that cannot be used: `field` and `message` of each."""
    retry_after: float | None
    """After how many seconds to try again, if the server said so."""

    def __init__(self, request: str, status: int, body: dict[str, Any], retry_after: float | None = None) -> None:
        def text(key: str, otherwise: str) -> str:
            value = body.get(key)
            return value if isinstance(value, str) else otherwise

        self.type = text("type", "about:blank")
        self.title = text("title", "")
        self.status = status
        self.detail = text("detail", text("message", f"the server answered {status}"))
        errors = body.get("errors")
        self.errors = cast("list[dict[str, str]]", errors) if isinstance(errors, list) else []
        self.retry_after = retry_after
        fields = "; ".join(f"{one.get('field')}: {one.get('message')}" for one in self.errors)
        super().__init__(f"{request}: {self.detail}" + (f" ({fields})" if fields else ""))

    @property
    def kind(self) -> str:
        """The last part of the type: `invalid`, `full`, `not-found`, …"""
        return self.type.rsplit(":", 1)[-1]
