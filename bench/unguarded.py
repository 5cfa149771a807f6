"""``tokctl serve`` whose endpoints ask for no credential: what authorisation costs is measured beside it."""

from __future__ import annotations

import msgspec

from tokctl.__main__ import main
from tokctl.server import endpoints

endpoints.ENDPOINTS = tuple(msgspec.structs.replace(one, permissions=()) for one in endpoints.ENDPOINTS)

if __name__ == "__main__":
    main()
