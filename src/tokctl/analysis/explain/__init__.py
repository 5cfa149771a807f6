"""Explaining why a token waits and whether it can continue."""
