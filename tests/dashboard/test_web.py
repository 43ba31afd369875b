"""`lop watch --web`: a real server, its pages and websockets, with valid and invalid requests."""

import asyncio
import re
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import psutil
import pytest
from textual_serve.app_service import AppService
from textual_serve.download_manager import DownloadManager
from typer.testing import CliRunner

from lop_engine.errors import UserError
from lop_tui import cli
from lop_tui.dashboard import web
from lop_tui.dashboard.app import Dashboard
from lop_tui.dashboard.dialogs import Question
from lop_tui.dashboard.keys import WRITING
from tests.dashboard.conftest import FAR_FUTURE, app_showing, first_frame, read, settled
from tests.dashboard.serving import PATIENCE_S, Served, serving
from tests.helpers import make_run

ESCAPE = re.compile(r"\x1b(\[[^a-zA-Z]*[a-zA-Z]|\][^\x07]*\x07|.)")


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    for seed in range(2):
        make_run(tmp_path, "cbp", seed, state="running", tasks_done=20, heartbeat_at=FAR_FUTURE)
    return tmp_path


@pytest.fixture(params=[()], ids=["read-only"])
def server(runs_dir: Path, request: pytest.FixtureRequest) -> Iterator[Served]:
    with serving(runs_dir, *request.param) as served:
        yield served


class Page:
    """A client that uses the websocket as a browser does."""

    def __init__(self, connection: aiohttp.ClientWebSocketResponse) -> None:
        self.connection, self.output = connection, ""

    async def until(self, text: str) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while text not in ESCAPE.sub("", self.output):
                message = await self.connection.receive()
                assert message.type is aiohttp.WSMsgType.BINARY, message
                self.output += message.data.decode("utf-8", "replace")

    async def press(self, keys: str) -> None:
        await self.connection.send_json(["stdin", keys])


@asynccontextmanager
async def opened(server: Served, origin: str | None) -> AsyncIterator[Page]:
    headers = {"Origin": origin} if origin else {}
    url = f"{server.origin}/ws/{server.token}?width=120&height=70"
    async with aiohttp.ClientSession() as session, session.ws_connect(url, headers=headers) as connection:
        page = Page(connection)
        await page.until("cbp")
        await connection.send_json(["focus"])
        yield page


async def test_the_server_answers_only_requests_for_the_loopback_interface(server: Served) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.get(server.address) as answer:
            page = await answer.text()
            assert answer.status == 200
            assert f'"ws://127.0.0.1:{server.port}/ws/{server.token}"' in page
            assert "https://" not in page, "loads from other servers"
            assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        async with session.get(server.address, headers={"Host": "localhost:9000"}) as answer:  # through an SSH tunnel
            assert "ws://localhost:9000/ws/" in await answer.text()
        for host in (
            "evil.example",
            f"evil.example:{server.port}",
            "127.0.0.1.evil.example",
            "",
            "[:x",
            "192.168.1.5",
        ):
            for path in ("/?token=", "/ws/", "/static/js/textual.js?token=", "/download/key?token="):
                headers = {"Host": host, "Origin": server.origin}
                async with session.get(f"{server.origin}{path}{server.token}", headers=headers) as answer:
                    assert answer.status in (400, 403)
        async with session.get(f"{server.origin}/static/js/textual.js") as answer:
            assert answer.status == 200
        async with session.get(f"{server.origin}/static/") as answer:
            assert answer.status == 404
    with pytest.raises(OSError, match="refused"):  # another address of this machine
        socket.create_connection(("127.0.0.2", server.port), 5)


