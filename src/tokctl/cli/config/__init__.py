"""The commands of ``tokctl config``."""
