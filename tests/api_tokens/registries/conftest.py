"""See ``registry_kinds``."""

from support.commandline import tokctl  # noqa: F401 - a fixture
from support.registry_kinds import fake, kind, opened, served, strapi  # noqa: F401 - fixtures
