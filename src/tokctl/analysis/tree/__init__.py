"""The tree of an instance's tokens."""
