"""Formats of other tools that instances are exported to. Each module has ``FORMAT``; pure: no I/O, no clock.

Nothing is invented: what is derived, ambiguous or unknown is marked (``TokenExport.certainty``).
"""
