"""The trace of an instance: its timeline, execution paths and time breakdown."""
