"""The meaning of selectors, asked for where no directory is pushed: SELECT and SELECTED (section 4.4).

As lookups.py for single endpoints, which says whom to ask and what of an answer counts. An answer counts for
some seconds: who sends again after that asks again.
"""

from busway.protocol.errors import Refusal
from busway.protocol.routing.directory import counting
from busway.protocol.routing.have_parts import mix
from busway.protocol.routing.lookups import Lookups
from busway.protocol.routing.peers import Entry, Peer
from busway.protocol.routing.questions import SelectorQuestions
from busway.protocol.routing.selections import Selection, Selections
from busway.protocol.routing.topology import Topology
from busway.protocol.timers import Call, Timer
from busway.protocol.wire import codes
from busway.protocol.wire.address import Address, expression_of, selector_address
from busway.protocol.wire.messages import Frame, Holder, SelectedSignal, select_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from busway.protocol.link.face import LinkFace

_SHARE: "Final" = 16  # one of so many parts of a slow line's time is for what is asked again and again
_PAUSE_MS: "Final" = 1000  # until who refused is asked again
_NONE_TOLD: "dict[bytes, bool]" = {}  # never changed


class Inquiry(Timer):
    """One selector that is being asked for."""

    __slots__ = (
        "address",
        "askers",
        "began",
        "came",
        "id",
        "link",
        "over_at",
        "refused",
        "selects",
        "waiting",
    )

    def __init__(
        self, selects: "Selects", address: Address, id: int, link: "LinkFace | None", over_at: int
    ) -> None:
        self.deadline = -1
        self.began = over_at - codes.SYNC_MS
        self.over_at = over_at
        self.refused: "list[Peer]" = []  # who had been asked too much, and is asked once more
        self.selects = selects
        self.address = address
        self.id = id
        self.link = link  # over which it was asked for; None: by this node
        self.waiting: "dict[bytes, bool]" = {}  # nodes that have not answered, by key
        self.came: "dict[bytes, dict[bytes, bool]]" = {}  # by node what it has told so far
        self.askers: "list[tuple[Peer, int]]" = []  # whom to answer then, and under which id

    def fire(self, now: int) -> None:
        if now < self.over_at:
            self.selects.ask_again(self, now)
        else:
            self.selects.conclude(self, now)


class Known:
    """The words of others about one selector: by whom, keys of nodes with uuids."""

    __slots__ = ("asked_at", "told")

    def __init__(self) -> None:
        self.asked_at = -codes.SELECT_MS
        self.told: "dict[bytes, dict[bytes, bool]]" = {}