@pytest.mark.parametrize("server", [(), ("--web-write",)], indirect=True, ids=["read-only", "writing"])
async def test_requests_without_the_token_are_refused(server: Served) -> None:
    """Every user of the machine can reach the port, but only those with the printed address have the token."""
    origin, token = server.origin, server.token
    paths = [
        "/",
        "/?token=",
        f"/?token={token[:-1]}",
        f"/?token={token}x",
        "/?token=%ff%00",
        f"/?t={token}",
        f"/{token}",
    ]
    paths += ["/ws", "/ws/", "/ws?width=120", "/ws?token=", f"/ws/{token[:-1]}", f"/ws/{token[::-1]}?token={token}"]
    async with aiohttp.ClientSession(headers={"Origin": origin}) as session:
        for path in paths:
            async with session.get(f"{origin}{path}") as answer:
                assert answer.status in (403, 404), path
                assert token not in await answer.text(), path
        for path in ("/ws", "/ws/wrong", f"/ws/{token[:-1]}"):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
                await session.ws_connect(f"{origin}{path}?width=120&height=70")
            assert refusal.value.status == 403
        async with session.get(f"{origin}/") as answer:
            assert "open the address that lop watch --web printed" in await answer.text()


def test_each_server_has_its_own_token() -> None:
    first, second = (web.DashboardServer("true", web.HOST, 1, title="lop watch") for _ in range(2))
    assert first.address != second.address


async def test_a_page_shows_the_dashboard_and_cannot_write(server: Served, runs_dir: Path) -> None:
    before = sorted(runs_dir.rglob("*"))
    async with opened(server, server.origin) as page:
        await page.until("Quit")
        page.output = ""
        await page.press("SRpP?")
        await page.until("Everywhere")
        shown = ESCAPE.sub("", page.output)
        assert "A line for each seed" in shown
        assert "Stop the runs" not in shown
        assert "Resume or retry" not in shown
        assert "nothing to" not in shown
    assert sorted(runs_dir.rglob("*")) == before


@pytest.mark.parametrize("server", [("--web-write",)], indirect=True, ids=["writing"])
async def test_a_writable_page_asks_before_it_stops_runs(server: Served) -> None:
    async with opened(server, server.origin) as page:
        await page.until("Quit")
        await page.press("S")
        await page.until("nothing to stop here")  # these runs train on another host


MESSAGES = {
    "not JSON": "{",
    "another shape": '["stdin", 1]',
    "a huge terminal": '["resize", {"width": 100000, "height": 100000}]',
    "deeply nested": "[" * 10**6,
    "binary": b"\x00",
    "too large": "x" * (5 * 2**20),
}


async def test_an_invalid_message_closes_only_its_page_and_logs_one_line(server: Served) -> None:
    url = f"{server.origin}/ws/{server.token}?width=80&height=24"
    async with opened(server, server.origin) as page, aiohttp.ClientSession() as session:
        for what, message in MESSAGES.items():
            async with session.ws_connect(url, headers={"Origin": server.origin}) as connection:
                with suppress(ConnectionError):  # the server may close it before everything is sent
                    await (connection.send_bytes if isinstance(message, bytes) else connection.send_str)(message)
                async with asyncio.timeout(PATIENCE_S):
                    while not connection.closed:
                        await connection.receive()
            assert server.process.stdout
            line = await asyncio.to_thread(server.process.stdout.readline)
            assert line == "lop watch: closed a page that sent an invalid message\n", what
        await page.connection.send_json(["of a later version"])
        page.output = ""
        await page.press("?")
        await page.until("Everywhere")


async def test_a_page_closed_before_its_dashboard_started_leaves_no_process() -> None:
    """This happens if the first message of a connection is invalid."""

    async def ignore(*_: object) -> None:
        pass

    service = AppService(
        "exec sleep 60", write_bytes=ignore, write_str=ignore, close=ignore, download_manager=DownloadManager()
    )
    await service.start(80, 24)
    async with asyncio.timeout(PATIENCE_S):
        await web.end_dashboard(service)
        await service.stop()  # the server stops it a second time
    assert service._process is not None
    assert service._process.returncode is not None


@pytest.mark.parametrize("size", ["width=1000000&height=1000000", "width=0&height=24", "width=80&height=-5"])
async def test_a_page_without_a_possible_size_is_refused(server: Served, size: str) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
            await session.ws_connect(f"{server.origin}/ws/{server.token}?{size}", headers={"Origin": server.origin})
        assert refusal.value.status == 400


