"""See ``registry_kinds``."""

from registry_kinds import fake, kind, opened, served  # noqa: F401 - fixtures
