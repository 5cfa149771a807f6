"""Tokens as JSON: one token, the tokens of an instance, tokens by id prefix.

``decode_token`` reads the JSON text of one token; ``encode_token`` returns what becomes its documented object.
``readers`` reads whole documents and streams of them.

Names that other engines use are also accepted: ``id`` for ``token_id``,
``process_instance_id``, ``status`` for ``state``, times in epoch seconds or milliseconds.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType
from msgspec.structs import force_setattr, replace

from tokctl.documents.base import Count, Document, DocumentError, Time, decode_object, pop_text, pop_time, with_extra
from tokctl.model.element_types import ELEMENT_TYPES, canonical_type
from tokctl.model.instances import Summary
from tokctl.model.states import SOURCE_STATE, STATE_DERIVED, STATES, canonical_state, derive_end_state
from tokctl.model.times import ZERO_YEAR, format_time, to_known_utc
from tokctl.model.tokens import NULL, Token


class TokenDocument(Struct, kw_only=True, frozen=True, gc=False):
    """A token: one visit of one element. Values that the source did not send are null.

    A token with an unknown state and a time at which it ended is COMPLETED or CANCELLED; then ``state_derived`` is true
    and ``source_state`` is the state as the source sent it.

    ``error`` is the message of a failed attempt, from any of the known keys in the execution context. An entry of
    ``flow_history`` has ``certainty`` only if the engine did not record it: ``reconstructed`` from the times and the
    model, or ``ambiguous`` if several ways are possible: it has what all of them have in common, and null otherwise.

    The engines of tokctl add these members to the execution context, as far as the server provides them:
    ``waiting_for``, what the token waits for (``job:KEY``, ``external_task:TOPIC``, ``timer:ID``, ``message:NAME``,
    ``signal:NAME``, ``user_task:ID`` or ``call_activity:INSTANCE_ID``); ``waits_for``, several events, if the first one
    ends the wait; ``due_at``, when the timer fires or the user task is due; ``retry_at``, when a failed job is tried
    again; ``failed_attempts``, the number of attempts of the job that failed, where the engine counts the first one
    among the retries; ``assignee``; ``called_instance_id``; ``is_scope``, true if the token only encloses others, as
    that of a sub-process or of a multi-instance activity;
    ``entered_by``, how the element was entered, if not by a sequence flow; ``cancellation_derived``, true if the state
    CANCELLED was derived; ``failed_element_id``, the element that a job was executing when it failed, if it is another
    one; ``stack_trace``, of a single token.
    """

    instance_id: str | UnsetType = UNSET
    process_id: str | UnsetType | None = UNSET
    token_id: str
    element_id: str
    element_type: str | None
    element_name: str | None
    state: str
    created_at: Time | None
    updated_at: Time | None
    completed_at: Time | None
    cancelled_at: Time | None
    variables: Raw
    execution_context: Raw
    parent_token_id: str | None
    child_tokens: tuple[str, ...] | None
    flow_history: Raw
    error: str | UnsetType = UNSET


class StandaloneToken(TokenDocument, kw_only=True, frozen=True, gc=False):
    """A token with the ids of its instance and process."""

    instance_id: str
    process_id: str | None


class TokenList(Struct, kw_only=True, frozen=True):
    """Tokens of a process instance. ``total_count`` and ``has_more`` come with limit or offset."""

    instance_id: str
    process_id: str | None
    tokens: list[TokenDocument]
    summary: Summary
    total_count: Count | UnsetType = UNSET
    has_more: bool | UnsetType = UNSET


class AllTokens(Struct, kw_only=True, frozen=True):
    """Tokens of several instances."""

    tokens: list[StandaloneToken]


class FoundTokens(Struct, kw_only=True, frozen=True):
    """Tokens of several instances. ``total_count`` is left out if they were found by the beginning of their ids."""

    tokens: list[StandaloneToken]
    total_count: Count | UnsetType = UNSET
    has_more: bool


_documented = msgspec.json.Decoder(Token)

_ALIASES = {
    "id": "token_id",
    "status": "state",
    "process_instance_id": "instance_id",
    "current_element_id": "element_id",
}

_TIMES = ("created_at", "updated_at", "completed_at", "cancelled_at")

_TEXTS = ("token_id", "state", "element_id", "instance_id", "process_id", "element_type", "parent_token_id")

_RAWS = ("variables", "execution_context", "flow_history")

_REQUIRED = ("token_id", "state", "element_id")

_KNOWN_STATES = frozenset(STATES)

_KNOWN_TYPES = frozenset((*ELEMENT_TYPES, None))


def decode_token(text: str | bytes | Raw, instance_id: str = "", process_id: str | None = None) -> Token:
    """Decode a token; the ids are those of the document around it, used if the token has none.

    The token keeps a reference to its original text, which is unchanged except for line breaks.

    Raises:
        DocumentError: it is not a token; names the first invalid field.
    """
    try:
        token = _documented.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return _decode_leniently(text, instance_id, process_id)
    if token.extra:  # documents may use its internal name for something else
        return _decode_leniently(text, instance_id, process_id)
    return _complete(token, instance_id, process_id)


def decode_tokens(lines: str, instance_id: str = "", process_id: str | None = None) -> list[Token]:
    """Decode a token on each line, faster than one by one, if all of them are as documented.

    Raises:
        msgspec.MsgspecError, UnicodeError, RecursionError, DocumentError: one of them is not.
    """
    tokens = _documented.decode_lines(lines)
    if any([token.extra for token in tokens]):  # noqa: C419 - a list is faster
        raise DocumentError("extra", "an undocumented field")
    return [_complete(token, instance_id, process_id) for token in tokens]


def _complete(token: Token, instance_id: str, process_id: str | None) -> Token:
    """Return a token that was just decoded with the ids of the document around it, and with canonical values."""
    if not token.instance_id:
        force_setattr(token, "instance_id", instance_id)
    if token.process_id is None and process_id is not None and token.instance_id == instance_id:
        force_setattr(token, "process_id", process_id)
    _check_ids(token)
    if (
        token.state in _KNOWN_STATES
        and token.element_type in _KNOWN_TYPES
        and _are_known_utc(token.created_at, token.updated_at, token.completed_at, token.cancelled_at)
        and token.parent_token_id != ""
        and token.process_id != ""
    ):
        return token
    normalized = replace(
        token,
        process_id=token.process_id or None,
        state=canonical_state(token.state),
        element_type=canonical_type(token.element_type) if token.element_type else None,
        created_at=to_known_utc(token.created_at),
        updated_at=to_known_utc(token.updated_at),
        completed_at=to_known_utc(token.completed_at),
        cancelled_at=to_known_utc(token.cancelled_at),
        parent_token_id=token.parent_token_id or None,
    )
    return _derive_end(normalized)


def _derive_end(token: Token) -> Token:
    """Return a token as ended if its state is unknown and it has a time of its end."""
    if token.state in _KNOWN_STATES:
        return token
    state = derive_end_state(completed=token.completed_at is not None, cancelled=token.cancelled_at is not None)
    if state is None:
        return token
    derived = {STATE_DERIVED: Raw(b"true"), SOURCE_STATE: Raw(msgspec.json.encode(token.state))}
    return replace(token, state=state, extra=token.extra | derived)


def _are_known_utc(*times: datetime | None) -> bool:
    return not [time for time in times if time is not None and (time.tzinfo is not UTC or time.year == ZERO_YEAR)]


def _check_ids(token: Token) -> None:
    if not token.instance_id:
        raise DocumentError("instance_id", "missing, in the token and in its document")
    if not (token.token_id and token.state and token.element_id):
        raise DocumentError(next(name for name in _REQUIRED if not getattr(token, name)), "missing or empty")
    if "\0" in token.token_id or "\0" in token.instance_id:
        raise DocumentError("token_id", "it or the instance id contains a NUL character")


def _decode_leniently(text: str | bytes | Raw, instance_id: str, process_id: str | None) -> Token:
    fields = _with_aliases(decode_object(text))
    if fields.keys().isdisjoint(_REQUIRED):
        raise DocumentError("token_id", "missing; this is not a token")
    name = pop_text(fields, "element_name")
    good: dict[str, Any] = {"element_name": name} | {name: pop_text(fields, name) or None for name in _TEXTS}
    for name in _REQUIRED:
        if good[name] is None:
            raise DocumentError(name, "missing or empty")
    good["instance_id"] = good["instance_id"] or instance_id
    if good["instance_id"] == instance_id:
        good["process_id"] = good["process_id"] or process_id
    good["state"] = canonical_state(good["state"])
    if good["element_type"] is not None:
        good["element_type"] = canonical_type(good["element_type"])
    good |= {name: pop_time(fields, name) for name in _TIMES}
    good |= {name: fields.pop(name, NULL) for name in _RAWS}
    try:
        children = fields.pop("child_tokens", NULL)
        good["child_tokens"] = msgspec.json.decode(children, type=tuple[str, ...] | None)
    except msgspec.MsgspecError:
        raise DocumentError("child_tokens", "expected an array of token ids") from None
    token = Token(**good, extra=fields)
    message = fields.get("error")
    if message is not None and bytes(message)[:1] == b'"' and msgspec.json.decode(message) == token.error:
        del fields["error"]  # encode_token has added it
    _check_ids(token)
    return _derive_end(token)


def _with_aliases(fields: dict[str, Raw]) -> dict[str, Raw]:
    """Rename fields of other engines to the documented names, unless those are present."""
    for alias, name in _ALIASES.items():
        if alias in fields and name not in fields:
            fields[name] = fields.pop(alias)
    return fields


def encode_token(token: Token, *, instance: bool = False, variables: bool = True) -> Document:
    """Return the documented object of a token.

    ``instance=True`` puts the ids of its instance and process first, for a token outside a list.
    ``variables=False`` leaves its variables null.
    """
    document = TokenDocument(
        instance_id=token.instance_id if instance else UNSET,
        process_id=token.process_id if instance else UNSET,
        token_id=token.token_id,
        element_id=token.element_id,
        element_type=token.element_type,
        element_name=token.element_name,
        state=token.state,
        created_at=format_time(token.created_at),
        updated_at=format_time(token.updated_at),
        completed_at=format_time(token.completed_at),
        cancelled_at=format_time(token.cancelled_at),
        variables=token.variables if variables else NULL,
        execution_context=token.execution_context,
        parent_token_id=token.parent_token_id,
        child_tokens=token.child_tokens,
        flow_history=token.flow_history,
        error=UNSET if "error" in token.extra else token.error or UNSET,
    )
    return with_extra(document, token.extra, after="flow_history") if token.extra else document
