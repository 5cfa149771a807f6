"""Custody: a secret's way from where it is created to where it is kept, on which it is neither lost nor shown."""
