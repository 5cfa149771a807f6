"""Finds ways for the flows that do not lead to the next box of a row.

Between two rows there are lines, and left of all rows there are tracks that connect the lines of several rows. Flows
from one element or to one element share their lines: a net has one source or one target, so that its branches cannot
be mistaken. Lines of different nets cross, but never join. Ports are at odd columns if a flow leaves there, at even
ones if it arrives, so that no line covers another.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from itertools import groupby

from msgspec import Struct

from tokctl.diagram.text.rows import PlacedBox, RoutedFlow

TRACK = 2
"""Cells from one track to the next."""


class Net(Struct, eq=False):
    """Flows that share their lines, with a common source or a common target.

    ``leaves`` and ``arrives`` are the keys of the ends: of a boundary event, or of an element.
    """

    connections: list[RoutedFlow]
    leaves: list[str] = []
    arrives: list[str] = []
    track: int | None = None


def bundle(connections: Iterable[RoutedFlow], all_connections: Sequence[RoutedFlow]) -> list[Net]:
    """Return the nets of some flows: those from one element, or to one element if more of all flows lead there.

    There is room for one line beside a boundary event, so its flows are always one net.
    """
    leaving = Counter(one.flow.source for one in all_connections)
    arriving = Counter(one.target for one in all_connections)
    nets: dict[tuple[bool, str], Net] = {}
    for one in connections:
        source = one.flow.source or ""
        into = arriving[one.target] >= leaving[source] and not (one.from_event and leaving[source] > 1)
        net = nets.setdefault((into, one.target if into else source), Net([], [], []))
        net.connections.append(one)
        net.leaves += [source] * (source not in net.leaves)
        net.arrives += [one.target] * (one.target not in net.arrives)
    return list(nets.values())


class Port(Struct, frozen=True):
    """Where a net meets a box: the region (0 is above the first row), the column, and the row where its line starts."""

    region: int
    x: int
    leaves: bool
    key: str


class Routes:
    """The ports of nets, their lines in each region between rows, and their tracks.

    ``blanks`` are the regions that have a blank line above (True) or below their lines, for labels. Nets for which
    there is no track are in ``omitted``. ``lines`` is the line of a net in a region, ``heights`` the number of lines of
    each region, ``last_arrivals`` the last column at which a line arrives, by element. Columns count from the first
    box; those of tracks are negative.
    """

    def __init__(
        self,
        rows: Sequence[Sequence[PlacedBox]],
        nets: Sequence[Net],
        max_tracks: int,
        blanks: AbstractSet[tuple[int, bool]] = frozenset(),
    ) -> None:
        self.ports: dict[int, list[Port]] = defaultdict(list)
        self.all_nets = list(nets)
        self._find_ports(rows)
        self.last_arrivals: dict[str, int] = {}
        for port in (port for ports in self.ports.values() for port in ports if not port.leaves):
            self.last_arrivals[port.key] = max(port.x, self.last_arrivals.get(port.key, port.x))
        self.omitted: list[Net] = []
        self._find_tracks(max_tracks)
        self.nets = [(n, net) for n, net in enumerate(self.all_nets) if net not in self.omitted]
        self.lines: dict[tuple[int, int], int] = {}
        self.blanks = blanks
        self.heights = [0] * (len(rows) + 1)
        self._find_lines()

    def _find_ports(self, rows: Sequence[Sequence[PlacedBox]]) -> None:
        leaving: dict[str, list[int]] = defaultdict(list)
        arriving: dict[str, list[int]] = defaultdict(list)
        for n, net in enumerate(self.all_nets):
            for key in net.leaves:
                leaving[key].append(n)
            for key in net.arrives:
                arriving[key].append(n)
        for row, placed in enumerate(rows):
            for one in placed:
                key, left, right = one.box.element.id, one.x, one.x + one.box.width
                first = left + 1 + (left + 1) % 2  # even
                labelled_last = sorted(arriving[key], key=lambda n: len(self.all_nets[n].arrives) > 1)
                for k, n in enumerate(labelled_last):
                    self.ports[n].append(Port(row, first + 2 * k, leaves=False, key=key))
                last = right - 2 - (right - 1) % 2  # odd
                for k, n in enumerate(leaving[key]):
                    self.ports[n].append(Port(row + 1, last - 2 * k, leaves=True, key=key))
                exits = [(event, n) for event in one.box.events for n in leaving[event.element.id]]
                outermost = right + 2 * len(exits) - 2 + (right + 1) % 2
                for k, (event, n) in enumerate(exits):
                    self.ports[n].append(Port(row + 1, outermost - 2 * k, leaves=True, key=event.element.id))

    def regions(self, n: int) -> range:
        """Return the regions between the first and the last one of a net."""
        found = [port.region for port in self.ports[n]]
        return range(min(found), max(found) + 1)

    def _find_tracks(self, max_tracks: int) -> None:
        used: list[set[int]] = []
        wanted = [(len(self.regions(n)), n) for n in range(len(self.all_nets))]
        for length, n in sorted(wanted):
            if length == 1:
                continue
            span = set(self.regions(n))
            free = next((k for k, taken in enumerate(used) if not taken & span), len(used))
            if free == max_tracks:
                self.omitted.append(self.all_nets[n])
                continue
            used[free:free] = [set()] * (free == len(used))
            used[free] |= span
            self.all_nets[n].track = free
        self.tracks = len(used)

    def columns(self, n: int, region: int) -> list[int]:
        """Return the columns that the line of a net connects in a region."""
        track = self.all_nets[n].track
        found = [port.x for port in self.ports[n] if port.region == region]
        return found if track is None else [*found, -TRACK * (track + 1)]

    def _find_lines(self) -> None:
        wanted = [
            (region, columns, n)
            for n, _ in self.nets
            for region in {port.region for port in self.ports[n]}
            if (columns := self.columns(n, region))
        ]
        wanted.sort(key=lambda one: (one[0], min(one[1]) - max(one[1])))
        for region, several in groupby(wanted, key=lambda one: one[0]):
            rows: list[list[tuple[int, int]]] = []
            for _, columns, n in several:
                low, high = min(columns) - 1, max(columns) + 1
                free = next((k for k, row in enumerate(rows) if all(high < a or b < low for a, b in row)), len(rows))
                rows[free:free] = [[]] * (free == len(rows))
                rows[free] = [*rows[free], (low, high)]
                self.lines[region, n] = free + ((region, True) in self.blanks)
            self.heights[region] = len(rows) + sum((region, above) in self.blanks for above in (True, False))


def count_ports(nets: Sequence[Net]) -> tuple[Counter[str], Counter[str]]:
    """Return the number of nets that arrive at each element, and that leave it."""
    return Counter(key for net in nets for key in net.arrives), Counter(key for net in nets for key in net.leaves)


def limit_ports(connections: Sequence[RoutedFlow], most: int) -> tuple[list[RoutedFlow], list[RoutedFlow]]:
    """Return the connections that have a port if an element has at most ``most`` on a side, and the others."""
    ports: dict[tuple[bool, str], set[tuple[bool, str]]] = defaultdict(set)
    kept, left = [], []
    for net in bundle(connections, connections):
        into = len(net.arrives) == 1
        name = into, net.arrives[0] if into else net.leaves[0]
        for one in net.connections:
            ends = ports[True, one.target], ports[False, one.flow.source or ""]
            if all(name in end or len(end) < most for end in ends):
                kept.append(one)
                for end in ends:
                    end.add(name)
            else:
                left.append(one)
    return kept, left
