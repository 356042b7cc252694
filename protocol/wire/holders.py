"""How many holders of endpoints a frame takes (docs/protocol.md, section 7): a HAVE names those that fit, or
all subscribers in as many frames as they take, as a SELECTED. Sizes are those of what is bound in the frame.
"""

from busway.protocol.wire import codes
from busway.protocol.wire.messages import HaveFrame, SelectedSignal
from busway.protocol.wire.traits import fit_traits, write_traits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_AROUND: "Final" = 72  # of a HAVE besides its holders, with both nodes and the endpoint bound in it
_HOLDER: "Final" = 104  # of one, with its node bound, a name of 64 bytes, and all numbers as long as they get
_NAMELESS: "Final" = _HOLDER - 64  # the same without a name
_CHOSEN: "Final" = _HOLDER + 21  # of one in a SELECTED: its endpoint is bound in it, too


def fit_have(frame: HaveFrame, frame_size_max: int, traits: bool) -> None:
    """Leave as many holders as the frame takes, whatever their names. Labels and last words have what room is
    left, if the reader knows them.
    """
    fitting = min(codes.HOLDERS_MAX, (frame_size_max - _AROUND) // _HOLDER)
    if not fitting:
        for holder in frame.holders:
            holder.name = ""
    frame.holders = frame.holders[: max(1, fitting)]
    fit_labels(frame, frame_size_max - _AROUND - len(frame.holders) * _HOLDER if traits else 0)


def fit_labels(frame: HaveFrame, room: int) -> None:
    """Leave as many labels and last words of its holders as find a place."""
    for holder in frame.holders:
        if holder.traits:
            holder.traits = fit_traits(holder.traits, max(1, room))
            room -= len(write_traits(holder.traits))


def cut_have(frame: HaveFrame, frame_size_max: int, traits: bool) -> "list[HaveFrame]":
    """The frames that it takes: several only of subscribers, and to a reader that knows `traits`. All but the
    last are HAVE_PART.
    """
    holders = frame.holders
    if not traits or not frame.in_parts or not any([each.kind == codes.BROADCAST for each in holders]):
        fit_have(frame, frame_size_max, traits)
        return [frame]
    pieces: "list[HaveFrame]" = []
    while holders:
        room = frame_size_max - _AROUND
        count = 0
        for holder in holders[: codes.HOLDERS_MAX]:
            if _NAMELESS + len(holder.name.encode()) > frame_size_max - _AROUND:
                holder.name = ""
            room -= _NAMELESS + len(holder.name.encode())
            if room < 0:
                break
            count += 1
        piece = HaveFrame(frame.destination, frame.endpoint, holders[:count])
        piece.signal = codes.HAVE_PART
        piece.route = frame.route
        fit_labels(piece, room)
        pieces.append(piece)
        holders = holders[count:]
    pieces[-1].signal = frame.signal
    return pieces


def cut_selected(frame: SelectedSignal, frame_size_max: int) -> "list[SelectedSignal]":
    """The frames that it takes: a holder has its name and labels only where one frame has room for them."""
    most = frame_size_max - _AROUND
    left = frame.holders
    pieces: "list[SelectedSignal]" = []
    while left or not pieces:
        room = most
        count = 0
        for holder in left[: codes.HOLDERS_MAX]:
            if most < _CHOSEN:
                holder.name = ""
            holder.traits = fit_traits(holder.traits, max(1, most - _CHOSEN))
            room -= _CHOSEN + len(holder.traits)
            if room < 0 and count:
                break
            count += 1
        flags = frame.code | (codes.MORE_FOLLOW if count < len(left) else 0)
        piece = SelectedSignal(frame.destination, frame.id, flags, left[:count])
        piece.route = frame.route
        pieces.append(piece)
        left = left[count:]
    return pieces
