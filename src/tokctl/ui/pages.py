"""The endpoints of the web pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from msgspec import Struct

from tokctl.model.states import STATES
from tokctl.server import parameters as par
from tokctl.server.authentication import NO_CREDENTIAL
from tokctl.server.cache import Headers
from tokctl.server.endpoint import Endpoint, Handler, Query, RawResponse, Response
from tokctl.server.http_errors import HTTPError
from tokctl.server.request import Request
from tokctl.server.services import Services
from tokctl.server.whole_reading import read_whole
from tokctl.services.debug import load_rules, resolve_thresholds
from tokctl.ui.instance_list import LISTS, OVERVIEW, PAGE_ROWS, read_sections
from tokctl.ui.rendering import HTML, PageRenderer, make_link

ROOT = "/ui/"
PERMISSIONS = ("process",)
_LINKED = {"instance": ("id",), "process": ("id",), "./": ("show", "process", "status", "text", "offset")}
"""The pages that a login may lead to, with their parameters."""
_TITLES = {
    400: "Invalid request",
    403: "Not allowed",
    404: "Not found",
    405: "Not allowed",
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
            _page("login", "The login.", self._show_login, permissions=()),
            _page("login", "Log in.", self._login, "POST", permissions=(), body=LoginForm),
            _page("logout", "Log out.", self._logout, "POST", permissions=()),
            Endpoint(path="/ui", name="ui", text="The way to the pages.", schema="", is_page=True, handler=_redirect),
            _page("{rest:path}", "Any other page.", _find_nothing, permissions=()),
        )

    def render_error(self, error: HTTPError, request: Request) -> tuple[Headers, bytes]:
        """Return headers and HTML of an error response: the login if it is required, else a message."""
        headers, html = self._render_error(error, request)
        return [(b"content-type", HTML), *headers], html

    def _render_error(self, error: HTTPError, request: Request) -> tuple[Headers, bytes]:
        page = request.path.decode("latin-1").removeprefix(ROOT)
        if error.status == 401:
            follows_link = request.headers.get(b"sec-fetch-site") == b"cross-site" and error.reason == NO_CREDENTIAL
            if follows_link and request.method == "GET":  # browsers send no SameSite=Strict cookie from other sites
                return self.renderer.render("continue", None, title="One moment")
            target = f"{page or './'}?{request.query.decode('latin-1')}"
            message = "" if error.reason == NO_CREDENTIAL else error.message
            return self._render_login(error.details.get("next", target), message)
        return self.renderer.render(
            "message",
            request.token,
            title=_TITLES.get(error.status, "Error"),
            message=error.message,
            request_id=request.request_id,
            retry_after=error.details.get("retry_after"),
        )

    def _render_login(self, target: str, message: str) -> tuple[Headers, bytes]:
        return self.renderer.render("login", None, title="Log in", message=message, next=_check_target(target))

    async def _show_login(self, _services: Services, _query: Query) -> Response:
        return _to_response(self._render_login("", ""))

    async def _login(self, services: Services, query: Query) -> Response:
        form: LoginForm = query.body
        authenticator, client = services.authenticator, query.use.address
        token, reason = authenticator.verify_secret(form.token.strip().encode(), query.now)
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
        token = query.authenticated.token

        def make(store: Any) -> tuple[Headers, bytes]:
            sections = read_sections(store, query, self.thresholds)
            return self.renderer.render(
                "list",
                token,
                title="Process instances",
                sections=sections,
                query=query.values,
                lists=[(OVERVIEW, "Problems first"), *LISTS.items()],
                statuses=[("", "any"), *((status, status) for status in STATES)],
                page_rows=PAGE_ROWS,
            )

        return _to_response(await read_whole(services.readers, services.limits, _get_owner(query), make))


_LIST_PARAMETERS = par.table(
    par.choice("show", "The list to show; the overview has the first rows of each.", (OVERVIEW, *LISTS)),
    par.text("process", "Only processes whose id matches this pattern (* ? [a-z]).", minimum=0),
    par.choice("status", "Only instances with this status.", ("", *STATES)),
    par.text("text", "Only instances with this text in their business keys; also ids that begin with it.", minimum=0),
    par.number("offset", "Number of instances to skip.", default=0),
)


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


def _get_owner(query: Query) -> tuple[str, str]:
    actor = query.authenticated.actor
    return actor.kind, actor.id
