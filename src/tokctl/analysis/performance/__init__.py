"""Statistics of durations, and comparisons between periods."""
