"""The endpoints of the web pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from glob import escape
from time import perf_counter
from typing import Any
from urllib.parse import parse_qsl

from msgspec import Struct

from tokctl.model.states import STATES
from tokctl.report.page import prepare_report
from tokctl.server import parameters as par
from tokctl.server.authentication import NO_CREDENTIAL
from tokctl.server.cache import Headers
from tokctl.server.endpoint import Endpoint, Handler, Query, RawResponse, Response
from tokctl.server.http_errors import HTTPError
from tokctl.server.request import Request
from tokctl.server.services import Services
from tokctl.server.whole_reading import read_whole
from tokctl.services.debug import load_rules, resolve_thresholds
from tokctl.services.report import Report
from tokctl.store.protocol import Store
from tokctl.ui.instance_list import LISTS, OVERVIEW, PAGE_ROWS, read_sections
from tokctl.ui.rendering import HTML, PageRenderer, make_link
from tokctl.ui.reports import read_instance, read_process

ROOT = "/ui/"
PERMISSIONS = ("process",)
_LINKED = {"instance": ("id",), "process": ("id",), "./": ("show", "process", "status", "text", "offset")}
"""The pages that a login may lead to, with their parameters."""
_TITLES = {
    400: "Invalid request",
    403: "Not allowed",
    404: "Not found",
    405: "Not allowed",
    422: "Too large",
    429: "Too many attempts",
    503: "Not available",
}


class LoginForm(Struct, kw_only=True):
    """The secret of an API token, and the page to show."""

    token: str
    next: str = ""


class Pages:
    """The web pages. ``configured`` are the thresholds of the debug rules in the configuration file."""

    def __init__(self, configured: Mapping[str, Any]) -> None:
        """Load the templates. Raises UsageError: Jinja2 is not installed, or a threshold is invalid."""
        self.configured = configured
        self.thresholds = resolve_thresholds(load_rules(), {}, configured)
        self.renderer = PageRenderer()

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Return the endpoints, the most frequent ones first."""
        return (
            _page("", "The list of process instances.", self._show_list, parameters=_LIST_PARAMETERS),
            _page("instance", "A process instance.", self._show_instance, parameters=_ID),
            _page("process", "A process: its latest instances.", self._show_process, parameters=_ID),
            _page("login", "The login.", self._show_login, permissions=(), parameters=_NEXT),
            _page("login", "Log in.", self._login, "POST", permissions=(), body=LoginForm),
            _page("logout", "Log out.", self._logout, "POST", permissions=()),
            Endpoint(path="/ui", name="ui", text="The way to the pages.", schema="", is_page=True, handler=_redirect),
            _page("{rest:path}", "Any other page.", _find_nothing, permissions=()),
        )

    def render_error(self, error: HTTPError, request: Request) -> tuple[int, Headers, bytes]:
        """Return status, headers and HTML of an error response: the way to the login, or a message."""
        page, query = request.path.decode("latin-1").removeprefix(ROOT) or "./", request.query.decode("latin-1")
        target = error.details.get("next", f"{page}?{query}")
        status = error.status
        if error.reason == NO_CREDENTIAL:
            # Browsers send no SameSite=Strict cookie with a link on another site, but do when the page reloads itself.
            if request.headers.get(b"sec-fetch-site") == b"cross-site":
                status, (headers, html) = 200, self.renderer.render("continue", None, title="One moment")
            else:
                location = make_link("login", next=_check_target(target).removesuffix("./"))
                status, headers, html = 303, [(b"location", location.encode())], b""
        elif status == 401:
            headers, html = self._render_login(target, error.message)
        else:
            headers, html = self.renderer.render(
                "message",
                request.token,
                title=_TITLES.get(status, "Error"),
                message=error.message,
                request_id=request.request_id,
                retry_after=error.details.get("retry_after"),
            )
        return status, [(b"content-type", HTML), *headers], html

    def _render_login(self, target: str, message: str) -> tuple[Headers, bytes]:
        return self.renderer.render("login", None, title="Log in", message=message, next=_check_target(target))

    async def _show_login(self, _services: Services, query: Query) -> Response:
        return _to_response(self._render_login(query.values["next"] or "", ""))

    async def _login(self, services: Services, query: Query) -> Response:
        form: LoginForm = query.body
        authenticator, client = services.authenticator, query.use.address
        token, reason = await authenticator.verify_secret(form.token.strip().encode(), query.now, perf_counter())
        if token is None:
            error = authenticator.reject(reason, client)
            error.details["next"] = form.next
            raise error
        authenticator.get_caller(token, client).check_permission(PERMISSIONS)
        services.usage.record_use(token, *query.use)
        cookie = services.sessions.start(token, query.now, secure=query.is_secure)
        return _redirect_to(_check_target(form.next), cookie)

    @staticmethod
    async def _logout(services: Services, query: Query) -> Response:
        return _redirect_to("login", services.sessions.end(secure=query.is_secure))

    async def _show_list(self, services: Services, query: Query) -> Response:
        def make(store: Store) -> tuple[Headers, bytes]:
            sections = read_sections(store, query, self.thresholds)
            return self.renderer.render(
                "list",
                query.authenticated.token,
                title="Process instances",
                sections=sections,
                query=query.values,
                lists=[(OVERVIEW, "Problems first"), *LISTS.items()],
                statuses=[("", "any"), *((status, status) for status in STATES)],
                page_rows=PAGE_ROWS,
                now=query.now,
            )

        return await _read(services, query, make)

    async def _show_instance(self, services: Services, query: Query) -> Response:
        def make(store: Store) -> tuple[Headers, bytes]:
            report, process = read_instance(store, _get_id(query), query.now, self.configured)
            return self._render_report(report, query, process=process)

        return await _read(services, query, make)

    async def _show_process(self, services: Services, query: Query) -> Response:
        def make(store: Store) -> tuple[Headers, bytes]:
            process = _get_id(query)
            report, shown, total = read_process(store, process, query.now, self.configured)
            more = {"shown": shown, "total": total, "pattern": escape(process)} if shown < total else {}
            return self._render_report(report, query, title=f"Process {process}", **more)

        return await _read(services, query, make)

    def _render_report(self, report: Report, query: Query, **more: Any) -> tuple[Headers, bytes]:
        """Render a report; ``more`` are values of the template besides those of the report, or instead of them."""
        template, values, style, script = prepare_report(report, lambda one: make_link("instance", id=one))
        return self.renderer.render(template, query.authenticated.token, **values | more, style=style, script=script)


