"""Data types: process tokens, instances, definitions, filters, durations and API tokens. No I/O and no clock.

``tokctl.documents`` reads and writes them as JSON.
"""
