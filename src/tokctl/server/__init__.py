"""The HTTP API of a store: ``tokctl serve``.

``run`` starts uvicorn, ``connection`` enforces limits on connections, ``application`` routes requests, and
``pipeline`` handles them: limits, authentication, authorization, parameters, handler, response. ``endpoints`` declares
the endpoints, ``openapi`` generates the OpenAPI document from them, ``services`` holds what handlers use.
"""
