"""See ``registry_kinds``."""

from support.registry_kinds import fake, kind, opened, served  # noqa: F401 - fixtures
