"""The commands of ``tokctl api-tokens``."""
