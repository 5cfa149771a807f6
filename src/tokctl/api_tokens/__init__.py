"""API tokens: secrets, masking and detection, audit, registries, vaults, and custody of new secrets."""
