"""The pages in a real browser: what users do, and what pages of other sites try."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from support.browser import PATIENCE, Browser
from support.running_server import make_secret

INSTANCE = "/ui/instance?id=ord-1002"


@pytest.fixture
def secret(pages_store) -> str:
    """The secret of an API token for the pages."""
    return make_secret(pages_store, "on call", "process")[0]


def log_in(browser: Browser, url: str, secret: str) -> None:
    browser.open(url)
    browser.fill("#token", secret)
    browser.click("main button", leaves=True)


def wait_for(browser: Browser, text: str, selector: str = "h1") -> None:
    """Wait for a page that has this text in an element: keys and reloads start a navigation without waiting for it."""
    deadline = time.monotonic() + PATIENCE
    while text not in (found := browser.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector)):
        assert time.monotonic() < deadline, found
        time.sleep(0.02)


def check(browser: Browser, url: str) -> None:
    """Check that a page writes nothing to the console, requests from its server only, and is accessible."""
    assert browser.messages() == []
    assert {one.partition("/ui")[0] for one in browser.requests()} <= {url}
    assert browser.accessibility_problems() == []


def test_from_the_login_to_an_instance_and_out(browser, pages, secret):
    log_in(browser, pages.url + INSTANCE, "xvc_wrong")
    assert "A valid API token is required." in browser.text("[role=alert]")
    browser.messages()  # Chromium reports the 401
    check(browser, pages.url)
    browser.fill("#token", secret)
    browser.press("Enter")
    wait_for(browser, "Instance ord-1002")
    assert browser.url == pages.url + INSTANCE
    check(browser, pages.url)
    browser.click("a[href='./']", leaves=True)
    assert browser.text("h2").startswith("Failed")
    check(browser, pages.url)
    browser.fill("[name=process]", "order-*")
    browser.click("main button", leaves=True)
    assert "payments" not in browser.text("main")
    browser.click("a[href^='process?']", leaves=True)
    assert browser.url == f"{pages.url}/ui/process?id=order-processing"
    check(browser, pages.url)
    browser.click("nav button", leaves=True)
    assert browser.text("h1") == "Log in"
    check(browser, pages.url)
    browser.open(pages.url + INSTANCE)
    assert browser.text("h1") == "Log in"
    assert browser.run("return document.cookie") == ""


@pytest.mark.parametrize("dark", [False, True])
def test_the_pages_fit_a_phone_in_the_dark(browser, pages, secret, dark):
    browser.set_size(400, 800)
    browser.prefer(dark=dark)
    log_in(browser, pages.url + "/ui/", secret)
    for path in ("/ui/", INSTANCE, "/ui/process?id=order-processing", "/ui/login"):
        browser.open(pages.url + path)
        assert browser.run("return document.documentElement.scrollWidth <= innerWidth"), path
        assert browser.accessibility_problems() == [], path


def test_a_keyboard_is_enough(browser, pages, secret):
    browser.open(pages.url + "/ui/")
    browser.press(*secret, "Enter")  # the field has the focus
    wait_for(browser, "Process instances")
    browser.press("Tab")
    assert browser.run("return document.activeElement.textContent") == "Skip to the content"
    browser.press("Enter", "Tab")
    assert browser.run("return document.activeElement.name") == "text"
    browser.press(*"ord-1002", "Enter")
    wait_for(browser, "Ids that begin with ord-1002", "h2")


# --- pages of other sites ---


@contextmanager
def other_site(html: str) -> Iterator[str]:
    """Serve a page on localhost: for browsers another site than 127.0.0.1."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, *_: object) -> None:
            """Write nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://localhost:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def test_a_link_on_another_site_finds_the_session(browser, pages, secret):
    log_in(browser, pages.url + "/ui/", secret)
    with other_site(f"<a href='{pages.url}{INSTANCE}'>the incident</a>") as url:
        browser.open(url)
        browser.click("a")
        wait_for(browser, "Instance ord-1002")


def test_another_site_cannot_use_a_session(browser, pages, secret):
    """It can neither log users out or in, nor embed or read pages."""
    log_in(browser, pages.url + "/ui/", secret)
    form = f"<form method=post action='{pages.url}/ui/%s'><input name=token value='{secret}'><button>Go</button></form>"
    for action in ("logout", "login"):
        with other_site(form % action) as url:
            browser.open(url)
            browser.click("button")
            wait_for(browser, "another site", "[role=alert]")
    attack = f"""<iframe src='{pages.url}/ui/'></iframe><p></p><script>
        fetch('{pages.url}/ui/', {{credentials: 'include'}}).then((got) => got.text(), () => 'nothing')
            .then((text) => {{ document.querySelector('p').textContent = text; }});
        </script>"""
    with other_site(attack) as url:
        browser.open(url)
        wait_for(browser, "nothing", "p")
        assert any("frame-ancestors" in one for one in browser.messages())
    browser.open(pages.url + "/ui/")
    assert browser.text("h1") == "Process instances"
