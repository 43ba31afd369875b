"""`lop watch --web` in a real browser: the drawn page, its keys, and refused connections."""

import asyncio
import io
import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import psutil
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from PIL import Image

from tests.browser.chromium import PATIENCE_S, POLL_S, Page, page_of_chromium
from tests.dashboard.conftest import FAR_FUTURE
from tests.dashboard.serving import Served, serving
from tests.helpers import make_run

CBP_BLUE = (0, 114, 178)
"""The colour of cbp in every chart."""
CONNECT = """
new Promise(resolve => {
    const socket = new WebSocket("%s");
    socket.onopen = () => resolve("open");
    socket.onerror = () => resolve("refused");
})
"""


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    runs_dir = tmp_path / "runs"
    for method in ("bp", "cbp"):
        for seed in range(2):
            make_run(runs_dir, method, seed, state="running", tasks_done=20, heartbeat_at=FAR_FUTURE)
    return runs_dir


@pytest.fixture(params=[()], ids=["read-only"])
def server(runs_dir: Path, request: pytest.FixtureRequest) -> Iterator[Served]:
    with serving(runs_dir, *request.param) as served:
        yield served


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    async with page_of_chromium(tmp_path / "profile") as page:
        yield page


async def test_the_page_draws_the_dashboard_and_accepts_keys_without_a_click(page: Page, server: Served) -> None:
    await page.open(server.address)
    shown = await page.until("Quit")  # the footer with the keys
    assert "test accuracy" in shown
    assert re.search(r"cbp +2 running", shown)
    await asyncio.wait_for(_drawn(page), PATIENCE_S)
    await page.press("e")
    await page.until("seed 1")
    await page.press("?")
    await page.until("Everywhere")


async def test_writing_keys_do_nothing_in_a_read_only_page(page: Page, server: Served, runs_dir: Path) -> None:
    before = sorted(runs_dir.rglob("*"))
    await page.open(server.address)
    await page.until("Quit")
    await page.press("SRpPe")
    shown = await page.until("seed 1")  # the last key was handled, so the others were too
    assert not re.search("Stop|stop|Resume|figure|picture", shown)
    await page.press("?")
    assert "Stop the runs" not in await page.until("Everywhere")
    assert sorted(runs_dir.rglob("*")) == before


@pytest.mark.parametrize("server", [("--web-write",)], indirect=True, ids=["writing"])
async def test_a_writable_page_has_the_writing_keys(page: Page, server: Served) -> None:
    await page.open(server.address)
    await page.until("Quit")
    await page.press("S")
    await page.until("nothing to stop here")  # these runs train on another host


async def test_pages_of_other_sites_cannot_connect_even_with_the_token(page: Page, server: Served) -> None:
    url = f"ws://127.0.0.1:{server.port}/ws/{server.token}?width=80&height=24"
    async with TestServer(web.Application()) as other:
        await page.open(str(other.make_url("/")))
        assert await page.evaluate(CONNECT % url) == "refused"
        await page.open(server.address)
        assert await page.evaluate(CONNECT % url) == "open"


async def test_the_server_refuses_pages_and_connections_without_the_token(page: Page, server: Served) -> None:
    await page.open(f"{server.origin}/")
    assert "wrong or missing token" in await page.evaluate("document.body.innerText")
    assert await page.evaluate(CONNECT % f"ws://127.0.0.1:{server.port}/ws?width=80&height=24") == "refused"
    assert not psutil.Process(server.pid).children()


async def test_the_process_of_a_page_ends_with_it(page: Page, server: Served) -> None:
    await page.open(server.address)
    await page.until("Quit")
    assert psutil.Process(server.pid).children()
    await page.open("about:blank")
    await _until(lambda: not psutil.Process(server.pid).children(recursive=True))
    await page.open(server.address)  # and the server accepts the next page
    await page.until("Quit")


async def _drawn(page: Page) -> None:
    """Wait until a line in the colour of cbp is drawn."""
    while True:
        image = Image.open(io.BytesIO(await page.screenshot())).convert("RGB")
        colours = [colour for _, colour in image.getcolors(image.width * image.height) or []]
        if any(max(abs(a - b) for a, b in zip(colour, CBP_BLUE, strict=True)) < 24 for colour in colours):
            return
        await asyncio.sleep(POLL_S)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(POLL_S)
