"""A headless Chromium with one page, driven through the DevTools protocol."""

import asyncio
import base64
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
INSTALL = "make test-web needs Chromium: apt-get install --no-install-recommends chromium"
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1280,800"),
)
PATIENCE_S = 60
POLL_S = 0.1

#: Textual's page stores its xterm.js terminal as `this.terminal` in a closure; this script intercepts the assignment.
CATCH_TERMINAL = """
Object.defineProperty(Object.prototype, "terminal", {configurable: true, set(value) {
    Object.defineProperty(this, "terminal", {value, writable: true, configurable: true});
    if (value && value.buffer) window.caughtTerminal = value;
}});
"""
READ_TERMINAL = """
(() => {
    const buffer = window.caughtTerminal?.buffer.active;
    return Array.from({length: buffer?.length ?? 0}, (_, row) => buffer.getLine(row).translateToString()).join("\\n");
})()
"""


class Page:
    """A page of the browser."""

    def __init__(self, connection: aiohttp.ClientWebSocketResponse) -> None:
        self._connection, self._num_sent = connection, 0

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the DevTools protocol; return its result."""
        self._num_sent += 1
        await self._connection.send_json({"id": self._num_sent, "method": method, "params": parameters})
        async with asyncio.timeout(PATIENCE_S):
            while True:
                answer = await self._connection.receive_json()
                if answer.get("id") == self._num_sent:
                    assert "error" not in answer, f"{method}: {answer['error']}"
                    return answer["result"]

    async def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression; promises are awaited."""
        answer = await self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def open(self, url: str) -> None:
        """Open `url` and wait until it is loaded."""
        await self.call("Page.enable")
        await self.call("Emulation.setFocusEmulationEnabled", enabled=True)  # as if its window had the focus
        await self.call("Page.addScriptToEvaluateOnNewDocument", source=CATCH_TERMINAL)
        await self.call("Page.navigate", url=url)
        async with asyncio.timeout(PATIENCE_S):
            while await self.evaluate("document.readyState + document.location") != f"complete{url}":
                await asyncio.sleep(POLL_S)

    async def press(self, keys: str) -> None:
        """Type characters into the focused element."""
        for key in keys:
            await self.call("Input.dispatchKeyEvent", type="keyDown", key=key, text=key)
            await self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    async def screen(self) -> str:
        """Return the terminal's rows of text."""
        return await self.evaluate(READ_TERMINAL)

    async def until(self, text: str) -> str:
        """Wait until the terminal shows `text`; return all its text."""
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        while text not in (shown := await self.screen()):
            assert asyncio.get_running_loop().time() < deadline, f"no {text!r} in:\n{shown}"
            await asyncio.sleep(POLL_S)
        return shown

    async def screenshot(self) -> bytes:
        """Return a screenshot as PNG."""
        return base64.b64decode((await self.call("Page.captureScreenshot"))["data"])


@asynccontextmanager
async def page_of_chromium(profile: Path) -> AsyncIterator[Page]:
    """Start Chromium and return its page; end it with the context.

    Args:
        profile: a new directory for the browser's files.
    """
    assert PROGRAM, INSTALL
    command = [PROGRAM, *FLAGS, f"--user-data-dir={profile}", "--remote-debugging-port=0", "about:blank"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            port = await _port(profile / "DevToolsActivePort")
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                    page = next(one for one in await answer.json() if one["type"] == "page")
                async with session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0) as connection:
                    yield Page(connection)
        finally:
            process.terminate()


async def _port(path: Path) -> int:
    async with asyncio.timeout(PATIENCE_S):
        while not (path.exists() and (lines := path.read_text().split())):
            await asyncio.sleep(POLL_S)
    return int(lines[0])
