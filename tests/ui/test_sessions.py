"""Sessions: who gets one, how long it lasts, and what an attacker may try."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from urllib.parse import urljoin

import pytest

from support.builders import TESTER
from support.raw_http import Raw
from support.running_server import API, ENDED, SMALL, make_secret, make_store, serving
from support.web_visits import COOKIE, LIST, LOGIN, SECURE_COOKIE, Visitor, make_cookie, visit
from tokctl.server.sessions import MAX_IDLE, MAX_SESSION, RENEWAL_INTERVAL
from tokctl.store import open_store

SECOND = timedelta(seconds=1)
INSTANCE = f"/ui/instance?id={SMALL}"
_number = count(1)


def grant(site, *scopes, **more) -> tuple[str, int]:
    """Return the secret and the id of another API token."""
    return make_secret(site.store, f"n{next(_number)}", *(scopes or ("process",)), **more)


def now() -> datetime:
    return datetime.now(UTC)


# --- the life of a session ---


def test_a_login_leads_to_the_pages_until_logout(any_visitor):
    visitor, site = any_visitor, any_visitor.served
    secret, number = grant(site)
    asked = visitor.get(INSTANCE)
    assert asked.status_code == 303
    assert asked.headers["location"] == f"login?next=instance%3Fid%3D{SMALL}"
    form = visitor.get(urljoin(INSTANCE, asked.headers["location"]))
    assert form.status_code == 200
    assert f'name="next" value="instance?id={SMALL}"' in form.text
    entered = visitor.log_in(secret, f"instance?id={SMALL}")
    assert (entered.status_code, entered.headers["location"]) == (303, f"instance?id={SMALL}")
    page = visitor.get(INSTANCE)
    assert page.status_code == 200
    assert SMALL in page.text
    left = visitor.post("/ui/logout")
    assert (left.status_code, left.headers["location"]) == (303, "login")
    assert visitor.cookie is None
    assert visitor.get(INSTANCE).status_code == 303
    line = site.log(page.headers["x-request-id"])[0]
    assert (line["token_id"], line["path"], line["status"]) == (number, INSTANCE, 200)
    assert not [line for line in site.lines if secret in line or page.headers.get("cookie", COOKIE) in line]


def test_the_cookie_is_for_the_pages_only_and_has_no_secret(visitor, site):
    secret, _ = grant(site)
    (header,) = visitor.log_in(secret).headers.get_list("set-cookie")
    value, *attributes = header.split("; ")
    assert value.startswith(f"{COOKIE}=")
    assert sorted(attributes) == ["HttpOnly", f"Max-Age={MAX_IDLE.total_seconds():.0f}", "SameSite=Strict"]
    assert secret.removeprefix("xvc_")[:8] not in header
    (kept,) = visitor.client.cookies.jar
    assert (kept.path, kept.path_specified) == ("/ui", False)
    answer = visitor.get(f"{API}/processes")
    assert "cookie" not in answer.request.headers
    assert answer.status_code == 401


@pytest.mark.parametrize("forwarded", ["https", "HTTPS", "https, http"])
def test_the_cookie_is_secure_behind_a_proxy_with_tls(visitor, site, forwarded):
    secret, _ = grant(site)
    outside = {"X-Forwarded-Proto": forwarded, "Origin": visitor.url.replace("http:", "https:")}
    header = visitor.log_in(secret, **outside).headers["set-cookie"]
    assert header.startswith(f"{SECURE_COOKIE}=")
    assert header.endswith("; Secure")
    value = header.partition(";")[0].partition("=")[2]
    as_browser = {"Cookie": f"{SECURE_COOKIE}={value}", "X-Forwarded-Proto": "https"}
    assert site.client.get(LIST, headers=as_browser).status_code == 200
    planted = as_browser | {"Cookie": f"{COOKIE}={value}"}  # by a page without TLS
    assert site.client.get(LIST, headers=planted).status_code == 303


def test_only_a_trusted_proxy_tells_of_tls(pages, pages_store):
    secret, _ = make_secret(pages_store, "direct", "process")
    answer = Visitor(pages).log_in(secret, **{"X-Forwarded-Proto": "https"})
    assert "Secure" not in answer.headers["set-cookie"]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda table, number: table.revoke(number, now(), by=TESTER), 401),
        (lambda table, number: table.update(number, {"disabled": True}, now(), by=TESTER), 401),
        (lambda table, number: table.update(number, {"expires_at": now() - SECOND}, now(), by=TESTER), 401),
        (lambda table, number: table.update(number, {"scopes": ("token",)}, now(), by=TESTER), 403),
        (lambda table, number: table.update(number, {"allowed_cidrs": ("192.0.2.0/24",)}, now(), by=TESTER), 403),
    ],
    ids=["revoked", "disabled", "expired", "scopes", "networks"],
)
def test_a_session_has_the_rights_of_its_api_token_at_each_request(any_visitor, change, status):
    visitor, site = any_visitor, any_visitor.served
    secret, number = grant(site)
    visitor.log_in(secret)
    assert visitor.get().status_code == 200
    with open_store(site.store, write=True) as store:
        change(store.api_tokens, number)
    answer = visitor.get()
    assert answer.status_code == status
    assert SMALL not in answer.text
    assert visitor.get(INSTANCE).status_code in {303, status}
    assert visitor.log_in(secret).status_code == status


def test_a_session_ends_without_requests_and_after_its_maximum(site):
    _, number = grant(site)
    for started, renewed, status in (
        (MAX_IDLE - 9 * SECOND, None, 200),
        (MAX_IDLE + SECOND, None, 401),
        (MAX_SESSION - 9 * SECOND, 9 * SECOND, 200),
        (MAX_SESSION + SECOND, 9 * SECOND, 401),
        (-1000 * SECOND, None, 401),
    ):
        times = [now() - age for age in (started, renewed) if age is not None]
        answer = visit(site, make_cookie(site.store, number, *times))
        assert answer.status_code == status, (started, renewed)
        if status == 401:
            assert "The session has ended." in answer.text
            assert "Max-Age=0" in answer.headers["set-cookie"]


def test_use_prolongs_a_session_but_not_beyond_its_maximum(site):
    _, number = grant(site)
    started = now() - MAX_SESSION / 2
    renewed = visit(site, make_cookie(site.store, number, started, now() - RENEWAL_INTERVAL - SECOND))
    value = renewed.headers["set-cookie"].partition(";")[0].partition("=")[2]
    assert value.split(".")[1] == str(int(started.timestamp()))
    assert int(value.split(".")[2]) >= int(now().timestamp()) - 60
    assert "set-cookie" not in visit(site, value).headers


def test_every_server_of_a_store_accepts_a_session(any_visitor):
    visitor, site = any_visitor, any_visitor.served
    secret, _ = grant(site)
    visitor.log_in(secret)
    with serving(site.store, "--ui", "--workers", "2") as other:
        assert {visit(other, visitor.cookie).status_code for _ in range(8)} == {200}


# --- attacks ---


def test_a_cookie_cannot_be_forged(site, tmp_path):
    _, number = grant(site)
    _, other = grant(site, "*")
    valid = make_cookie(site.store, number, now())
    token_id, started, renewed, mac = valid.split(".")
    assert visit(site, valid).status_code == 200
    elsewhere = make_store(tmp_path / "elsewhere.db")
    for _ in range(number):  # a store with the same ids
        make_secret(elsewhere, "same", "*")
    forged = {
        f"{other}.{started}.{renewed}.{mac}",
        f"{token_id}.{started}.{int(renewed) + 9}.{mac}",
        f"{token_id}.{int(started) + 9}.{renewed}.{mac}",
        f"0{token_id}.{started}.{renewed}.{mac}x",
        f"{token_id}.{started}.{renewed}.{mac[:-2]}",
        f"{token_id}.{started}.{renewed}.{'A' * 43}",
        f"{token_id}.{started}.{renewed}.",
        f"{'9' * 40}.{started}.{renewed}.{mac}",
        f"{token_id}.{'9' * 30}.{renewed}.{mac}",
        f"-{token_id}.{started}.{renewed}.{mac}",
        make_cookie(site.store, number, now(), pepper="another pepper that is long enough"),
        make_cookie(elsewhere, number, now()),
        f"{valid}; {COOKIE}={make_cookie(site.store, other, now())}",  # planted by a neighbouring site
        "x" * 5000,
        "%00",
    }
    for cookie in sorted(forged):
        answer = visit(site, cookie)
        assert answer.status_code == 401, cookie
        assert SMALL not in answer.text
        assert "Max-Age=0" in answer.headers["set-cookie"]
    assert visit(site, f"{valid}; {COOKIE}={valid}").status_code == 200


def test_no_session_can_be_fixed(visitor, site):
    """A cookie from before the login does not become that of the session."""
    secret, _ = grant(site)
    visitor.client.cookies.set(COOKIE, "1.2.3.4", path="/ui")
    visitor.log_in(secret)
    assert {one.value for one in visitor.client.cookies.jar} != {"1.2.3.4"}
    assert visit(site, "1.2.3.4").status_code == 401


FOREIGN = (
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "ftp://{host}"},
    {"Origin": "http://{host}.evil.example"},
    {"Origin": "http://{host}", "Sec-Fetch-Site": "cross-site"},
    {"Origin": "http://{host}", "Sec-Fetch-Site": "same-site"},
    {"Origin": "http://evil.example", "X-Forwarded-Host": "good.example"},
    {"Origin": "http://{host}", "X-Forwarded-Proto": "https"},
)


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_forms_of_other_sites_are_rejected(visitor, site, headers):
    secret, _ = grant(site)
    headers = {name: value.format(host=site.client.base_url.netloc.decode()) for name, value in headers.items()}
    refused = visitor.log_in(secret, **headers)
    assert refused.status_code == 403
    assert "set-cookie" not in refused.headers
    visitor.log_in(secret)
    assert visitor.post("/ui/logout", **headers).status_code == 403
    assert visitor.get().status_code == 200
    assert site.log(refused.headers["x-request-id"])[0]["reason"] == "cross-site"


def test_a_form_without_any_origin_is_rejected(site):
    secret, _ = grant(site)
    assert site.client.post(LOGIN, data={"token": secret}).status_code == 403


def test_own_forms_are_accepted_behind_a_proxy(visitor, site):
    """Of browsers with and without Fetch Metadata."""
    secret, _ = grant(site)
    for headers in (
        {"Origin": "https://good.example", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "https://good.example", "X-Forwarded-Host": "good.example"},
        {"Origin": "https://good.example", "Host": "good.example"},
    ):
        assert visitor.log_in(secret, **headers).status_code == 303


@pytest.mark.parametrize("path", [f"{API}/processes", f"{API}/processes/{SMALL}/tokens", "/metrics", "/api/api-tokens"])
def test_the_apis_accept_no_session(site, path):
    _, number = grant(site, "*", type_="full-access")
    cookie = make_cookie(site.store, number, now())
    assert visit(site, cookie).status_code == 200
    for headers in (
        {"Cookie": f"{COOKIE}={cookie}"},
        {"X-API-Key": cookie},
        {"Authorization": f"Bearer {cookie}"},
    ):
        assert site.client.get(path, headers=headers).status_code == 401


def test_the_pages_accept_no_other_credential(site):
    secret, _ = grant(site)
    for headers in ({"X-API-Key": secret}, {"Authorization": f"Bearer {secret}"}, {"Cookie": f"{COOKIE}={secret}"}):
        assert site.client.get(LIST, headers=headers).status_code in {303, 401}


TARGETS = {
    "": "./",
    "./?status=FAILED&offset=100": "./?status=FAILED&offset=100",
    "instance?id=a%2Fb": "instance?id=a%2Fb",
    "process?id=%D0%BA&x=y": "process?id=%D0%BA",
    "//evil.example": "./",
    "https://evil.example/instance?id=1": "./",
    "javascript:alert(1)": "./",
    "/\\evil.example": "./",
    "instance/../../evil?id=1": "./",
    "instance?id=1\r\nSet-Cookie: a=b": "instance?id=1%0D%0ASet-Cookie%3A+a%3Db",
    "login?next=login": "./",
    "logout": "./",
}


def test_a_login_leads_to_pages_of_this_server_only(visitor, site):
    secret, _ = grant(site)
    for target, location in TARGETS.items():
        answer = visitor.log_in(secret, target)
        assert answer.headers["location"] == location, target
        assert "a" not in answer.cookies
        shown = visitor.client.get(LOGIN, params={"next": target})
        assert f'name="next" value="{location.replace("&", "&amp;")}"' in shown.text


def test_failed_logins_are_throttled_like_other_failures(pages_store):
    secret, _ = make_secret(pages_store, "patient", "process")
    with serving(pages_store, "--ui") as served, (visitor := Visitor(served)).client:
        answers = [visitor.log_in(f"xvc_{'0' * 40}", "instance?id=x") for _ in range(12)]
        codes = [answer.status_code for answer in answers]
        assert codes == [401] * 10 + [429] * 2
        assert int(answers[-1].headers["retry-after"]) >= 1
        assert "Try again in" in answers[-1].text
        assert 'value="instance?id=x"' in answers[0].text
        assert served.get(f"{API}/processes", "xvc_wrong").status_code == 429
        assert visitor.log_in(secret).status_code == 303  # a valid one is never locked out
        forms = [line for line in served.log(answers[-1].headers["x-request-id"]) if line["path"] == LOGIN]
        assert forms[-1]["reason"] == "throttled: unknown"


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"next": "x"}, 400),
        ({}, 415),
        ({"token": ""}, 401),
        ({"token": "é" * 9000}, 401),
        ({"token": "a b"}, 401),
        ({"token": "\x00"}, 401),
        ({"token": "x" * 70_000}, 413),
    ],
    ids=str,
)
def test_odd_forms_are_errors(site, form, status):
    with (visitor := Visitor(site)).client:
        answer = visitor.post(LOGIN, form)
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html")
    assert "set-cookie" not in answer.headers


def test_api_tokens_that_may_not_read_processes_get_no_session(visitor, site):
    secret, _ = grant(site, "token")
    answer = visitor.log_in(secret)
    assert answer.status_code == 403
    assert "lacks the permission &#39;process&#39;" in answer.text
    assert visitor.cookie is None


def test_no_secret_in_an_address_is_logged(site):
    secret, _ = grant(site)
    answer = site.client.get(LOGIN, params={"token": secret})
    assert answer.status_code == 400
    answer = site.client.get("/ui/", params={"text": secret}, headers={"Cookie": f"{COOKIE}={secret}"})
    site.log(answer.headers["x-request-id"])
    assert not [line for line in site.lines if secret in line]


# --- methods and paths ---


def test_other_methods_are_refused(site):
    _, number = grant(site)
    headers = {"Cookie": f"{COOKIE}={make_cookie(site.store, number, now())}", "Sec-Fetch-Site": "same-origin"}
    for method, path, status in (
        ("HEAD", LIST, 200),
        ("HEAD", INSTANCE, 200),
        ("OPTIONS", LIST, 204),
        ("POST", INSTANCE, 403),  # the API token is read-only
        ("PUT", LOGIN, 405),
        ("GET", "/ui/logout", 405),
        ("TRACE", LOGIN, 405),
        ("DELETE", "/ui/nothing", 405),
    ):
        answer = site.client.request(method, path, headers=headers)
        assert answer.status_code == status, (method, path)
        assert method != "HEAD" or answer.content == b""


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/ui", 303),
        ("/ui/x", 404),
        ("/ui/instance/", 404),
        ("/ui/../ui/instance", 404),
        ("/ui/..%2fapi", 404),
        ("/ui/%2e%2e/health", 404),
        ("/ui/instance", 404),
        ("/ui/instance?id=no+such", 404),
        ("/ui/process?id=no+such", 404),
        ("/ui/process?id=", 400),
        ("/ui/instance?id=1&id=2", 400),
        ("/ui/?offset=-1", 400),
        ("/ui/?show=nothing", 400),
        ("/ui/?unknown=1", 400),
        ("/ui/instance?id=%ff", 400),
    ],
)
def test_odd_addresses_are_errors(site, path, status):
    _, number = grant(site)
    cookie = make_cookie(site.store, number, now())
    with Raw(site) as raw:
        raw.send(f"GET {path} HTTP/1.1\r\nHost: x\r\nCookie: {COOKIE}={cookie}\r\n\r\n".encode())
        top = raw.one().lower()
    assert int(top.split()[1]) == status
    assert b"content-type: text/html" in top


def test_every_response_restricts_the_browser(visitor, site):
    secret, _ = grant(site)
    answers = [visitor.get(LOGIN), visitor.get("/ui/x"), visitor.log_in("wrong")]
    visitor.log_in(secret)
    answers += [visitor.get(), visitor.get(INSTANCE), visitor.get("/ui/process?id=p"), visitor.get("/ui/?offset=x")]
    assert [answer.status_code for answer in answers] == [200, 404, 401, 200, 200, 200, 400]
    for answer in answers:
        policy = dict(part.strip().partition(" ")[::2] for part in answer.headers["content-security-policy"].split(";"))
        assert policy.pop("style-src").startswith("'sha256-")
        assert policy.pop("script-src", "'sha256-").startswith("'sha256-")
        assert policy == {
            "default-src": "'none'",
            "form-action": "'self'",
            "base-uri": "'none'",
            "frame-ancestors": "'none'",
        }
        for name, value in {
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
            "referrer-policy": "same-origin",
            "cross-origin-opener-policy": "same-origin",
            "cross-origin-resource-policy": "same-origin",
        }.items():
            assert answer.headers.get_list(name) == [value]


def test_a_link_on_another_site_leads_through_a_page_that_reloads_itself(site):
    """Browsers send no SameSite=Strict cookie with it."""
    answer = site.client.get(INSTANCE, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 200
    assert '<meta http-equiv="refresh" content="0">' in answer.text
    assert SMALL not in answer.text
    assert site.client.get(INSTANCE, headers={"Sec-Fetch-Site": "same-origin"}).status_code == 303


def test_pages_are_compressed_for_those_who_accept_it(visitor, site):
    secret, _ = grant(site)
    visitor.log_in(secret)
    packed, plain = (visitor.get(INSTANCE, **{"Accept-Encoding": accepted}) for accepted in ("gzip", "identity"))
    assert (packed.headers["content-encoding"], packed.headers["vary"]) == ("gzip", "Accept-Encoding")
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"]) / 2
    assert "content-encoding" not in plain.headers
    assert [SMALL in answer.text for answer in (packed, plain)] == [True, True]


def test_the_metrics_count_the_pages(site):
    _, number = grant(site)
    secret, _ = grant(site, "metrics")
    cookie = make_cookie(site.store, number, now())
    assert visit(site, cookie, f"/ui/instance?id={ENDED}").status_code == 200
    text = site.get("/metrics", secret).text
    assert 'tokctl_http_requests_total{method="GET",route="/ui/instance",status="200"}' in text
    assert f"id={ENDED}" not in text
