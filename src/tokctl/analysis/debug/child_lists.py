"""Finds the parents of tokens through the lists of children, which also shows whether the two match."""

from __future__ import annotations

from collections.abc import Sequence

from tokctl.model.element_types import is_joining_gateway
from tokctl.model.visits import Visit

NO_PARENT, MISSING_PARENT = -1, -2
"""Instead of the index of a parent: the token names no parent; it names one that is not among the tokens."""


def find_listed_parents(visits: Sequence[Visit]) -> list[int] | None:
    """Return the index in ``visits`` of each token's parent, NO_PARENT or MISSING_PARENT, if all lists match that.

    They match if each token is listed by its parent, and by other tokens only where branches join. None if they may
    not match, or if there are no lists.

    In order of creation, few tokens have been listed and have not come yet. A lookup among these is much faster than
    one among all tokens.
    """
    if not any(visit.child_tokens for visit in visits):
        return None
    ids = [visit.token_id for visit in visits]
    first: dict[str, int] = {}  # tokens that have not come yet → the first token that lists them
    further: dict[str, list[int]] = {}  # some of these → the other tokens that list them
    parents: list[int] = []
    unusual: list[tuple[int, list[int]]] = []  # other tokens than those with a parent that has listed them
    for position, visit in enumerate(visits):
        token_id = ids[position]
        parent = first.pop(token_id, NO_PARENT)
        others = further.pop(token_id, ()) if further else ()
        if parent == NO_PARENT or ids[parent] != visit.parent_token_id or (others and not _is_join(visit)):
            unusual.append((position, [] if parent == NO_PARENT else [parent, *others]))
        parents.append(parent)
        children = visit.child_tokens
        if children is None or (len(children) > 1 and len(set(children)) < len(children)):
            return None
        for child in children:
            if first.setdefault(child, position) != position:
                further.setdefault(child, []).append(position)
    missing = set()
    for position, listers in unusual:
        token_id, parent_id = ids[position], visits[position].parent_token_id
        if token_id in first:  # it came before tokens that list it
            listers += [first.pop(token_id), *further.pop(token_id, ())]
        if not _may_list(visits, position, listers):
            return None
        parents[position] = NO_PARENT
        if parent_id is not None:
            parents[position] = next((one for one in listers if ids[one] == parent_id), MISSING_PARENT)
            if parents[position] == MISSING_PARENT:
                missing.add(parent_id)
    return parents if not first and missing.isdisjoint(ids) else None


def _may_list(visits: Sequence[Visit], position: int, listers: Sequence[int]) -> bool:
    """Tell whether a token may be listed by these: by its parent, and if branches join by others; not by itself."""
    visit = visits[position]
    others = [visits[one] for one in listers if visits[one].token_id != visit.parent_token_id]
    return position not in listers and (not others or _is_join(visit) or all(map(_is_join, others)))


def _is_join(visit: Visit) -> bool:
    return is_joining_gateway(visit.element_type)
