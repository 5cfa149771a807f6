"""Streaming readers of JSON and NDJSON documents, in bounded memory."""
