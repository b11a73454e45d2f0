"""Glasshouse for programs: sessions of a server, their browser and their desktop."""

from . import _fleet_types as fleet_types
from . import _session_types as computer_types
from ._async import AsyncClient, AsyncFiles, AsyncLaunched, AsyncSession
from ._errors import GlasshouseError, ProblemError, SessionError
from ._fleet_types import Change, Spec, View
from ._forward import DebuggerAddress, debugger_address
from ._launch import launch
from ._sync import Client, Files, Launched, Session

__all__ = [
    "AsyncClient",
    "AsyncFiles",
    "AsyncLaunched",
    "AsyncSession",
    "Change",
    "Client",
    "DebuggerAddress",
    "Files",
    "GlasshouseError",
    "Launched",
    "ProblemError",
    "Session",
    "SessionError",
    "Spec",
    "View",
    "computer_types",
    "debugger_address",
    "fleet_types",
    "launch",
]
