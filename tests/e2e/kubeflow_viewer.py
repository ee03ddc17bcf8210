"""Kubeflow's viewer of HTML artifacts, rebuilt around one page, with no network.

As in github.com/kubeflow/pipelines, frontend/src/components/viewers/HTMLViewer.tsx: an iframe with
sandbox="allow-scripts" and nothing more, so scripts run in an origin of their own, without storage
and without the page around them; the HTML is put into `srcdoc` by a script. In the run's side panel
the iframe is as wide as an iframe without a width, 300 pixels; popped out, most of the window.

The browser's only way out is a proxy that knows the viewer's page, refuses all else and keeps what
was asked for.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from e2e.headless_chromium import Page, chromium_page

SANDBOX = "allow-scripts"
NARROW, WIDE = 300, 1000
BORDER = 2  # one pixel on each side of the iframe
LOADED = """new Promise(done => document.readyState === "complete"
  ? done() : addEventListener("load", done))"""
OWN_HOSTS = (".google.com", ".googleapis.com")  # what the browser asks for by itself
UI_ADDRESS = "http://kubeflow.example/_/pipeline/"
UI = """<!doctype html><html><link rel="icon" href="data:,"><body style="margin:0">
<iframe sandbox="SANDBOX" src="about:blank"
  style="box-sizing:border-box;border:1px solid #ccc;width:100%;height:600px"></iframe>
<script>document.querySelector("iframe").srcdoc = CONTENT;</script></body></html>"""


class Viewer:
    """Shows one HTML page at a time; `asked` holds every address that the browser asked for."""

    def __init__(self, page: Page, proxy: "Proxy") -> None:
        self.page = page
        self.asked = proxy.asked
        self._proxy = proxy
        self._session: str | None = None
        attach = {"autoAttach": True, "waitForDebuggerOnStart": True, "flatten": True}
        page.call("Target.setAutoAttach", **attach)

    def show(self, html: str, *, width: int) -> None:
        """Show a page in an iframe of a width."""
        content = json.dumps(html).replace("</", "<\\/").replace("<!--", "<\\!--")
        ui = UI.replace("SANDBOX", SANDBOX).replace("CONTENT", content)
        self._proxy.ui = ui.encode()
        self.asked.clear()
        self.page.resize(width, mobile=False)
        self.page.events.clear()
        self.page.call("Page.navigate", url=UI_ADDRESS)
        attached = self.page.wait_for("Target.attachedToTarget")
        self._session = attached["params"]["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.page.call(f"{domain}.enable", session=self._session)
        self.page.call("Runtime.runIfWaitingForDebugger", session=self._session)
        self.value(LOADED)  # its event may have passed before it could be heard
        self.settle()

    def value(self, expression: str) -> Any:
        """Return the value of an expression inside the iframe."""
        return self.page.value(expression, session=self._session)

    def settle(self) -> None:
        """Wait a moment, so that errors of what was begun have been told."""
        self.value("new Promise(done => setTimeout(done, 60))")


class Proxy(ThreadingHTTPServer):
    """Answers for the viewer's address alone."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.asked: list[str] = []
        self.ui = b""


class _Answer(BaseHTTPRequestHandler):
    server: Proxy

    def do_GET(self) -> None:
        host = urlsplit(self.path if "//" in self.path else f"//{self.path}").hostname
        if not str(host).endswith(OWN_HOSTS):
            self.server.asked.append(self.path)
        body = self.server.ui if self.path == UI_ADDRESS else b""
        self.send_response(200 if body else 403)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_CONNECT = do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def kubeflow_viewer() -> Iterator[Viewer]:
    """Start a browser that shows artifacts as Kubeflow does."""
    with Proxy() as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        address = f"--proxy-server=127.0.0.1:{proxy.server_port}"
        try:
            with chromium_page(address, "--proxy-bypass-list=<-loopback>") as page:
                yield Viewer(page, proxy)
        finally:
            proxy.shutdown()
