"""The commands of ``tokctl store``."""
