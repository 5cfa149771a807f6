"""XiverCMS: the documented API and nothing more."""

from __future__ import annotations

from collections.abc import Callable

from tokctl.api_tokens.registries.documents import ApiTokenPage
from tokctl.api_tokens.registries.server_kind import ServerKind
from tokctl.api_tokens.secrets import PREFIX


class XiverCmsKind(ServerKind):
    """API tokens have no scopes, fields cannot be cleared, there is no audit and no introspection."""

    def detect(self, page: ApiTokenPage) -> bool:
        """Return whether the list does not name permissions, as only tokctl's server does."""
        return not isinstance(page.meta.get("permissions"), list)

    def explain_failure(self, status: int | None, credential: Callable[[], str | None]) -> str:
        """XiverCMS responds with 500 if an API token, not a user, creates an API token."""
        if status != 500 or not (credential() or "").startswith(PREFIX):
            return ""
        return (
            " XiverCMS sends this response when an API token creates another one. Log in as a user with "
            "'tokctl auth login --email EMAIL'."
        )


KIND = XiverCmsKind()
