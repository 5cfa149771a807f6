"""Writes tokens as an engine runs: the lifecycle, the SpiffWorkflow recorder, simulated scenarios."""
