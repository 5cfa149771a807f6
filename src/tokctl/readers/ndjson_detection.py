"""Tells NDJSON, one document per line, from documents over many lines.

``limit`` is the length of the longest line that is looked at, in characters.
"""

from __future__ import annotations

import json

from tokctl.documents.base import DocumentError, decode_object
from tokctl.readers.text_window import TextWindow, scan_prefix


def is_ndjson(text: TextWindow, limit: int) -> bool:
    """Tell whether the first line is a complete JSON object; then every line is expected to be one."""
    while (end := text.find_line_end(text.offset, limit)) < 0:
        if text.available > limit or not text.read_chunk():
            return False
    try:
        decode_object(text.buffer[text.offset : end])
    except DocumentError:
        return False
    return True


def is_ndjson_with_bad_first_line(text: TextWindow, limit: int) -> bool:
    """Tell whether the second line is a complete object, and the first cannot be the start of a longer one."""
    first_end = text.find_line_end(text.offset, limit)
    if first_end < 0 or text.buffer[text.offset] == "[":
        return False
    start = first_end + 1
    while (second_end := text.find_line_end(start, limit)) < 0:
        if len(text.buffer) - start > limit:
            return False
        if not text.read_chunk():
            second_end = len(text.buffer)
            break
    try:
        decode_object(text.buffer[start:second_end])
        stop = scan_prefix(text.buffer[:second_end], text.offset)
        return bool(text.buffer[stop:first_end].strip())
    except json.JSONDecodeError as error:
        return error.pos < second_end  # an error at the end may be that of a value that continues
    except RecursionError:
        return True
    except (DocumentError, ValueError):
        return False