@pytest.mark.parametrize(
    ("text", "is_valid"),
    [
        ('["stdin", "q"]', True),
        ('["focus"]', True),
        ('["ping", "1"]', True),
        ('["resize", {"width": 200, "height": 60}]', True),
        ('["of a later version", 1]', True),
        ("", False),
        ("[]", False),
        ("7", False),
        ('"stdin"', False),
        ('{"0": "stdin"}', False),
        ('[["stdin"]]', False),
        ('["stdin"]', False),
        ('["stdin", null]', False),
        ('["stdin", "q", "q"]', False),
        ('["resize", {"width": 200}]', False),
        ('["resize", {"width": "200", "height": 60}]', False),
        ('["resize", {"width": 2.5, "height": 60}]', False),
        ('["resize", {"width": 0, "height": 60}]', False),
        ('["resize", [200, 60]]', False),
        (f'["resize", {{"width": {"9" * 5000}, "height": 60}}]', False),
    ],
)
def test_messages_of_pages_are_validated(text: str, is_valid: bool) -> None:
    message = aiohttp.WSMessage(aiohttp.WSMsgType.TEXT, text, None)
    assert (web.read_message(message) is not None) is is_valid


async def test_the_process_of_a_page_ends_if_the_server_is_killed(runs_dir: Path) -> None:
    with serving(runs_dir) as server:
        async with opened(server, server.origin):
            children = psutil.Process(server.pid).children(recursive=True)
            assert children
            server.process.kill()
            _, left = psutil.wait_procs(children, PATIENCE_S)
            assert not left


async def test_other_sites_cannot_open_the_websocket(server: Served) -> None:
    port = server.port
    refused = [
        None,
        "null",
        "http://evil.example",
        f"http://evil.example:{port}",
        f"https://127.0.0.1:{port}",
        f"http://127.0.0.1.evil.example:{port}",
        "http://127.0.0.1:1",
        "http://localhost",
        f"http://127.0.0.1:{port}@evil.example",
        "http://[",
    ]
    for origin in refused:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
            async with opened(server, origin):
                pass
        assert refusal.value.status == 403
    async with opened(server, f"http://localhost:{port}"):
        pass


async def test_writing_keys_are_disabled_and_hidden_in_a_read_only_page(runs_dir: Path) -> None:
    app = app_showing(read(runs_dir), writes=False)
    async with app.run_test(size=(120, 40)) as pilot:
        await first_frame(pilot)
        await settled(pilot)
        for key in ("S", "R", "p", "P", "ctrl+z"):
            await pilot.press(key)
            assert not isinstance(app.screen, Question)
        assert not any(app.check_action(action, ()) for action in WRITING)
        words = " ".join(text for _, keys in app.key_table() for text in keys.values())
        assert not re.search("Stop|Resume|file|shell", words)
        titles = [command.title for command in app.get_system_commands(app.screen)]
        assert "Screenshot" not in titles
        assert "Stop runs" not in titles
    assert not list(Path().glob("lop-watch-*.svg"))
    writing = " ".join(text for _, keys in Dashboard(lambda: read(runs_dir)).key_table() for text in keys.values())
    assert "Stop the runs" in writing


def test_a_port_in_use_and_a_missing_extra_are_reported(runs_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with web.listen(0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"port {port} of 127\.0\.0\.1: .*in use; choose another with --web-port"):
            web.listen(port)
    monkeypatch.setitem(sys.modules, "lop_tui.dashboard.web", None)
    answer = CliRunner().invoke(cli.app, ["watch", str(runs_dir), "--web"])
    assert "--web needs textual-serve; install it: " in str(answer.exception)


@pytest.mark.parametrize("more", [["--once"], ["--json"], ["--once", "--metric", "test_accuracy"]])
def test_options_that_exclude_each_other_are_refused(runs_dir: Path, more: list[str]) -> None:
    answer = CliRunner().invoke(cli.app, ["watch", str(runs_dir), "--web", *more])
    assert "leave out --once, --json and --metric" in str(answer.exception)
    answer = CliRunner().invoke(cli.app, ["watch", str(runs_dir), "--web-write"])
    assert "--web-write applies only to --web" in str(answer.exception)
