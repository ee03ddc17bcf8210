"""Debian's Chromium without a window, driven through its DevTools protocol."""

import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import websocket

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--remote-debugging-port=0",
)  # fmt: skip
START_SECONDS = 30


class Page:
    """One tab, with everything that the browser reported about it."""

    def __init__(self, socket: websocket.WebSocket) -> None:
        self._socket = socket
        self._next_id = 0
        self.events: list[dict[str, Any]] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, *, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its result, keeping the events that come between.

        `session` is a frame with a process of its own; None is the page.
        """
        self._next_id += 1
        message = {"id": self._next_id, "method": method, "params": parameters}
        message |= {"sessionId": session} if session else {}
        self._socket.send(json.dumps(message))
        while (answer := self._receive()).get("id") != self._next_id:
            self.events.append(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def open(self, path: Path, *, width: int, dark: bool = False) -> None:
        """Show a file at a width in CSS pixels; narrow pages are phones."""
        self.resize(width, mobile=width < 800)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        self.call("Page.navigate", url=path.as_uri())
        self.wait_for("Page.loadEventFired")
        self.value("new Promise(done => requestAnimationFrame(() => setTimeout(done, 100)))")

    def resize(self, width: int, *, mobile: bool) -> None:
        """Set the width in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=844, deviceScaleFactor=1, mobile=mobile,
        )  # fmt: skip

    def value(self, expression: str, *, session: str | None = None) -> Any:
        """Return the value of an expression, awaited."""
        answer = self.call(
            "Runtime.evaluate",
            session=session,
            expression=expression,
            returnByValue=True,
            awaitPromise=True,
        )
        return answer["result"].get("value")

    def wait_for(self, method: str, *, session: str | None = None) -> dict[str, Any]:
        """Return the first event of this kind since the events were cleared."""
        while True:
            for event in self.events:
                if event.get("method") == method and event.get("sessionId") == session:
                    return event
            self.events.append(self._receive())

    @property
    def complaints(self) -> list[str]:
        """What a developer would see in the console."""
        kinds = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [json.dumps(event) for event in self.events if event["method"] in kinds]

    @property
    def requests(self) -> list[str]:
        """Every address that was asked for, embedded ones left out."""
        urls = [
            event["params"]["request"]["url"]
            for event in self.events
            if event["method"] == "Network.requestWillBeSent"
        ]
        return [url for url in urls if not url.startswith("data:")]

    def _receive(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self._socket.recv())
        return answer


@contextmanager
def chromium_page(*flags: str) -> Iterator[Page]:
    """Start Chromium with a profile of its own, perhaps with more flags, and give its one tab."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [str(shutil.which("chromium")), *FLAGS, *flags, f"--user-data-dir={profile}"]
        process = subprocess.Popen([*command, "about:blank"], stderr=subprocess.DEVNULL)
        try:
            port = _debugging_port(Path(profile) / "DevToolsActivePort")
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
                tabs = [tab for tab in json.load(answer) if tab["type"] == "page"]
            socket = websocket.create_connection(
                tabs[0]["webSocketDebuggerUrl"], suppress_origin=True, timeout=60
            )
            try:
                yield Page(socket)
            finally:
                socket.close()
        finally:
            process.terminate()
            process.wait(timeout=30)


def _debugging_port(path: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if path.exists() and (lines := path.read_text().split()):
            return lines[0]
        time.sleep(0.1)
    raise TimeoutError(f"chromium did not open its debugging port in {START_SECONDS} s")
