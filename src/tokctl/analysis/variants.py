"""The variants of instances: the sequences of elements that their tokens reached, and how many instances share each."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from msgspec import Struct

from tokctl.analysis.flow.token_links import TokenLinks
from tokctl.model.tokens import Certainty


class Variant(Struct, frozen=True, kw_only=True):
    """The instances of a process that went through the same elements in the same order.

    ``ended`` tells that all of them have ended; those of another variant are under way, and may still change it.
    ``share`` is their part of the instances whose order is known, 0 to 1. ``example`` is the id of the first one.
    """

    process_id: str | None
    elements: tuple[str, ...]
    ended: bool
    instances: int
    share: float
    example: str


class VariantCounter:
    """Counts variants, instance by instance. ``unordered`` is the number of instances whose order is unknown."""

    def __init__(self) -> None:
        self.unordered = 0
        self._counts: Counter[tuple[str | None, tuple[str, ...], bool]] = Counter()
        self._examples: dict[tuple[str | None, tuple[str, ...], bool], str] = {}

    def add(self, instance_id: str, process_id: str | None, links: TokenLinks, *, ended: bool) -> None:
        """Count an instance; its tokens have their flow histories."""
        elements = order_elements(links)
        if elements is None:
            self.unordered += 1
            return
        key = process_id, elements, ended
        self._counts[key] += 1
        self._examples.setdefault(key, instance_id)

    @property
    def distinct(self) -> int:
        """The number of different variants."""
        return len(self._counts)

    def count(self, process_id: str | None, elements: tuple[str, ...], *, ended: bool) -> int:
        """Return the number of instances of a variant."""
        return self._counts[process_id, elements, ended]

    def share(self, process_id: str | None, elements: tuple[str, ...], *, ended: bool) -> float:
        """Return the part of the instances whose order is known, 0 to 1, that a variant has."""
        return self.count(process_id, elements, ended=ended) / (self._counts.total() or 1)

    def most_common(self, limit: int) -> list[Variant]:
        """Return the commonest variants, equally common ones in the order in which they were added."""
        return [
            Variant(
                process_id=key[0],
                elements=key[1],
                ended=key[2],
                instances=instances,
                share=self.share(key[0], key[1], ended=key[2]),
                example=self._examples[key],
            )
            for key, instances in self._counts.most_common(limit)
        ]


def order_elements(links: TokenLinks) -> tuple[str, ...] | None:
    """Return the ids of the elements in the order in which tokens reached them; None if that is unknown.

    An element that a token only passed, in engines that move one token through many elements, is where the token left
    it. Of elements that were reached at the same time, those of predecessors come first; the others are in the order
    of their ids, so that it does not matter in which order parallel branches are stored.
    """
    visits = links.visits
    stays = {visit.element_id for visit in visits}
    passed: set[tuple[datetime, bool, int, str]] = set()  # tokens that were split have the history before in common
    reached: list[tuple[datetime, bool, int, str]] = []
    depths = [0] * len(visits)
    for n in links.order:
        depths[n] = 1 + max((depths[other] for other in links.predecessors(n)), default=0)
    for n, visit in enumerate(visits):
        hops = visit.hops
        if visit.created_at is None or any(hop.certainty is Certainty.AMBIGUOUS for hop in hops):
            return None
        times = [hop.timestamp for hop in hops if hop.timestamp is not None]
        reached.append((max([visit.created_at, *times]), True, depths[n], visit.element_id))
        for number, hop in enumerate(hops):
            if hop.from_element is not None and hop.from_element not in stays:
                if hop.timestamp is None:
                    return None
                passed.add((hop.timestamp, False, number, hop.from_element))
    return tuple(element for *_, element in sorted([*reached, *passed])) or None
