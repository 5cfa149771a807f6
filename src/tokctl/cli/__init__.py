"""The command line: one module for each command, the tree of them in ``groups``."""
