"""The dashboard in a browser: `lop watch --web` serves it, with a dashboard process for each page.

textual-serve accepts everyone who can reach its port. Here the port is on the loopback interface. Requests need the
token in the address that `serve` prints, because other users of this machine can reach the port, and must come from a
page of this server, because pages of other sites can reach it through the browser.
"""

import asyncio
import json
import logging
import os
import re
import secrets
import shlex
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiohttp import WebSocketError, WSCloseCode, WSMessage, WSMsgType, web
from textual_serve.app_service import AppService
from textual_serve.server import Server, to_int

from lop_engine.errors import UserError, why
from lop_engine.runs.several import SeveralReader
from lop_tui.dashboard import run_dashboard

HOST = "127.0.0.1"
MOST_PAGES = 16
"""Each page is a process of about 150 MiB."""
MOST_CELLS = 2_000_000
"""Of a page's terminal: a 4K screen in the browser's smallest print has about 800,000."""
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_SHUTDOWN_S = 2.0
_END_S = 10.0
"""For a page's dashboard to end; then it is killed."""
_LOOK_S = 1.0

_FONTS = re.compile(r'<link\s+rel="stylesheet"\s+href="https://fonts[^>]*>')
"""The only reference of the page to another server."""

_FOCUS = """<script>
new MutationObserver((changes, observer) => {
    if (!document.body.classList.contains("-first-byte")) return;
    observer.disconnect();
    document.querySelector(".xterm-helper-textarea").focus();
}).observe(document.body, {attributes: true, attributeFilter: ["class"]});
</script></body>"""
"""Focuses the terminal once it is connected: textual-serve's page waits for a click."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class PageOptions:
    """Content of a page, and whether it may write: the arguments of `run_dashboard`."""

    runs_dirs: tuple[Path, ...]
    refresh_s: float = 1.0
    query: str | None = None
    carries: bool = True
    """How means treat runs that a rule ended, see `RunView.carries`."""
    writes: bool = False
    """Enables the keys that stop and resume runs and write files."""

    def command(self) -> str:
        """Return the shell command of a page's dashboard, which `main` parses."""
        options = {"runs_dirs": [str(path.absolute()) for path in self.runs_dirs], "refresh_s": self.refresh_s}
        options |= {"query": self.query, "carries": self.carries, "writes": self.writes}
        module = ["-P", "-m", "lop_tui.dashboard.web"]
        return "exec " + shlex.join([sys.executable, *module, json.dumps(options), str(os.getpid())])


def serve(options: PageOptions, port: int) -> None:
    """Serve the dashboard until Ctrl-C or SIGTERM.

    Args:
        port: port on the loopback interface; 0 picks a free one.

    Raises:
        UserError: the port cannot be used.
    """
    logging.getLogger("textual-serve").setLevel(logging.ERROR)
    taken = listen(port)
    taken.listen()  # start before the address is printed
    port = taken.getsockname()[1]
    server = DashboardServer(options.command(), HOST, port, title="lop watch")
    access = "anyone with this address can stop and resume runs" if options.writes else "read-only"
    print(f"lop watch: {server.address} ({access}); Ctrl-C ends it", flush=True)
    web.run_app(server.application(), sock=taken, print=None, shutdown_timeout=_SHUTDOWN_S, access_log=None)


def listen(port: int) -> socket.socket:
    """Return a socket bound to `port` of the loopback interface. Raises UserError."""
    taken = socket.socket()
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((HOST, port))
    except OSError as error:
        taken.close()
        raise UserError(f"watch: port {port} of {HOST}: {why(error)}; choose another with --web-port") from error
    return taken


