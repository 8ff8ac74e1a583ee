"""Hosts and clients that can be tracked, each in a file of its own that imports it lazily."""

from __future__ import annotations

from typing import Any, TypeVar

from tallystick.errors import HostError
from tallystick.recorder import Recorder

T = TypeVar("T")

_AGENTS_NAMES = frozenset({"openai-agents", "openai_agents"})


def track(recorder: Recorder, target: T) -> T:
    """Count every request of a host or client; see `Tally.track`."""
    if isinstance(target, str):
        if target in _AGENTS_NAMES:
            from tallystick.integrations import openai_agents

            openai_agents.install(recorder)
            return target
        raise HostError(f'no host is called {target!r}; known is "openai-agents"')
    if _is_agents_model(target):
        from tallystick.integrations import openai_agents

        model: Any = openai_agents.tracked_model(recorder, target)
        return model  # type: ignore[no-any-return]
    client = _http_client(target)
    if client is None:
        raise HostError(
            f"{type(target).__module__}.{type(target).__qualname__} cannot be tracked; known are "
            '"openai-agents", a Model of the Agents SDK, and clients of the openai package'
        )
    from tallystick.integrations import http

    http.instrument(client, recorder)
    return target


def untrack(recorder: Recorder, target: Any) -> None:
    """Undo `track`."""
    if isinstance(target, str):
        if target in _AGENTS_NAMES:
            from tallystick.integrations import openai_agents

            openai_agents.uninstall(recorder)
        return
    client = _http_client(target)
    if client is not None:
        from tallystick.integrations import http

        http.restore(client)


def _is_agents_model(target: object) -> bool:
    import sys

    interface = sys.modules.get("agents.models.interface")
    return interface is not None and isinstance(target, interface.Model)


def _http_client(target: Any) -> Any:
    """Return the httpx client inside a client of the openai package, or the target if it is one."""
    for candidate in (getattr(target, "_client", None), target):
        root = type(candidate).__module__.partition(".")[0]
        is_httpx = root in {"httpx", "httpx2"} or any(
            parent.__module__.partition(".")[0] in {"httpx", "httpx2"}
            for parent in type(candidate).__mro__
        )
        if is_httpx and hasattr(candidate, "send"):
            return candidate
    return None
