"""The answers of a store to who looks: history, last values, what waits and why, its state."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from busway.names import endpoint_id, uuid_text
from busway.protocol import codes
from busway.protocol.wire.patterns import check_pattern, is_pattern
from busway.store import records
from busway.store.queues import delivered
from busway.store.records import StoreError
from busway.store.tables import SCAN_MAX, Change, Entry, Mark, now_ms

if TYPE_CHECKING:
    from busway.store.service import Service

COUNT_MAX = 1000
_SIZE = 1 << 20  # bytes of payload in one answer, unless one message has more


def history(service: Service, request: Any, asked: records.History) -> Any:
    """Messages in order, and the place behind which to ask on."""
    try:
        check_pattern(asked.pattern)
    except Exception as error:  # noqa: BLE001 - the core's own error, told as it is
        raise StoreError(records.MALFORMED, str(error)) from None
    _check_subscriber(service, request, asked.pattern)
    count = min(max(asked.count, 1), COUNT_MAX)
    if asked.newest:
        found = service.tables.newest(asked.pattern, count, asked.since, asked.until)
        reached = found[-1].pos if found else 0
    else:
        found, reached = service.tables.published(
            asked.pattern, asked.after, count, asked.since, asked.until, scan=SCAN_MAX
        )
    more = reached < service.tables.last_position() and not asked.newest
    size = 0
    for index, entry in enumerate(found):
        size += entry.size
        if index and size > _SIZE:
            found = found[:index]
            reached = found[-1].pos
            more = True
            break
    now = now_ms()
    shown = [entry for entry in found if not entry.is_over(now) and _may_read(service, request, entry)]
    return {
        "messages": [delivered(entry) for entry in shown],
        "reached": reached,
        "more": more,
    }


def last(service: Service, request: Any, name: str) -> Any:
    """The newest value of a name, or nothing."""
    if is_pattern(name):
        raise StoreError(records.MALFORMED, "a last value is of one name, not of a pattern")
    _check_subscriber(service, request, name)
    found = service.tables.newest(name, 1, 0, 0)
    return [delivered(entry) for entry in found if not entry.is_over(now_ms())]


def _check_subscriber(service: Service, request: Any, pattern: str) -> None:
    if not service.may(request, codes.MAY_SUBSCRIBE, b"", pattern):
        raise StoreError(
            records.NOT_ALLOWED, f"the policy of the store does not let this program read {pattern!r}"
        )


def _may_read(service: Service, request: Any, entry: Entry) -> bool:
    """By a pattern one gets what one may subscribe to by its name."""
    if request.source == service.bus.id:
        return True
    gate = service.bus.node.receiving.gate
    return gate.permits(
        request.flow.session, request.source, codes.MAY_SUBSCRIBE, entry.endpoint, entry.name, codes.LOCALNET
    )


def status(service: Service) -> dict[str, Any]:
    """The state of a store."""
    return {
        "id": service.id,
        "place": service.backend.place,
        "keep": service.keep,
        "trouble": service.trouble or service.backend.trouble(),
        "consumers": len(service.sessions),
        "missed": service.recording.missed,
        "refused": service.recording.refused,
        "counts": dict(service.counts),
        **service.usage.shown(),
    }


# Jobs


async def answer_jobs(service: Service, request: Any, asked: records.Jobs) -> Any:
    """All queues; or the messages of one, of which some are tried again, or dropped."""
    if not asked.queue:
        return await _queues(service, request)
    row = next(iter(await _queues(service, request, asked.queue)), None)
    if row is None:
        raise StoreError(records.NO_SUCH, f"there is no queue {asked.queue!r}")
    if asked.action == "forget":
        return await _forget(service, row)
    found = _messages(service, row, asked)
    if not asked.action:
        return [_shown(entry) for entry in found]
    changes: list[Change] = []
    for entry in found:
        changes += _acted(service, row, entry, asked.action)
    await service.commit(changes)
    key: tuple[str, bytes | str] = ("durable", row["queue"])
    if row["sort"] == "mail":
        key = ("mail", bytes(row["endpoint"]))
        service.pushing.arrived(bytes(row["endpoint"]))
    queue = service.queues.get(key)
    if queue is not None:
        for entry in found:
            queue.gone(entry.pos)
            if asked.action == "retry":
                queue.revive(entry._replace(tries=0, due=0, dead=""))
        service.pump(queue)
    return [_shown(entry) for entry in found]


async def _queues(service: Service, request: Any, wanted: str = "") -> list[dict[str, Any]]:
    """All queues that somebody may look at, or the one with that title; others are answered between two."""
    rows = []
    for endpoint, name, waiting, dead, oldest in service.tables.mail_queues():
        title = name or uuid_text(endpoint)
        if wanted not in ("", title) or not service.may(request, codes.MAY_SERVE, bytes(endpoint), name):
            continue
        queue = service.queues.get(("mail", bytes(endpoint)))
        rows.append(
            {
                "queue": title,
                "sort": "mail",
                "endpoint": bytes(endpoint),
                "pattern": name,
                "waiting": waiting,
                "dead": dead,
                "consumers": len(queue.sessions) if queue is not None else 0,
                "oldest": oldest,
            }
        )
    for durable in service.tables.durables():
        if wanted not in ("", durable.name) or not service.may(
            request, codes.MAY_SUBSCRIBE, b"", durable.pattern
        ):
            continue
        await asyncio.sleep(0)
        queue = service.queues.get(("durable", durable.name))
        floor = queue.floor() if queue is not None else durable.floor
        marks = service.tables.marks(durable.name)
        done = {mark.pos for mark in marks if mark.done or mark.dead}
        waiting, oldest = service.tables.count_published(durable.pattern, floor, done)
        rows.append(
            {
                "queue": durable.name,
                "sort": "durable",
                "endpoint": b"",
                "pattern": durable.pattern,
                "waiting": waiting,
                "dead": sum(bool(mark.dead) for mark in marks),
                "consumers": len(queue.sessions) if queue is not None else 0,
                "oldest": oldest,
            }
        )
    return rows


def _messages(service: Service, row: dict[str, Any], asked: records.Jobs) -> list[Entry]:
    count = min(max(asked.count, 1), COUNT_MAX)
    tables = service.tables
    if row["sort"] == "mail":
        endpoint = bytes(row["endpoint"]) or endpoint_id(row["pattern"])
        alive = tables.mail(endpoint, (records.MAIL, records.REQUEST), 0, COUNT_MAX)
        found = tables.dead(endpoint, COUNT_MAX) + ([] if asked.dead else alive)
    else:
        marks = {mark.pos: mark for mark in tables.marks(row["queue"])}
        floor = next(each.floor for each in tables.durables() if each.name == row["queue"])
        dead = [tables.entry(mark.pos) for mark in marks.values() if mark.dead]
        found = [entry for entry in dead if entry is not None]
        if not asked.dead:
            more, _ = tables.published(row["pattern"], floor, COUNT_MAX, scan=SCAN_MAX)
            found += [entry for entry in more if entry.pos not in marks or not marks[entry.pos].dead]
        found = [
            entry._replace(tries=marks[entry.pos].tries, dead=marks[entry.pos].dead)
            if entry.pos in marks
            else entry
            for entry in found
            if entry.pos not in marks or not marks[entry.pos].done
        ]
    if asked.positions:
        wanted = set(asked.positions)
        found = [entry for entry in found if entry.pos in wanted]
    return sorted(found, key=lambda entry: entry.pos)[:count]


def _acted(service: Service, row: dict[str, Any], entry: Entry, action: str) -> list[Change]:
    if action not in ("retry", "drop"):
        raise StoreError(records.MALFORMED, "what is done with messages is retry or drop")
    if row["sort"] == "mail":
        if action == "drop":
            return [("remove", [entry.pos])]
        return [("trouble", entry.pos, 0, 0, "")]
    mark = Mark(entry.pos, 1, 0, 0, "") if action == "drop" else Mark(entry.pos, 0, 0, 1, "")
    return [("progress", row["queue"], 0, [mark])]


async def _forget(service: Service, row: dict[str, Any]) -> Any:
    if row["sort"] != "durable":
        raise StoreError(
            records.MALFORMED, f"{row['queue']!r} is mail, no durable: drop its messages instead"
        )
    if row["consumers"]:
        raise StoreError(records.NOT_ALLOWED, f"{row['queue']!r} has consumers: end them first")
    await service.commit([("forget", row["queue"])])
    return []


def _shown(entry: Entry) -> dict[str, Any]:
    return {
        "position": entry.pos,
        "name": entry.name or uuid_text(entry.endpoint),
        "sort": ("mail", "request", "published")[entry.kind],
        "source": entry.source,
        "label": entry.label,
        "stored": entry.stored,
        "expires": entry.expires,
        "tries": entry.tries,
        "due": entry.due,
        "dead": entry.dead,
        "bytes": len(entry.payload),
    }