class DashboardServer(Server):
    """textual-serve's server, restricted to its own pages and to requests with its token."""

    def __init__(self, command: str, host: str, port: int, title: str) -> None:
        super().__init__(command, host, port, title=title)
        self._num_pages = 0
        self._websockets: set[web.WebSocketResponse] = set()
        self._token = secrets.token_urlsafe(24)
        self.address = f"{self.public_url}/?token={self._token}"
        """Address for the browser."""

    async def application(self) -> web.Application:
        """Return the web application; its first middleware checks where requests come from."""

        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._guard(request, handler)

        app = await self._make_app()
        app.router.add_get("/ws/{token}", self.handle_websocket)
        app.middlewares.append(guard)
        return app

    async def on_startup(self, app: web.Application) -> None:
        """Print nothing: `serve` has printed the address."""

    async def on_shutdown(self, app: web.Application) -> None:
        """End all pages: their processes' pipes have to be closed while the event loop runs."""
        closing = (asyncio.wait_for(one.close(code=WSCloseCode.GOING_AWAY), _SHUTDOWN_S) for one in self._websockets)
        await asyncio.gather(*closing, return_exceptions=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(2 * _END_S):
                while self._websockets:
                    await asyncio.sleep(0.02)

    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not is_loopback(request.host):  # another site's name that resolves to this machine
            raise web.HTTPForbidden(text=f"lop watch: open it as http://{HOST}:{self.port}\n")
        if not self._has_token(request):
            text = "lop watch: wrong or missing token; open the address that lop watch --web printed\n"
            raise web.HTTPForbidden(text=text)
        if request.path.startswith("/ws") and not is_own(request.headers.get("Origin"), request.host):
            raise web.HTTPForbidden(text="lop watch: only its own page may connect\n")
        if request.path.startswith("/static") and request.path.endswith("/"):
            raise web.HTTPNotFound
        response = await handler(request)
        if not response.prepared:
            response.headers.update(_headers(request.host))
        return response

    def _has_token(self, request: web.Request) -> bool:
        """Whether a request has the token; static files need none, and downloads have secret keys."""
        if request.path.startswith(("/static/", "/download/")):
            return True
        given = request.match_info.get("token", request.query.get("token", ""))
        return secrets.compare_digest(given.encode(errors="replace"), self._token.encode())

    async def handle_index(self, request: web.Request) -> web.StreamResponse:
        """Return the page; its links use the host name of the request, so that an SSH tunnel works."""
        self.public_url = f"http://{request.host}"
        page = await super().handle_index(request)
        if isinstance(page, web.Response) and page.text:
            text = _FONTS.sub("", page.text).replace('/ws"', f'/ws/{self._token}"')
            page.text = text.replace("</body>", _FOCUS)
        return page

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """Connect a page to its dashboard."""
        if self._num_pages >= MOST_PAGES:
            raise web.HTTPServiceUnavailable(text=f"lop watch: {MOST_PAGES} pages are open; close one\n")
        if not _is_size(*(to_int(request.query.get(key, "24"), 24) for key in ("width", "height"))):
            raise web.HTTPBadRequest(text="lop watch: no terminal has this width and height\n")
        self._num_pages += 1
        try:
            return await super().handle_websocket(request)
        finally:
            self._num_pages -= 1

    async def _process_messages(self, websocket: web.WebSocketResponse, app_service: AppService) -> None:
        """Pass a page's messages to its dashboard until one is invalid or the page closes; then end the dashboard."""
        self._websockets.add(websocket)
        try:
            async for message in websocket:
                if message.type is WSMsgType.ERROR and not isinstance(message.data, WebSocketError):
                    break  # the page no longer answers
                content = read_message(message)
                if content is None:
                    print("lop watch: closed a page that sent an invalid message", file=sys.stderr, flush=True)
                    await websocket.close(code=WSCloseCode.UNSUPPORTED_DATA, message=b"invalid message")
                    break
                with suppress(ConnectionResetError):  # the page has gone
                    await _pass_on(content, websocket, app_service)
        finally:
            try:
                await end_dashboard(app_service)
            finally:
                self._websockets.remove(websocket)


async def end_dashboard(app_service: AppService) -> None:
    """End a page's dashboard, and wait until its process has ended and its pipes are closed."""
    process, task = app_service._process, app_service._task
    if process is None or task is None:
        return
    task.cancel()  # it complains of a process that ends before it has shown anything
    with suppress(ProcessLookupError):
        process.terminate()
    await asyncio.wait([task], timeout=_END_S)
    if task.cancelled():  # before its first step: stop would wait for it and be cancelled too
        app_service._task = None
    await app_service.stop()
    try:
        async with asyncio.timeout(_END_S):
            await process.communicate()
    except TimeoutError:
        process.kill()
        await process.communicate()


async def _pass_on(content: list[Any], websocket: web.WebSocketResponse, app_service: AppService) -> None:
    """Do what a page's message asks for; nothing for a kind of message that this version does not know."""
    match content:
        case ["stdin", keys]:
            await app_service.send_bytes(keys.encode())
        case ["resize", size]:
            await app_service.set_terminal_size(size["width"], size["height"])
        case ["ping", data]:
            await websocket.send_json(["pong", data])
        case ["blur"]:
            await app_service.blur()
        case ["focus"]:
            await app_service.focus()


def read_message(message: WSMessage) -> list[Any] | None:
    """Return a page's message, such as ``["stdin", "q"]``; None if it is invalid."""
    if message.type is not WSMsgType.TEXT:  # binary, too large or not UTF-8
        return None
    try:
        content = json.loads(message.data)
        match content:
            case ["stdin" | "ping", str(text)]:
                text.encode()  # lone surrogates cannot be encoded
                return content
            case ["resize", {"width": int(width), "height": int(height)}]:
                return content if _is_size(width, height) else None
            case ["stdin" | "ping" | "resize", *_]:
                return None
            case [str(), *_]:
                return content
    except (ValueError, RecursionError):
        return None
    return None


def _is_size(width: int, height: int) -> bool:
    """Whether a terminal may have this size, in cells."""
    return width > 0 and height > 0 and width * height <= MOST_CELLS


def is_loopback(host: str) -> bool:
    """Whether a Host header names this machine's loopback interface."""
    return _parts(f"http://{host}")[1] in _LOOPBACK


def is_own(origin: str | None, host: str) -> bool:
    """Whether `origin` is this server, as named by `host`."""
    scheme, name, port = _parts(origin or "")
    return scheme == "http" and name in _LOOPBACK and port == _parts(f"http://{host}")[2]


def _parts(url: str) -> tuple[str, str, int]:
    """Return scheme, host name and port of a URL; empty if it is invalid."""
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname or "", parts.port or 80
    except ValueError:
        return "", "", 0


def _headers(host: str) -> dict[str, str]:
    """Return headers that forbid other servers' content, frames of other pages, and caching.

    Chromium keeps a page that the user left, with its connection and process, unless caching is forbidden.
    """
    policy = (
        "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
        f"img-src 'self' data:; connect-src 'self' ws://{host}; frame-ancestors 'none'"
    )
    return {
        "Cache-Control": "no-store",
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }


def main() -> None:
    """Run the dashboard of one page, which textual-serve starts with Textual's web driver."""
    given = json.loads(sys.argv[1])
    options = PageOptions(**given | {"runs_dirs": tuple(map(Path, given["runs_dirs"]))})
    threading.Thread(target=_end_with, args=(int(sys.argv[2]),), daemon=True).start()
    reader = SeveralReader(options.runs_dirs, options.carries)
    first, refresh_s = options.runs_dirs[0], options.refresh_s
    run_dashboard(first, refresh_s, query=options.query, reader=reader, writes=options.writes)


def _end_with(server: int) -> None:
    """End this process when its server is gone: a killed server sends no message."""
    while os.getppid() == server:
        time.sleep(_LOOK_S)
    os._exit(1)


if __name__ == "__main__":
    main()
