"""The commands of ``tokctl instances``."""