class Selects(SelectorQuestions):
    """The selectors that this node asks for, and those that it is asked."""

    def __init__(self, mesh: Topology, lookups: Lookups, selections: Selections) -> None:
        self._mesh = mesh
        self._lookups = lookups
        lookups.selects = self
        self._selections = selections
        self.inquiries: "dict[Address, Inquiry]" = {}
        self._by_id: "dict[int, Inquiry]" = {}
        self._id = 0
        self.known: "dict[Address, Known]" = {}
        self._claims: "dict[bytes, int]" = {}  # of each node's key with a uuid how many tell of it
        # What was done for each link in the second that began then: questions, and work.
        self._work: "dict[LinkFace, tuple[int, int]]" = {}
        self._work_at = 0
        # Those whose meaning the program follows, and when they are asked for again: nobody tells of changes.
        self._followed: "dict[Address, int]" = {}
        self._follow = Call(self._ask_followed)

    # Asking

    def is_asking(self, address: Address) -> bool:
        """Whether an answer is waited for."""
        return address in self.inquiries

    def ask(self, address: Address, now: int) -> bool:
        """Whether it is worth to wait for an answer: somebody is being asked."""
        return address in self.inquiries or self._start(address, None, None, now)

    def follow(self, address: Address, now: int) -> None:
        """Keep up what a selector means where that has to be asked, as long as there is somebody to ask."""
        self._followed[address] = -1
        self.ask(address, now)

    def follow_only(self, addresses: "list[Address]") -> None:
        """The meaning of no others matters any more."""
        self._followed = {address: due for address, due in self._followed.items() if address in addresses}

    def _ask_followed(self, now: int) -> None:
        for address, due in list(self._followed.items()):
            if 0 <= due <= now:
                self._followed[address] = -1
                self.ask(address, now)
        self._arm_follow()

    def _arm_follow(self) -> None:
        due = [at for at in self._followed.values() if at >= 0]
        self._mesh.timers.disarm(self._follow)
        if due:
            self._mesh.timers.arm(self._follow, min(due))

    def _start(self, address: Address, asker: "Peer | None", link: "LinkFace | None", now: int) -> bool:
        """Ask, unless what is known is fresh, or there is nobody to ask."""
        known = self.known.get(address)
        if known is not None and now - known.asked_at < codes.SELECT_MS:
            return False
        targets = [peer for peer in self._lookups.targets(b"", asker) if _understands(peer)]
        if not targets or not self._may_ask(link):
            return False
        self._know(address).asked_at = now
        self._id = self._id % codes.ID_MAX + 1
        inquiry = Inquiry(self, address, self._id, link, now + codes.SYNC_MS)
        self.inquiries[address] = self._by_id[self._id] = inquiry
        self._mesh.timers.arm(inquiry, inquiry.over_at)
        self._lookups.counters["lookups"] += 1
        for peer in targets:
            inquiry.waiting[peer.key] = True
            self._send(peer, inquiry)
        return True

    def _send(self, peer: Peer, inquiry: Inquiry) -> None:
        if peer.hop is not None:
            peer.hop.answer(select_signal(peer.key, inquiry.id, expression_of(inquiry.address)))

    def ask_again(self, inquiry: Inquiry, now: int) -> None:
        """Ask once more who had been asked too much within a second."""
        for peer in inquiry.refused:
            self._send(peer, inquiry)
        inquiry.refused = []
        self._mesh.timers.arm(inquiry, inquiry.over_at)

    def _may_ask(self, link: "LinkFace | None") -> bool:
        if len(self.inquiries) >= codes.SELECTIONS_MAX:
            return False
        of_link = [inquiry for inquiry in self.inquiries.values() if inquiry.link is link]
        return link is None or len(of_link) < codes.SELECTS_LINK_MAX

    def _know(self, address: Address) -> Known:
        """Find what is known of it, as the latest that was asked for; the one longest ago is forgotten."""
        known = self.known.pop(address, None)
        if known is None:
            known = Known()
            if len(self.known) >= codes.SELECTIONS_MAX:
                self._forget(next(iter(self.known)))
        self.known[address] = known
        return known

    def _forget(self, address: Address) -> None:
        known = self.known.pop(address)
        for told in known.told.values():
            self._release(told, 0)
        self._selections.tell(expression_of(address), _NONE_TOLD)

    def refresh(self, address: Address, now: int) -> None:
        """Something goes to a selector: what others have told of it may not be so any more."""
        known = self.known.get(address)
        if known is not None and now - known.asked_at >= codes.SELECT_MS:
            self.ask(address, now)

    def selected(self, link: "LinkFace", peer: Peer, frame: SelectedSignal, now: int) -> None:
        """SELECTED came: an answer, or a part of it."""
        inquiry = self._by_id.get(frame.id)
        if inquiry is None or peer.key not in inquiry.waiting:
            return  # nobody asked it
        realm = max(link.realm, frame.realm())
        came = inquiry.came.setdefault(peer.key, {})
        for holder in frame.holders:
            if len(came) < codes.SELECTED_MAX and holder.kind in (codes.UNICAST, codes.ANYCAST):
                if self._lookups.take(holder, holder.endpoint, link, realm, now):
                    came[holder.key + holder.endpoint] = True
        if frame.code & codes.MORE_FOLLOW:
            return
        if frame.code & codes.REFUSED and now + _PAUSE_MS < inquiry.over_at and peer not in inquiry.refused:
            inquiry.refused.append(peer)
            self._mesh.timers.arm(inquiry, now + _PAUSE_MS)
            return
        self._note(inquiry.address, self._lookups.name_of(peer), came, now)
        del inquiry.waiting[peer.key]
        if not inquiry.waiting:
            self.conclude(inquiry, now)

    def _note(self, address: Address, name: bytes, came: "dict[bytes, bool]", now: int) -> None:
        """One of those who were asked has told all that it knows."""
        known = self.known.get(address)
        if known is None:
            return  # too many others were asked for since
        former = known.told.get(name, _NONE_TOLD)
        known.told[name] = came
        for place in came:
            self._claims[place] = self._claims.get(place, 0) + 1
        self._release(former, now)
        told: "dict[bytes, bool]" = {}
        for places in known.told.values():
            told.update(places)
        self._selections.tell(expression_of(address), told)

    def _release(self, places: "dict[bytes, bool]", now: int) -> None:
        """One tells of these no more: what nobody tells of any more is not there."""
        for place in places:
            self._claims[place] -= 1
            if not self._claims[place]:
                del self._claims[place]
                key, uuid = place[: codes.KEY_SIZE], place[codes.KEY_SIZE :]
                if not self._lookups.tells(key, uuid):
                    self._lookups.drop(key, uuid, now)

    def tells(self, key: bytes, uuid: bytes) -> bool:
        """Whether somebody was asked for a selector and says that a node has that endpoint."""
        return key + uuid in self._claims

    def refused(self, peer: Peer, uuid: bytes) -> None:
        """A node that was said to have an endpoint has it no longer: that is asked anew."""
        place = peer.key + uuid
        if place not in self._claims:
            return
        del self._claims[place]
        for known in self.known.values():
            for told in known.told.values():
                if told.pop(place, False):
                    known.asked_at = -codes.SELECT_MS

    def conclude(self, inquiry: Inquiry, now: int) -> None:
        """All have answered, or their time is up."""
        if self.inquiries.pop(inquiry.address, None) is None:
            return
        del self._by_id[inquiry.id]
        self._mesh.timers.disarm(inquiry)
        for asker, id in inquiry.askers:
            self._answer(asker, id, expression_of(inquiry.address), codes.PROCESS)
        if inquiry.address in self._followed:
            pause = max(codes.SELECT_MS, _SHARE * (now - inquiry.began))
            self._followed[inquiry.address] = now + pause
            self._arm_follow()
        self._mesh.host.looked_up(inquiry.address, now)

    def met(self, now: int) -> None:
        """There is somebody new to ask."""
        for known in self.known.values():
            known.asked_at = -codes.SELECT_MS
        for address in self._followed:
            self.ask(address, now)

    def peer_lost(self, peer: Peer, now: int) -> None:
        """A node is gone: it answers no more, and what only it has told is not known any more."""
        for inquiry in list(self.inquiries.values()):
            if inquiry.waiting.pop(peer.key, False) and not inquiry.waiting:
                self.conclude(inquiry, now)
        for address, known in list(self.known.items()):
            if peer.key in known.told:
                self._note(address, peer.key, {}, now)
                del known.told[peer.key]

    # Answering

    def asked(self, link: "LinkFace", peer: Peer, frame: Frame, now: int) -> None:
        """SELECT came: answer with what is known, or ask on first."""
        realm = max(link.realm, frame.realm())
        expression: bytes = frame.payload
        if not self._finds(link, expression, now):
            if peer.hop is not None:
                peer.hop.answer(SelectedSignal(peer.key, frame.id, codes.REFUSED, []))
            return
        address = selector_address(expression, False)
        inquiry = self.inquiries.get(address)
        farther = (
            realm > peer.metric >> 14
        )  # by another way than ours to it: what is nearer is not told there
        if not farther and inquiry is None and self._start(address, peer, link, now):
            inquiry = self.inquiries.get(address)
        waits = inquiry is not None and peer.key not in inquiry.waiting
        if inquiry is not None and waits and not farther and len(inquiry.askers) < codes.WATCHES_MAX:
            inquiry.askers.append((peer, frame.id))
            return
        self._answer(peer, frame.id, expression, realm)

    def _finds(self, link: "LinkFace", expression: bytes, now: int) -> bool:
        """Whether a selector can be answered: it is one, and not too much was asked over that link within a
        second. One is looked at in any case.
        """
        if now - self._work_at >= 1000:
            self._work_at = now
            self._work = {}
        questions, work = self._work.get(link, (0, 0))
        if questions >= codes.SELECTS_SECOND_MAX:
            return self._refuses()
        if expression not in self._selections.asked:
            try:
                selection = self._selections.parse(expression)
            except Refusal:
                return False
            former = work
            work += selection.selector.work() * (self._mesh.directory.size + 1)
            if former and work > codes.SELECT_WORK_MAX:
                return self._refuses()
            self._selections.find_for_others(selection)
        self._work[link] = (questions + 1, work)
        return True

    def _refuses(self) -> bool:
        self._lookups.counters["lookups_over"] += 1
        return False

    def _answer(self, peer: Peer, id: int, expression: bytes, realm: int) -> None:
        selection = self._selections.asked.get(expression)
        if peer.hop is None or selection is None:
            return
        self._lookups.counters["lookups_answered"] += 1
        peer.hop.answer(SelectedSignal(peer.key, id, 0, self._holders(peer, selection, realm)))

    def _holders(self, asker: Peer, selection: Selection, realm: int) -> "list[Holder]":
        """The endpoints that the asker may see, and that count, the nearest first. Of very many only some are
        looked at.
        """
        widest = max(realm, asker.metric >> 14)
        by_uuid: "dict[bytes, list[Entry]]" = {}
        for entry in list(selection.found.values())[: codes.HOLDERS_SEEN_MAX]:
            if entry.realm >= max(widest, entry.peer.metric >> 14, codes.USERSPACE):
                if entry.peer is not asker and self._lookups.shows(asker, entry, False):
                    by_uuid.setdefault(entry.uuid, []).append(entry)
        found: "list[Entry]" = []
        for entries in by_uuid.values():
            found += counting(entries) if len(entries) > 1 else entries
        found.sort(key=lambda entry: (entry.peer.metric, mix(asker, entry.peer.key), entry.uuid))
        return [_holder(entry) for entry in found[: codes.SELECTED_MAX]]


def _holder(entry: Entry) -> Holder:
    holder = Holder(
        entry.peer.key,
        entry.kind,
        entry.realm,
        entry.peer.metric,
        entry.credit,
        entry.cost,
        entry.name,
        entry.traits,
    )
    holder.endpoint = entry.uuid
    return holder


def _understands(peer: Peer) -> bool:
    """Whether what goes to a node begins with a link whose other side knows the question."""
    return peer.hop is not None and peer.hop.addressing
