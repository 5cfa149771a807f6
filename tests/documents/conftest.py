"""Commands and stores for the tests of documents."""

from support.commandline import known, orders, own_store, tokctl

__all__ = ["known", "orders", "own_store", "tokctl"]
