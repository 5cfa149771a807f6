"""See ``registry_kinds``."""

from support.registry_kinds import fake, kind, opened, served, strapi  # noqa: F401 - fixtures
