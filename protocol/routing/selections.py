"""The endpoints that selectors mean, of all that are known here: found once, then kept up with what comes and
goes, so that asking again costs nothing, and a change no more than the selectors in use.

Knows nothing of ways and messages.
"""

from busway.protocol.routing.host import RoutingHost
from busway.protocol.routing.peers import Entry
from busway.protocol.routing.topology import Topology
from busway.protocol.wire import codes
from busway.protocol.wire.selectors import Selector
from busway.protocol.wire.traits import labels_of

_BUILT_IN = (codes.LOOKUP, codes.INTROSPECTION)  # which have no names in the directory
_NONE_TOLD: "dict[bytes, bool]" = {}  # never changed


class Selection:
    """The meaning of one selector: unicast and anycast endpoints, by their node's key and uuid."""

    __slots__ = ("_bare", "found", "selector", "told")

    def __init__(self, selector: Selector) -> None:
        self.selector = selector
        self._bare = selector.fits((), "")  # whether it means what has neither labels nor a name, as most do
        self.found: "dict[bytes, Entry]" = {}
        # Those that others, who were asked, say are meant: a small frame has no room for their labels.
        self.told = _NONE_TOLD

    def judge(self, entry: Entry) -> None:
        """Look at an endpoint that is new, or another than before."""
        key = entry.peer.key + entry.uuid
        if entry.kind == codes.BROADCAST or entry.uuid in _BUILT_IN:
            self.found.pop(key, None)
        elif key in self.told or self._fits(entry):
            self.found[key] = entry
        else:
            self.found.pop(key, None)

    def _fits(self, entry: Entry) -> bool:
        if not entry.traits and not entry.name:
            return self._bare
        return self.selector.fits(labels_of(entry.traits), entry.name)

    def forget(self, entry: Entry) -> None:
        """It is gone."""
        self.found.pop(entry.peer.key + entry.uuid, None)


class Selections:
    """The selectors in use, SELECTIONS_MAX of this node and as many that others ask for, or fewer that take
    SELECTIONS_WORK_MAX: of more the one that was asked for longest ago goes.
    """

    def __init__(self, mesh: Topology, host: RoutingHost) -> None:
        self._mesh = mesh
        self._host = host
        self.known: "dict[bytes, Selection]" = {}  # by expression, the one asked for last at the end
        self.asked: "dict[bytes, Selection]" = {}  # the same, by others
        self._asked_work = 0  # what each change of an endpoint costs for these
        self._told: "dict[bytes, dict[bytes, bool]]" = {}

    def find(self, expression: bytes) -> Selection:
        """Find what a selector means now. Raises Refusal for bytes that are none."""
        selection = self.known.pop(expression, None)
        if selection is None:
            selection = self._fill(self.parse(expression), self.known)
        self.known[expression] = selection
        return selection

    def parse(self, expression: bytes) -> Selection:
        """A selection of nothing yet. Raises Refusal."""
        return Selection(Selector(expression))

    def find_for_others(self, selection: Selection) -> None:
        """Keep up what others ask for, too."""
        work = selection.selector.work()
        while self.asked and self._asked_work + work > codes.SELECTIONS_WORK_MAX:
            oldest = self.asked.pop(next(iter(self.asked)))
            self._asked_work -= oldest.selector.work()
        self._asked_work += work
        self.asked[selection.selector.data] = self._fill(selection, self.asked)

    def _fill(self, selection: Selection, among: "dict[bytes, Selection]") -> Selection:
        if len(among) >= codes.SELECTIONS_MAX:
            former = among.pop(next(iter(among)))
            if among is self.asked:
                self._asked_work -= former.selector.work()
        selection.told = self._told.get(selection.selector.data, _NONE_TOLD)
        for entry in self._host.own_entries() + self._mesh.directory.all():
            selection.judge(entry)
        return selection

    def tell(self, expression: bytes, told: "dict[bytes, bool]") -> None:
        """Others who were asked say that these are meant, by node's key and uuid: no others of theirs."""
        if told:
            self._told[expression] = told
        else:
            self._told.pop(expression, None)
        for among in (self.known, self.asked):
            selection = among.get(expression)
            if selection is not None:
                former = selection.told
                selection.told = told
                for place in list(former) + list(told):
                    self._judge_again(selection, place)

    def _judge_again(self, selection: Selection, place: bytes) -> None:
        peer = self._mesh.routes.find(place[: codes.KEY_SIZE])
        entry = None if peer is None else peer.entries.get(place[codes.KEY_SIZE :])
        if entry is not None:
            selection.judge(entry)

    def announced(self, entry: Entry) -> None:
        """There is an endpoint, of ours or of another node, or it is another than before."""
        for selection in self.known.values():
            selection.judge(entry)
        for selection in self.asked.values():
            selection.judge(entry)

    def withdrawn(self, entry: Entry) -> None:
        """It is not there any more."""
        for selection in self.known.values():
            selection.forget(entry)
        for selection in self.asked.values():
            selection.forget(entry)
