"""The results of analyses as JSON documents; their structs are in the modules of the same names in ``documents``."""
