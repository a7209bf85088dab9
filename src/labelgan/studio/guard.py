"""Access to studio: token, host, origin, and the headers of every answer."""

from __future__ import annotations

import hmac
import secrets
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOSTS = frozenset({"127.0.0.1", "localhost"})
"""Names that a browser on this machine, or at the near end of an SSH tunnel, knows the server by."""

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "frame-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'self'",
    )
)

DOCUMENT_POLICY = (
    "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'"
)
"""Of reports, which are shown in a frame: sealed pages with styles and pictures inside, and nothing that runs."""

HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "SAMEORIGIN",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}

MOST_BODY = 2 * 2**20  # bytes of a request
_REFUSED = "This page needs the address that labelgan studio printed, with its token."


def new_token() -> str:
    """256 random bits for an address."""
    return secrets.token_urlsafe(32)


def cookie_name(port: int) -> str:
    """Cookies of one host are shared by all its ports: the name tells two studios apart."""
    return f"labelgan-studio-{port}"


class Guard:
    """Stands before the application.

    The first visit brings the token in the address; it becomes a cookie that no script can read and no other site can
    send, and the address is cleaned. Everything without the cookie is refused, static files too. A host name that is
    not this machine's is refused, so that no foreign name can be pointed at it (DNS rebinding); a change that another
    origin asks for, or that is not JSON, is refused as well.
    """

    def __init__(self, app: ASGIApp, token: str, cookie: str) -> None:
        self.app, self.token, self.cookie = app, token, cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers or passes on one request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # there are no web sockets here
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _answer(send, *refusal)
            return
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["path"] == "/" and given and self._is_token(given):
            cookie = f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict"
            await _answer(send, 303, "", {"location": "/", "set-cookie": cookie})
            return
        if not self._is_token(_cookies(headers.get("cookie", "")).get(self.cookie, "")):
            await _answer(send, 403, _REFUSED)
            return
        await self.app(scope, receive, _with_headers(send))

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self.token.encode())

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if _host_name(host) not in HOSTS:
            return 421, "This host name is not this machine's."
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return 405, "Not allowed."
        site = headers.get("sec-fetch-site", "none")
        if site not in ("none", "same-origin") and headers.get("sec-fetch-mode") != "navigate":
            return 403, "Asked for by another site."
        if scope["method"] == "POST":
            origin = headers.get("origin")
            if origin is not None and urlsplit(origin).netloc != host:
                return 403, "Asked for by another site."
            if headers.get("content-type", "").split(";")[0].strip() != "application/json":
                return 415, "Expected JSON."
            length = headers.get("content-length", "")
            if not length.isdigit() or int(length) > MOST_BODY:
                return 413, "Too large, or of unknown length."
        return None


def _host_name(host: str) -> str:
    name, _, port = host.rpartition(":")
    return (name if port.isdigit() and name else host).lower()


def _cookies(header: str) -> dict[str, str]:
    pairs = (part.strip().partition("=") for part in header.split(";"))
    return {name: value for name, equals, value in pairs if equals}


def _with_headers(send: Send) -> Send:
    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = [(name, value) for name, value in message.get("headers", [])]
            present = {name.decode("latin-1").lower() for name, _ in own}
            own += [(name.encode(), value.encode()) for name, value in HEADERS.items() if name not in present]
            message = {**message, "headers": own}
        await send(message)

    return wrapped


async def _answer(send: Send, status: int, text: str, more: dict[str, str] | None = None) -> None:
    headers = {**HEADERS, "content-type": "text/plain; charset=utf-8", **(more or {})}
    body = text.encode()
    headers["content-length"] = str(len(body))
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": body})
