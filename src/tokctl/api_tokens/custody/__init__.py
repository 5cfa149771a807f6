"""Custody: takes a new secret from its creation to the place where it is saved, without losing or leaking it."""
