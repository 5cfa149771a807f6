"""Use cases about API tokens: find, revoke, rotate, lend to a program, scan for leaked secrets."""
