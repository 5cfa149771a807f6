"""The commands of ``tokctl auth``."""
