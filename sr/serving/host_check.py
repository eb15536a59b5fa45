"""Refuse requests that name another host than this service.

The page of another site can let its own host name point to 127.0.0.1 (DNS rebinding). Its requests are of one origin for the
browser then, but their `Host` has that name.
"""

import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from sr.serving.error import ServiceError

LOOPBACK = {"localhost", "127.0.0.1", "::1"}
MISDIRECTED = 421


class HostCheck:
    """An ASGI middleware that passes on requests to one of `hosts`, names without a port."""

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        self.app, self.hosts = app, {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _parse_host(Headers(scope=scope).get("host", "")) not in self.hosts:
            error = ServiceError(
                MISDIRECTED, "expected a host name of this service; its option hosts= lists further ones"
            )
            await error.build_response()(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def list_hosts(host: str, hosts: Sequence[str] | None) -> list[str] | None:
    """Return the names that requests may have, or None for all: the service listens on every address and got no names."""
    if hosts is None and _is_any_address(host):
        return None
    return [*LOOPBACK, host.strip("[]"), *(hosts or ())]


def _is_any_address(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_unspecified
    except ValueError:  # a name
        return False


def _parse_host(text: str) -> str | None:
    try:
        return urlsplit(f"//{text}").hostname
    except ValueError:
        return None
