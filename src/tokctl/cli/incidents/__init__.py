"""The commands of ``tokctl incidents``."""
