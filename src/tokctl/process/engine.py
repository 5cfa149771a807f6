"""What an engine answers: the questions of the inspection commands."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from tokctl.process.model import Definition, Instance, Summary, Token
from tokctl.process.query import EVERYTHING, InstanceFilter, Order, TokenFilter
from tokctl.process.status import InstanceStatus
from tokctl.process.visit import Visit

if TYPE_CHECKING:  # neither is needed to name an engine
    from tokctl.process.performance import Stays
    from tokctl.process.tree import TreeRow


Moved = Callable[[int, int | None], None]
"""Is told how many instances have been read, and how many there are; None where that is unknown."""


class Unread(Struct, frozen=True):
    """An instance that could not be read, and why, in one line."""

    instance_id: str
    message: str


class AtHand:
    """What engines have in common that have everything at hand: nothing is left unread, nothing takes long."""

    unread: Sequence[Unread] = ()

    def watch_progress(self, moved: Moved) -> None:
        """Tell nothing."""


class Engine(Protocol):
    """Reads process instances and their tokens.

    Ids are exact; ``engines.ids`` turns what people type into one. An unknown instance is a
    NotFoundError from every method. All answers of one engine object show one moment, until it is told
    to ``refresh``.
    """

    def refresh(self) -> bool:
        """Show the present moment from now on. False: certainly nothing has changed since the last one.

        True where an engine cannot tell. An error of this or any other method that waiting may mend
        leaves an engine that is to be closed, and opened anew.
        """

    def rest(self) -> None:
        """Hold on to nothing until the next ``refresh``, which has to come before the next question."""

    @property
    def unread(self) -> Sequence[Unread]:
        """Instances that questions about many have left out since the last ``refresh``: each could not be read."""

    def watch_progress(self, moved: Moved) -> None:
        """Have someone told how far ``all_visits`` and ``stays`` have come through the instances."""

    def instances(
        self, where: InstanceFilter, order: Order, *, limit: int | None = None, offset: int = 0
    ) -> Iterator[InstanceStatus]:
        """Instances in order."""

    def count_instances(self, where: InstanceFilter) -> int:
        """How many instances match."""

    def instance(self, instance_id: str) -> InstanceStatus:
        """One instance."""

    def instance_ids(self, prefix: str, limit: int) -> list[str]:
        """Ids of instances that begin with a prefix, in order."""

    def latest_instance_id(self) -> str | None:
        """The id of the instance that started last; None when there is none."""

    def summary(self, instance_id: str) -> Summary:
        """Totals of a whole instance."""

    def tokens(
        self, instance_id: str, where: TokenFilter, order: Order, *, limit: int | None = None, offset: int = 0
    ) -> Iterator[Token]:
        """Tokens of an instance in order."""

    def visits(self, instance_id: str, where: TokenFilter = EVERYTHING, *, flows: bool = False) -> Iterator[Visit]:
        """What the analyses read of an instance's tokens, in order of creation; ``flows``: flow histories, too."""

    def all_visits(
        self, instances: InstanceFilter, where: TokenFilter = EVERYTHING, *, flows: bool = False
    ) -> Iterator[tuple[InstanceStatus, Iterator[Visit]]]:
        """The same of every instance that matches, in the order in which they came to be known.

        Each instance's visits have to be read before the next instance is asked for.
        """

    def visit_durations(
        self, process_id: str | None, elements: Collection[str] | None, instances: int
    ) -> Iterator[tuple[str, str, float]]:
        """(instance id, element id, ms) of the COMPLETED visits of elements (None: of all) that have a duration.

        Only those in the instances of the process that came to be known last, so many of them.
        """

    def stays(
        self, instances: InstanceFilter | str, where: TokenFilter = EVERYTHING
    ) -> Iterator[tuple[Instance, Iterator[Stays]]]:
        """How long tokens stood where, of every instance that matches or of a single one, in no order.

        Each instance's have to be read before the next instance is asked for. Instances without a token
        that is wanted may be left out. Of the instances, id, process and version are told.
        """

    def count_tokens(self, instance_id: str, where: TokenFilter) -> int:
        """How many tokens of an instance match."""

    def token_ids(self, prefix: str, instance_id: str | None, limit: int) -> list[tuple[str, str]]:
        """(instance id, token id) of tokens whose id begins with a prefix, in order of token id."""

    def token(self, instance_id: str, token_id: str) -> Token:
        """One token."""

    def children(self, instance_id: str, token_id: str) -> list[str]:
        """Ids of the tokens that name a token as their parent, in order of creation."""

    def tree_rows(self, instance_id: str) -> Iterator[TreeRow]:
        """What a tree needs of each token, in order of creation."""

    def definition(self, process_id: str, version: int | None) -> Definition | None:
        """A process model, the newest version unless one is named; None where it is unknown."""

    def close(self) -> None:
        """Let go of files and connections."""