_LIST_PARAMETERS = par.table(
    par.choice("show", "The list to show; the overview has the first rows of each.", (OVERVIEW, *LISTS)),
    par.text("process", "Only processes whose id matches this pattern (* ? [a-z]).", minimum=0),
    par.choice("status", "Only instances with this status.", ("", *STATES)),
    par.text("text", "Only instances with this text in their business keys; also ids that begin with it.", minimum=0),
    par.number("offset", "Number of instances to skip.", default=0),
)


_NEXT = par.table(par.text("next", "The page to show after the login.", minimum=0))
_ID = par.table(par.text("id", "The id."))


def _page(
    name: str,
    text: str,
    handler: Handler,
    method: str = "GET",
    *,
    permissions: tuple[str, ...] = PERMISSIONS,
    parameters: Mapping[str, par.Parameter] = {},
    body: type[Struct] | None = None,
) -> Endpoint:
    return Endpoint(
        path=ROOT + name,
        method=method,
        name=f"ui {name}",
        text=text,
        schema="",
        permissions=permissions,
        is_page=True,
        parameters=parameters,
        body=body,
        form=body,
        handler=handler,
    )


def _to_response(page: tuple[Headers, bytes]) -> RawResponse:
    headers, html = page
    return RawResponse(html, HTML, headers)


def _redirect_to(target: str, *headers: tuple[bytes, bytes]) -> RawResponse:
    return RawResponse(b"", HTML, [(b"location", target.encode()), *headers], 303)


async def _redirect(_services: Services, _query: Query) -> Response:
    return _redirect_to("ui/")


async def _find_nothing(_services: Services, _query: Query) -> Response:
    raise HTTPError(404, "NOT_FOUND", "This page does not exist.")


def _check_target(target: str) -> str:
    """Return the relative link to one of the pages, made again from its parameters; that to the list for others."""
    page, _, query = target.partition("?")
    if page not in _LINKED:
        return "./"
    return make_link(page, **{name: value for name, value in parse_qsl(query) if name in _LINKED[page]})


def _get_id(query: Query) -> str:
    found: str | None = query.values["id"]
    if found is None:
        raise HTTPError(404, "NOT_FOUND", "The address has no id.")
    return found


async def _read(services: Services, query: Query, make: Callable[[Store], tuple[Headers, bytes]]) -> Response:
    actor = query.authenticated.actor
    return _to_response(await read_whole(services.readers, services.limits, (actor.kind, actor.id), make))
