"""Analyses of process tokens. Pure: tokens in, results out; no I/O and no clock."""
