"""Use cases without a terminal: the command line and the Python API call them, and render their results.

A service takes engines, stores, registries and plain values, and returns data. It does not print or prompt: messages,
progress and questions go through callbacks of the caller.
"""
