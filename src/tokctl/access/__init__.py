"""API tokens: what they are, the format of their secrets, and what they allow. Pure: no I/O, no clock."""
