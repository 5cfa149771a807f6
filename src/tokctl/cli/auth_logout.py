"""``tokctl auth logout``."""

from __future__ import annotations

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.authorising import keyring_of, server_of
from tokctl.errors import NotFoundError
from tokctl.render.result import Cell, Detail


def logout(app: App, registry: opt.Registry = False) -> Detail:
    """Take a server's credential out of the keyring.

    The server goes on accepting it; if others may have seen it, have it revoked there.
    """
    keyring = keyring_of(server_of(app, registry=registry))
    if not keyring.remove():
        raise NotFoundError(f"the keyring has no credential for {keyring.account}.", "See 'tokctl auth status'.")
    return Detail(
        ident=keyring.account,
        document={"server": keyring.account, "removed": True},
        title=(Cell(f"The credential for {keyring.account} is no longer in the keyring."),),
    )


app = command(
    logout,
    takes=(*opt.SERVER, *opt.OUTPUT),
    examples=("tokctl auth logout", "tokctl auth logout --server https://engine.example:27555"),
)
