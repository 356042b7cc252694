"""`busway links --watch`: the links as they come, go and change their state, until interrupted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from busway.cli import output
from busway.cli.look import link_documents, link_note
from busway.cli.options import Place

if TYPE_CHECKING:
    from busway.adapters.asyncio import AsyncBus

_EVERY_S = 0.5  # between two looks; a state that lasts less may not be seen
_GONE = "gone"


def watch_links(place: Place, wanted: str, timeout: float, both: bool, as_json: bool) -> int:
    """List the links, then each that changes. Joins as a full node, so as to see who comes."""
    import asyncio

    from busway.cli import session
    from busway.cli.survey import survey

    async def job(bus: AsyncBus) -> int:
        before: dict[tuple[str, ...], dict[str, Any]] = {}
        while True:
            found = await survey(bus, timeout)
            if wanted:
                names = session.matching(wanted, [each.info for each in found])
                found = [each for each in found if each.info in names]
            now = {_key(link): link for link in link_documents(bus, found, both or bool(wanted))}
            for key, link in now.items():
                if key not in before or _looks(before[key]) != _looks(link):
                    _tell(link, as_json)
            for key, link in before.items():
                if key not in now:
                    _tell(link | {"state": _GONE}, as_json)
            before = now
            await asyncio.sleep(_EVERY_S)

    return session.run(place, "links", job, leaf=False, endless=True)


def _key(link: dict[str, Any]) -> tuple[str, ...]:
    """The part of a link that stays while it is lost and comes back."""
    return (link["node"], link["address"], link["peer"] if not link["address"] else "", str(link["dialled"]))


def _looks(link: dict[str, Any]) -> tuple[object, ...]:
    return (link["state"], link["peer"], link.get("attempt"), link.get("error"))


def _tell(link: dict[str, Any], as_json: bool) -> None:
    if as_json:
        output.say_json({"time": round(time.time(), 3)} | link)
        return
    ends = f"{link['label'] or '?'} {link['node'][:8]}  {link['peer_label'] or '?'} {link['peer'][:8]}"
    rtt = f"  rtt {output.duration_text(link['rtt_ms'])}" if link["rtt_ms"] >= 0 else ""
    note = link_note(link) if link["state"] != _GONE else ""
    line = f"{output.clock_text()}  {link['state']:12}  {ends}  {link['address']}{rtt}  {note}"
    output.say(output.printable(line.rstrip()))
