"""The command line: one module for each command, the tree of commands in ``command_tree``."""
