"""Looks for the secrets of API tokens in files and in the history of git repositories. It asks nobody about them."""
