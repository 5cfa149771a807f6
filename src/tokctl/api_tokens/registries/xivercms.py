"""XiverCMS: the documented API and nothing more, and a login with email and password."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from tokctl.api_tokens.registries.capabilities import RegistryCapabilities
from tokctl.api_tokens.registries.documents import ApiTokenPage
from tokctl.api_tokens.registries.server_kind import (
    ServerKind,
    json_object,
    login_refused_error,
    no_login_error,
    no_token_error,
)
from tokctl.api_tokens.secrets import PREFIX
from tokctl.capabilities import Capability, Support
from tokctl.client import Client, ClientResponse
from tokctl.model.api_tokens import API_TOKEN_TYPES, EXPIRED, UNKNOWN, ApiToken

_YES = Capability(Support.YES)


class XiverCmsKind(ServerKind):
    """API tokens have no scopes, fields cannot be cleared, there is no audit and no introspection."""

    name = "xivercms"
    capabilities = RegistryCapabilities(
        title="XiverCMS, and other servers with the documented API",
        login=Capability(Support.YES, "the session lasts 24 hours"),
        token_access=Capability(Support.PARTLY, "those of type full-access, but for creating others"),
        restricted_types=Capability(Support.NO, "only read-only is; tokctl marks other types as unrestricted"),
        free_expiry=_YES,
        change_expiry=_YES,
        grace=_YES,
        unique_names=Capability(Support.NO, "tokctl refuses a second one, unless --allow-duplicate is given"),
        pages=_YES,
        masks=_YES,
        creators=_YES,
        last_use=_YES,
        introspection=Capability(Support.NO, "a check counts as a use"),
        owners=Capability(Support.PARTLY, "by the first characters, if only one API token has them"),
        expired_secrets=_YES,
    )

    def recognizes(self, answer: ClientResponse) -> bool:
        """Return whether an error is a text alone, or the list one without the permissions of tokctl's server."""
        document = json_object(answer)
        if answer.status in {401, 403}:
            return document.keys() == {"error"} and isinstance(document["error"], str)
        meta = document.get("meta")
        return answer.status == 200 and isinstance(meta, dict) and "pagination" in meta and "permissions" not in meta

    def matches(self, page: ApiTokenPage) -> bool:
        """Return whether the list does not name permissions, as only tokctl's server does."""
        return not isinstance(page.meta.get("permissions"), list)

    def complete(self, token: ApiToken) -> ApiToken:
        """Mark a type that restricts nothing, as only read-only does here."""
        return token if token.type in API_TOKEN_TYPES else replace(token, unrestricted=True)

    def log_in(self, client: Client, email: str, password: str) -> str:
        """Exchange a password for a JWT and return it."""
        document = {"email": email, "password": password}
        answer = client.post(("api", "auth", "login"), document, with_credential=False, accept=(400, 401, 403, 404))
        # A server that asks for a token even here has no login: it did not look at the password.
        wants_token = answer.status == 401 and answer.headers.get("www-authenticate", "").lower().startswith("bearer")
        if answer.status == 404 or wants_token:
            raise no_login_error(client)
        if answer.status >= 400:
            raise login_refused_error(client)
        token = json_object(answer).get("jwt")
        if not isinstance(token, str):
            raise no_token_error(client)
        return token

    def state_of_rejected(self, detail: str) -> str:
        """XiverCMS says "API token expired" of an expired secret."""
        return EXPIRED if "expired" in detail.lower() else UNKNOWN

    def explain_failure(self, status: int | None, credential: Callable[[], str | None]) -> str:
        """XiverCMS responds with 500 if an API token, not a user, creates an API token."""
        if status != 500 or not (credential() or "").startswith(PREFIX):
            return ""
        return (
            " XiverCMS sends this response when an API token creates another one. Log in as a user with "
            "'tokctl auth login --email EMAIL'."
        )


KIND = XiverCmsKind()
