"""The commands of ``tokctl tokens``."""
