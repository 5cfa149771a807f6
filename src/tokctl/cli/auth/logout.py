"""``tokctl auth logout``."""

from __future__ import annotations

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.auth.common import find_database, open_keyring, open_store_keyring
from tokctl.documents.setup import RemovedCredential
from tokctl.errors import NotFoundError
from tokctl.render.result import Cell, Detail


def logout(app: App, registry: opt.Registry = False) -> Detail:
    """Remove the credential for a server, or for a store in PostgreSQL, from the keyring.

    The server still accepts the credential. If it may be leaked, revoke it on the server.
    """
    url = None if registry else find_database(app)
    keyring = open_keyring(app, registry=registry)[1] if url is None else open_store_keyring(url)
    if not keyring.remove():
        raise NotFoundError(f"the keyring has no credential for {keyring.account}.", "See 'tokctl auth status'.")
    return Detail(
        ident=keyring.account,
        document=RemovedCredential(server=keyring.account, removed=True),
        title=(Cell(f"Removed the credential for {keyring.account} from the keyring."),),
    )


app = command(
    logout,
    shared_options=(*opt.STORE, *opt.SERVER, *opt.OUTPUT),
    examples=("tokctl auth logout", "tokctl auth logout --server https://engine.example:27555"),
)
