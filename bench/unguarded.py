"""``tokctl serve`` whose endpoints ask for no credential: what authorisation costs is measured beside it."""

from __future__ import annotations

import msgspec

import tokctl.server.endpoints as endpoints
from tokctl.__main__ import main

endpoints.ENDPOINTS = tuple(msgspec.structs.replace(one, permissions=()) for one in endpoints.ENDPOINTS)

if __name__ == "__main__":
    main()
