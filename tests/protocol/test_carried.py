"""What a program sees of the things that came with a message."""

from typing import Any

import pytest

from busway.protocol.messaging.carried import Carried, Pool, open_with
from busway.protocol.wire.things import NODE_MAX, Things


def test_a_node_holds_no_more_than_its_process_can() -> None:
    pool = Pool()
    assert pool.has_room(NODE_MAX, None)
    assert not pool.has_room(NODE_MAX + 1, None)
    pool.most = 100
    assert pool.has_room(100, None)
    assert not pool.has_room(101, None)


def test_what_nobody_opens_is_seen_as_it_came_regions_first() -> None:
    came = Carried(Things(["region", "file", "other"], 1))
    assert (came.files, came.regions) == (["file", "other"], ["region"])
    assert came.files is came.files
    assert came.items == ("region", "file", "other")


def test_what_is_opened_is_opened_once_and_then_the_programs() -> None:
    asked: list[Any] = []

    def opener(items: Any, region_count: int) -> Any:
        asked.append((items, region_count))
        return ["opened file"], ["opened region"]

    open_with(print)
    open_with(opener)
    came = Carried(Things(["region", "file"], 1))
    assert came.items == ("region", "file")
    assert (came.regions, came.files) == (["opened region"], ["opened file"])
    assert came.files is came.files
    assert asked == [(("region", "file"), 1)]
    assert not came.items


def test_what_cannot_be_opened_can_be_asked_for_again() -> None:
    def fails(items: Any, region_count: int) -> Any:
        raise OSError("no descriptor is left")

    open_with(fails)
    came = Carried(Things(["file"]))
    with pytest.raises(OSError):
        _ = came.files
    assert came.items == ("file",)
    open_with(lambda items, _: (list(items), []))
    assert came.files == ["file"]
    assert Carried(None).files == []
