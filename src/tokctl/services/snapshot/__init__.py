"""Snapshots: instances are copied from any engine into a store, once or until they have ended."""
