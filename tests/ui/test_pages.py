"""The pages: what they list and show, of any data, behind proxies, and when the store cannot be read."""

from __future__ import annotations

import re
import ssl
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urljoin

import httpx
import pytest
import trustme

from support import report_pages
from support.builders import at, instance, raw, token, tokens
from support.report_pages import HOSTILE, Page
from support.reverse_proxy import reverse_proxy
from support.running_server import ENDED, LARGE, SMALL, WILD, Served, make_secret, multiply, refused, serving
from support.web_visits import LIST, LOGIN, SECURE_COOKIE, Visitor
from tokctl.store import open_store
from tokctl.ui.instance_list import FIRST_ROWS, PAGE_ROWS
from tokctl.ui.reports import MAX_BYTES, MAX_INSTANCES, MAX_TOKENS

TAGS = report_pages.TAGS | {"input", "form", "button", "label", "select", "option"}
ATTRIBUTES = report_pages.ATTRIBUTES | {
    *("method", "action", "type", "value", "for", "required", "autofocus", "autocomplete", "spellcheck", "hidden"),
    *("placeholder", "selected", "rel"),
}


class Listing(HTMLParser):
    """The lists on a page: their headings, the ids of their rows, and the links to other pages of the list."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.lists: dict[str, list[str]] = {}
        self.links: dict[str, list[str]] = {"prev": [], "next": []}
        self._heading = False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag == "h2":
            self._heading = True
        elif tag == "a" and (values.get("href") or "").startswith("instance?"):
            self.lists[[*self.lists][-1]].append(parse_qs(values["href"].partition("?")[2])["id"][0])
        elif tag == "a" and values.get("rel") in self.links:
            self.links[values["rel"]].append(values["href"])

    def handle_data(self, data):
        if self._heading:
            self.lists[data.strip()] = []
            self._heading = False


def listing(visitor: Visitor, **query: object) -> Listing:
    answer = visitor.get(f"{LIST}?{urlencode(query)}")
    assert answer.status_code == 200, answer.text[-2000:]
    return Listing(answer.text)


@pytest.fixture(scope="module")
def crowded(tmp_path_factory):
    """A reader of a store with 250 instances, one of which is too large to show, and hostile texts."""
    store = tmp_path_factory.mktemp("crowded") / "crowded.db"
    with open_store(str(store), write=True, create=True) as opened, opened.write() as batch:
        for n in range(250):
            failed = n % 10 == 0
            batch.put(
                instance(f"i{n}", process_id="order", started_at=at(n), business_key=f"key-{n}[x]"),
                [token(f"t{n}", f"i{n}", state="FAILED" if failed else "COMPLETED", completed_at=at(n + 1))],
            )
        batch.put(
            instance(HOSTILE, process_id=HOSTILE, business_key=HOSTILE),
            [
                token(
                    HOSTILE, HOSTILE, element_name=HOSTILE, state="FAILED", execution_context={"error_message": HOSTILE}
                ),
            ],
        )
        batch.put(instance("stuck", process_id="other", started_at=at(0)), tokens(1, "stuck", state="ACTIVE"))
        batch.put(instance(LARGE, process_id="large"), tokens(1000, LARGE))
        batch.put(
            instance("fat", process_id="fat", variables=raw("x" * 1_000_000)),
            tokens(8, "fat", variables={"scan": "x" * (MAX_BYTES // 8)}),
        )
        batch.put(instance("thin", process_id="fat"), tokens(1, "thin"))
    multiply(store, "big", MAX_TOKENS + 1000)
    multiply(store, "heavy", MAX_TOKENS - 1000)
    with open_store(str(store), write=True) as opened, opened.write() as batch:
        batch.put(instance("big", process_id="huge"), [])
    secret, _ = make_secret(store, HOSTILE[:200], "process")
    with serving(store, "--ui") as served, (visitor := Visitor(served)).client:
        visitor.log_in(secret)
        yield visitor


# --- the list ---


def test_instances_with_problems_come_first(reader):
    found = listing(reader)
    assert [*found.lists] == ["Failed", "Stuck", "All instances"]
    assert set(found.lists["Failed"]) == {LARGE, "ord-1002"}
    assert LARGE in found.lists["Stuck"]
    assert {SMALL, ENDED, LARGE} <= set(found.lists["All instances"])


def test_every_link_leads_to_its_page_for_any_id(reader):
    found = listing(reader, show="all")
    for name in WILD:
        assert name in found.lists["All instances"]
        page = reader.get("/ui/instance?" + urlencode({"id": name}))
        assert page.status_code == 200
        assert f"Instance {name}" in Page(page.text).text("h1")


def test_all_pages_of_a_list_have_all_instances_once(crowded):
    first = listing(crowded)
    assert [len(rows) for rows in first.lists.values()] == [FIRST_ROWS, 1, FIRST_ROWS]
    target, seen = first.links["next"][-1], []
    while target:
        page = Listing(crowded.get(urljoin(LIST, target)).text)
        (rows,) = page.lists.values()
        assert len(rows) <= PAGE_ROWS
        seen += rows
        assert len(seen) == len(set(seen))
        target = next(iter(page.links["next"]), None)
    assert len(seen) == 257
    assert listing(crowded, show="all", offset=PAGE_ROWS).links["prev"] == ["./?show=all"]


def test_filters(crowded):
    def ids(**query) -> list[list[str]]:
        return [*listing(crowded, **query).lists.values()]

    assert ids(show="failed", process="ord*") == [[f"i{n}" for n in range(240, -1, -10)]]
    assert ids(show="all", process="other") == [["stuck"]]
    assert ids(show="all", status="FAILED", process="order")[0][0] == "i240"
    assert ids(show="all", status="COMPLETED", text="key-7[x]") == [["i7"]]
    by_id, *_, by_key = ids(text="stu")
    assert (by_id, by_key) == (["stuck"], [])
    assert len(ids(text="i")[0]) == FIRST_ROWS
    assert ids(show="all", text="no such", process="", status="") == [[]]


# --- instances and processes ---


def test_the_pages_are_those_of_reports_with_links_between_them(reader):
    page = Page(reader.get("/ui/instance?id=ord-1002").text)
    assert "FAILED_TOKENS" in page.text()
    assert {"./", "process?id=order-processing"} <= set(page.values("href"))
    assert "from this server" in page.text()
    assert Path(reader.served.store).name not in page.text()
    process = Page(reader.get("/ui/process?id=order-processing").text)
    assert {"instance?id=ord-1001", "instance?id=ord-1002"} <= set(process.values("href"))


def test_what_is_too_large_for_a_page_is_refused(crowded):
    answer = crowded.get("/ui/instance?id=big")
    assert answer.status_code == 422
    assert f"at most {MAX_TOKENS:,} tokens, and the instance has {MAX_TOKENS + 1000:,}" in answer.text
    assert crowded.get("/ui/process?id=huge").status_code == 422
    answer = crowded.get("/ui/instance?id=fat")
    assert answer.status_code == 422
    assert "at most 32.0 MB of variables and other data" in answer.text
    page = Page(crowded.get("/ui/process?id=fat").text)
    assert "The latest 1 of 2 instances." in page.text("p")
    page = Page(crowded.get("/ui/process?id=order").text)
    assert f"The latest {MAX_INSTANCES} of 250 instances." in page.text("p")
    assert "./?show=all&process=order" in page.values("href")


def test_hostile_data_stays_text(crowded):
    hostile = urlencode({"id": HOSTILE})
    for path in (
        LIST,
        f"{LIST}?{urlencode({'text': HOSTILE, 'process': HOSTILE})}",
        f"/ui/instance?{hostile}",
        f"/ui/process?{hostile}",
        f"{LOGIN}?{urlencode({'next': HOSTILE})}",
        f"{LOGIN}?{urlencode({'next': f'instance?{hostile}'})}",
        f"/ui/?{urlencode({HOSTILE: HOSTILE})}",
        f"/ui/?{urlencode({'show': HOSTILE})}",
        f"/ui/instance?{urlencode({'id': HOSTILE + 'x'})}",
    ):
        answer = crowded.get(path)
        page = Page(answer.text)
        assert page.mismatches == []
        assert {tag for tag, _ in page.elements} <= TAGS, path
        assert {name for _, attributes in page.elements for name in attributes} <= ATTRIBUTES, path
        assert "49" not in page.text("h1")
        assert "\u202e" not in answer.text
        code = page.text("style", "script")
        assert "alert" not in code
        assert answer.headers["content-security-policy"].count("unsafe") == 0
        assert "referrer" not in answer.text  # a page without one sends forms without an origin


def test_heavy_pages_have_limits_and_delay_no_others(crowded, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("serve: {ui: true, limits: {long_answers: 1, queue_seconds: 0.05}}", encoding="utf-8")
    with serving(Path(crowded.served.store), env={"TOKCTL_CONFIG": str(config)}) as served:
        cookie = f"tokctl-session={crowded.cookie}"
        with ThreadPoolExecutor(1) as threads:
            heavy = threads.submit(Visitor(served).get, "/ui/instance?id=heavy", Cookie=cookie)
            found = []
            while not heavy.done():
                found.append(Visitor(served).get(Cookie=cookie))
        assert heavy.result().status_code == 200
        refused_ones = [answer for answer in found if answer.status_code == 503]
        assert refused_ones  # while the heavy page was being made
        assert refused_ones[0].headers["retry-after"] == "5"
        assert "Too many long responses are in progress. Try again in 5 seconds." in refused_ones[0].text
        assert Visitor(served).get(Cookie=cookie).status_code == 200


def test_a_page_that_takes_too_long_is_an_error(crowded, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("serve: {ui: true, limits: {answer_seconds: 0.05}}", encoding="utf-8")
    with serving(Path(crowded.served.store), env={"TOKCTL_CONFIG": str(config)}) as served:
        cookie = f"tokctl-session={crowded.cookie}"
        answer = Visitor(served).get("/ui/instance?id=heavy", Cookie=cookie)
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "30"
        assert "Timeout: the response took longer than 0.05 s." in answer.text
        assert Visitor(served).get("/ui/login", Cookie=cookie).status_code == 200


# --- where it is served ---


def test_the_pages_work_below_a_prefix(reader, pages, pages_store):
    secret, _ = make_secret(pages_store, "prefixed", "process")
    with reverse_proxy(pages.url, {"/tokctl": ""}) as proxy, (visitor := Visitor(pages, base_url=proxy.url)).client:
        asked = visitor.get("/tokctl/ui/instance?id=small", **{"Sec-Fetch-Site": "none"})
        login = urljoin("/tokctl/ui/instance", asked.headers["location"])
        assert login.startswith("/tokctl/ui/login?")
        assert urljoin("/tokctl/ui", visitor.get("/tokctl/ui").headers["location"]) == "/tokctl/ui/"
        entered = visitor.post("/tokctl/ui/login", {"token": secret}, **{"Sec-Fetch-Site": "same-origin"})
        (kept,) = visitor.client.cookies.jar
        assert kept.path == "/tokctl/ui"
        page = visitor.get(urljoin("/tokctl/ui/login", entered.headers["location"]))
        assert page.status_code == 200
        links = [*Page(page.text).values("href"), *Page(page.text).values("action")]
        assert not [link for link in links if link.startswith("/")]


def test_the_pages_work_with_tls(pages_store, tmp_path):
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    secret, _ = make_secret(pages_store, "encrypted", "process")
    options = ("--ui", "--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem"))
    with serving(pages_store, *options) as served, (visitor := Visitor(served, verify=context)).client:
        assert visitor.log_in(secret).headers["set-cookie"].startswith(f"{SECURE_COOKIE}=")
        assert visitor.get().status_code == 200


def test_the_pages_work_over_a_unix_socket(pages_store, tmp_path):
    path = tmp_path / "tokctl.sock"
    secret, _ = make_secret(pages_store, "local", "process")
    transport = httpx.HTTPTransport(uds=str(path))
    served = Served(pages_store, "--ui", "--unix", str(path), "--trusted-proxy", "unix", transport=transport)
    try:
        with (visitor := Visitor(served, transport=httpx.HTTPTransport(uds=str(path)))).client:
            secure = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.1"}
            value = visitor.log_in(secret, Origin="https://unix", **secure).headers["set-cookie"].partition(";")[0]
            page = visitor.get(Cookie=value, **secure)
            assert page.status_code == 200
            assert served.log(page.headers["x-request-id"])[0]["client"] == "192.0.2.1"
    finally:
        assert served.end() == 0


def test_without_the_option_there_are_no_pages(own_store):
    secret, _ = make_secret(own_store, "own", "*")
    with serving(own_store) as served:
        for path in ("/ui", LIST, LOGIN):
            answer = served.get(path, secret)
            assert answer.status_code == 404
            assert answer.json()["error"]["code"] == "NOT_FOUND"
        assert not re.search("/ui", served.client.get("/openapi.json").text)


def test_a_server_that_cannot_make_pages_does_not_start(own_store, tmp_path):
    (tmp_path / "jinja2.py").write_text("raise ImportError", encoding="utf-8")
    refused(
        own_store,
        "--ui",
        "--workers",
        2,
        env={"PYTHONPATH": str(tmp_path)},
        code=2,
        match="pip install 'tokctl[report]'",
    )
    config = tmp_path / "config.yaml"
    config.write_text("{serve: {ui: true}, debug: {long_running: never}}", encoding="utf-8")
    refused(
        own_store, "--workers", 2, env={"TOKCTL_CONFIG": str(config)}, code=2, match="section debug: invalid duration"
    )


def test_a_store_that_cannot_be_read_is_told_on_a_page(own_store):
    store, (secret, _) = own_store, make_secret(own_store, "own", "process")
    with serving(store, "--ui") as served, (visitor := Visitor(served)).client:
        visitor.log_in(secret)
        assert visitor.get().status_code == 200
        store.rename(store.with_name("away.db"))
        answer = visitor.get()
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert "The store cannot be read." in answer.text
        assert store.name not in answer.text
        store.with_name("away.db").rename(store)
        assert visitor.get().status_code == 200
