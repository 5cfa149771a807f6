"""Drives a real Chromium over WebDriver (https://www.w3.org/TR/webdriver2/), and checks pages with axe-core.

Scripts of tests run beside the page's own policy, which forbids all others.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from live.engine_programs import locked

PROGRAMS = ("chromium", "chromedriver")
OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-extensions"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
PATIENCE = 60.0  # s; for a machine that is busy
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""The key of the id of an element, as the standard has it."""
KEYS = {"Tab": "\ue004", "Enter": "\ue007", "Escape": "\ue00c", "Space": " ", "Shift": "\ue008", "End": "\ue010"}
KEYS |= {"Home": "\ue011", "Left": "\ue012", "Up": "\ue013", "Right": "\ue014", "Down": "\ue015"}
AXE = "axe-core@4.10.3"
AXE_SHA256 = "880970c081707360e64f34cea25ff91892f5bc95675b0776925b9709dd8a68bb"
AXE_TAGS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
"""What axe-core checks: WCAG 2.2 at level AA, and its own best practices."""


def require_programs(*programs: str) -> None:
    """Skip the test where a program is missing; fail where CI has to run it."""
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"not installed: {', '.join(missing)}")


class Browser:
    """A headless Chromium with one window; it remembers console messages and requests until they are read."""

    def __init__(self, driver: str) -> None:
        self._http = httpx.Client(base_url=driver, timeout=PATIENCE, trust_env=False)
        capabilities = {
            "browserName": "chrome",
            "pageLoadStrategy": "normal",
            "goog:chromeOptions": {"binary": shutil.which("chromium"), "args": list(OPTIONS)},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        made = self._send("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})
        self._session = f"/session/{made['sessionId']}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._send("DELETE", self._session)
        self._http.close()

    def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = self._http.request(method, path, json=body if method == "POST" else None)
        value = answer.json()["value"]
        assert answer.is_success, f"{value['error']}: {value['message'][:2000]}"
        return value

    def _post(self, path: str, **body: Any) -> Any:
        return self._send("POST", self._session + path, body)

    def open(self, url: str) -> None:
        """Open a page in a new document, and wait until it has loaded."""
        self._post("/url", url="about:blank")
        self.messages()
        self.requests()
        self._post("/url", url=url)

    @property
    def url(self) -> str:
        """The address of the page."""
        return self._send("GET", f"{self._session}/url")

    def run(self, script: str, *arguments: Any) -> Any:
        """Run the body of a function in the page, and return what it returns, or what its promise resolves to."""
        return self._post("/execute/sync", script=script, args=list(arguments))

    def find(self, selector: str) -> dict[str, str]:
        """Return the first element that a CSS selector finds."""
        return self._post("/element", using="css selector", value=selector)

    def click(self, selector: str, *, leaves: bool = False) -> None:
        """Click on an element as a user does: it has to be in reach.

        ``leaves`` waits until another document has loaded: Chromium submits forms a moment after the click.
        """
        element = self.find(selector)[ELEMENT]
        if leaves:
            self.run("window.isLeft = true")
        self._post(f"/element/{element}/click")
        if leaves:
            self.wait_until("!window.isLeft && document.readyState === 'complete'")

    def wait_until(self, condition: str) -> None:
        """Wait until an expression is true in the page, which handles events a moment after they occur."""
        deadline = time.monotonic() + PATIENCE
        while not self.run(f"return {condition}"):
            assert time.monotonic() < deadline, condition
            time.sleep(0.02)

    def fill(self, selector: str, text: str) -> None:
        """Type into a field, in place of what it has."""
        path = f"/element/{self.find(selector)[ELEMENT]}"
        self._post(f"{path}/clear")
        self._post(f"{path}/value", text=text)

    def press(self, *keys: str) -> None:
        """Press keys one after the other: those of KEYS, or characters; ``Shift+Tab`` holds the first."""
        actions = []
        for key in keys:
            held = [KEYS.get(one, one) for one in key.split("+")]
            actions += [{"type": "keyDown", "value": one} for one in held]
            actions += [{"type": "keyUp", "value": one} for one in reversed(held)]
        self._post("/actions", actions=[{"type": "key", "id": "keyboard", "actions": actions}])

    def text(self, selector: str = "body") -> str:
        """Return the text of an element as it is displayed."""
        return self.run("return document.querySelector(arguments[0]).innerText", selector)

    def set_size(self, width: int, height: int = 900) -> None:
        """Set the size of the page in CSS pixels, of a phone as well."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.devtools("Emulation.setDeviceMetricsOverride", **metrics)

    def prefer(self, *, dark: bool = False, media: str = "") -> None:
        """Show pages light or dark, or as they are printed (``print``)."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.devtools("Emulation.setEmulatedMedia", media=media, features=[scheme])

    def devtools(self, method: str, **params: Any) -> Any:
        """Send a command of the Chrome DevTools Protocol."""
        return self._post("/goog/cdp/execute", cmd=method, params=params)

    def screenshot(self, *, whole: bool = False) -> bytes:
        """Return the page as PNG: what is in the window, or the whole of it."""
        return b64decode(self.devtools("Page.captureScreenshot", captureBeyondViewport=whole)["data"])

    def print_pdf(self) -> bytes:
        """Print the page, and return the PDF."""
        return b64decode(self._post("/print", page={"width": 21.0, "height": 29.7}))

    def messages(self) -> list[str]:
        """Return what has been written to the console since the last call, errors of the policy included."""
        return [entry["message"] for entry in self._post("/se/log", type="browser")]

    def requests(self) -> list[str]:
        """Return the addresses that have been requested since the last call."""
        events = [json.loads(entry["message"])["message"] for entry in self._post("/se/log", type="performance")]
        sent = [one["params"]["request"]["url"] for one in events if one["method"] == "Network.requestWillBeSent"]
        return [url for url in sent if url != "about:blank"]

    def accessibility_problems(self) -> list[str]:
        """Return what axe-core finds on the page: the rule, and the elements that break it."""
        if not self.run("return 'axe' in window"):
            self.run(axe_core())
        check = "return axe.run(document, {runOnly: arguments[0], resultTypes: ['violations']})"
        found = self.run(f"{check}.then((all) => all.violations)", AXE_TAGS)
        return [f"{rule['id']}: {node['target']} {node['failureSummary']}" for rule in found for node in rule["nodes"]]


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Start Chromium and its driver, and end both. Skips the test where they are missing, except in CI."""
    require_programs(*PROGRAMS)
    with (
        tempfile.TemporaryDirectory(prefix="tokctl-browser-", ignore_cleanup_errors=True) as folder,
        subprocess.Popen(
            ["chromedriver", "--port=0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"TMPDIR": folder, "HOME": folder},
        ) as driver,
    ):
        try:
            assert driver.stdout is not None
            port = next(found[1] for line in driver.stdout if (found := re.search(r"successfully on port (\d+)", line)))
            with Browser(f"http://127.0.0.1:{port}") as browser:
                yield browser
        finally:
            driver.terminate()


def axe_core() -> str:
    """Return the script of axe-core."""
    return fetch_script(AXE, "axe.min.js", AXE_SHA256)


@cache
def fetch_script(package: str, name: str, sha256: str) -> str:
    """Return a file of an npm package: fetched once, kept in the cache, and compared with its checksum."""
    require_programs("npm")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tokctl-tests" / package
    cached = cache / Path(name).name
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache / "fetch.lock"):
        if not cached.exists():
            with tempfile.TemporaryDirectory(dir=cache) as folder:
                command = ("npm", "pack", "--loglevel=error", "--pack-destination", folder, package)
                subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=300)
                (archive,) = Path(folder).iterdir()
                with tarfile.open(archive) as packed:
                    script = packed.extractfile(f"package/{name}")
                    assert script is not None
                    content = script.read()
                part = Path(folder) / cached.name
                part.write_bytes(content)
                part.replace(cached)
    content = cached.read_bytes()
    assert hashlib.sha256(content).hexdigest() == sha256, f"{cached} is not that of {package}: delete it"
    return content.decode()


@pytest.fixture(scope="session")
def shared_browser() -> Iterator[Browser]:
    """One Chromium for all tests of a process."""
    with open_browser() as browser:
        yield browser


@pytest.fixture
def browser(shared_browser: Browser) -> Browser:
    """A Chromium with a desktop's window that prefers light pages, has no cookies, and nothing open."""
    shared_browser.devtools("Network.clearBrowserCookies")
    shared_browser.set_size(1200)
    shared_browser.prefer()
    shared_browser.open("about:blank")
    return shared_browser
