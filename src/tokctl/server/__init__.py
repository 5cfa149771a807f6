"""The HTTP face of a store: ``tokctl serve``.

``app`` is the ASGI application: what happens to a request, from its first header to its line in the log.
``routes`` names the endpoints, each of them a module in ``endpoints``; ``parameters`` and ``schemas`` are the
tables behind them, which drive the parsing, the refusals and the OpenAPI document alike. ``stores`` is where
answers are read from, ``answering`` how they leave. ``run`` listens, with uvicorn.

It is bare ASGI rather than Starlette: Starlette decodes a path before it routes it, so that an id with a
slash could not be asked for, and takes longer than all the rest of a small answer.
"""
