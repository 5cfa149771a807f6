"""Process tokens: their model and analysis. Pure: tokens in, results out; no I/O and no clock."""
