"""The version of tokctl."""

__version__ = "0.1.0"
