"""A JupyterLab server and a headless Chromium that drives it, each with folders of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TOKEN = "browsing"
# Every cell stays in the page while it is scrolled, and nothing is asked of other hosts.
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"checkForUpdates": False, "fetchNews": "false"},
}

# The badges at the top of every notebook are pictures of other hosts, on purpose; here they get an empty one.
BADGES = ("https://colab.research.google.com/assets/colab-badge.svg", "https://mybinder.org/badge_logo.svg")
EMPTY = '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>'

# Cells run only once the kernel's session is connected; a command sent before is dropped without a word.
READY = """async () => {
    const session = window.jupyterapp.shell.currentWidget.sessionContext;
    await session.ready; await session.session.kernel.info;
}"""
RUN = """async ([command, cell]) => {
    const notebook = window.jupyterapp.shell.currentWidget.content;
    notebook.activeCellIndex = cell;
    await window.jupyterapp.commands.execute(command);
}"""
# Times are taken inside the page: from the move of a control to the end of its work, and to the frame that shows it.
STEPS = """() => {
    window.work = []; window.painted = [];
    document.addEventListener('input', () => {
        const start = window.start = performance.now(), channel = new MessageChannel();
        channel.port1.onmessage = () => window.painted.push(performance.now() - start);
        requestAnimationFrame(() => channel.port2.postMessage(0));
    }, true);
    document.addEventListener('input', () => window.work.push(performance.now() - window.start));
}"""


@contextmanager
def lab(folder: Path, theme: str = "JupyterLab Light"):
    """Start JupyterLab on `folder`; gives its address, and ends the server by its own process id."""
    own = folder / ".lab"
    for name, values in (SETTINGS | {"apputils-extension/themes": {"theme": theme}}).items():
        path = own / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    port = free_port()
    folders = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_RUNTIME_DIR": "runtime", "IPYTHONDIR": "ipython"}
    folders |= {"JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces"}
    environment = os.environ | {name: str(own / place) for name, place in folders.items()}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"]
    command += [f"--IdentityProvider.token={TOKEN}", "--expose-app-in-browser", "--LabApp.news_url=None"]
    with (own / "server.log").open("w") as log:
        server = subprocess.Popen(
            [*command, f"--ServerApp.root_dir={folder}"], env=environment, stdout=log, stderr=log, cwd=folder
        )
        try:
            wait_for(f"http://127.0.0.1:{port}/api?token={TOKEN}", server)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            try:
                server.wait(15)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(address: str, server: subprocess.Popen, limit: float = 240) -> None:
    """Wait until the server answers."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        if server.poll() is not None:
            raise RuntimeError(f"JupyterLab exited with {server.returncode}")
        try:
            urllib.request.urlopen(address, timeout=2).close()
            return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not answer within {limit:g} s")


@contextmanager
def browser():
    """A headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        try:
            yield chromium
        finally:
            chromium.close()


class Watched:
    """A page with everything that went wrong on it: script errors, console errors, requests to other hosts."""

    def __init__(self, chromium, width: int = 1200, height: int = 900) -> None:
        self.page = chromium.new_page(viewport={"width": width, "height": height})
        self.errors: list[str] = []
        self.outside: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)[:300]))
        self.page.on("console", self._on_console)
        self.page.on("request", self._on_request)
        for badge in BADGES:
            self.page.route(badge, lambda route: route.fulfill(content_type="image/svg+xml", body=EMPTY))

    def _on_console(self, message) -> None:
        if message.type == "error":
            self.errors.append(message.text[:300])

    def _on_request(self, request) -> None:
        own = ("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:", "file:", "about:")
        if not request.url.startswith(own + BADGES):
            self.outside.append(request.url[:200])

    def open_notebook(self, address: str, name: str) -> None:
        """Open a notebook in JupyterLab and wait until its kernel answers."""
        self.page.goto(f"{address}/lab/tree/{name}?token={TOKEN}&reset", wait_until="domcontentloaded")
        self.page.wait_for_selector(".jp-NotebookPanel .jp-Notebook .jp-Cell", timeout=90_000)
        self.page.wait_for_selector(
            ".jp-Notebook-ExecutionIndicator[data-status=idle]", timeout=90_000, state="attached"
        )
        self.page.evaluate(READY)

    def run(self, command: str, cell: int) -> None:
        """Execute one of JupyterLab's notebook commands with `cell` active."""
        self.page.evaluate(RUN, [f"notebook:{command}", cell])


# A page of HTML, as far as tests look at it.

VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """Collect ids, links and figure texts, and check that tags close in order."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.open, self.svgs, self.outside = [], [], [], []
        self.links, self.captions, self.headings = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.ids += [values["id"]] if "id" in values else []
        self.svgs += [values] if tag == "svg" else []
        self.links += [values["href"][1:]] if tag == "a" and values["href"].startswith("#") else []
        for name in ("src", "href", "xlink:href"):
            if name in values and not values[name].startswith("#"):
                self.outside.append(values[name])
        if tag == "figcaption":
            self.captions.append("")
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_data(self, text):
        if "figcaption" in self.open:
            self.captions[-1] += text

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
