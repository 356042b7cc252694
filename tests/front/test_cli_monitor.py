"""`busway monitor` at a terminal: its tables with running programs, by keys, and how it ends."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.coordinate import Coordinate
from textual.widgets import Static

import busway
from busway.cli import survey
from busway.cli.monitor_screen import Lines, MonitorApp
from busway.cli.rates import EndpointLine, NodeLine, View
from busway.cli.survey import PUBLISHER
from tests.front.cli_rig import environment, new_bus, peer, python, started
from tests.rigs import forks, terminal
from tests.rigs.terminal import Terminal

# More endpoints than a screen has rows; the busy one is the last of them by name. A label as long as may be.
BUSY = """
import busway, sys, time
with busway.Bus(sys.argv[1], label="x" * 64) as bus:
    for number in range(60):
        bus.serve(f"lab/{number:02}", lambda request: None)
    busy = bus.subscribe("zz/busy")
    print("ready", flush=True)
    while True:
        bus.publish("zz/busy", 1)
        busy.receive(60)
        time.sleep(0.01)
"""


READY = ("busway.adapters.asyncio", "textual.app", "textual.widgets")


@contextmanager
def busy(bus: str) -> Iterator[None]:
    with python("-c", BUSY, bus) as running:
        assert running.line() == "ready"
        yield


@contextmanager
def monitor(bus: str, *words: str, **options: Any) -> Iterator[Terminal]:
    command = ("-m", "busway", "monitor", "-i", "0.2", *words)
    with terminal.forked(*command, env=environment({"BUSWAY_BUS": bus}), ready=READY, **options) as opened:
        yield opened


def endpoints_of(screen: Terminal) -> list[list[str]]:
    """The rows of the lower table, split into words."""
    rows = screen.rows
    top = next((number for number, row in enumerate(rows) if re.search("ENDPOINT[ ▲▼]", row)), len(rows))
    found = [row.split() for row in rows[top + 1 : -1]]
    return [words for words in found if len(words) > 6]  # not the scroll bar


def left_clean(screen: Terminal) -> bool:
    """Whether the other screen of the terminal was left, and the cursor is to be seen."""
    return screen.said.rindex(b"\x1b[?1049l") > screen.said.rindex(b"\x1b[?1049h") and (
        screen.said.rindex(b"\x1b[?25h") > screen.said.rindex(b"\x1b[?25l")
    )


class TestAtATerminal:
    def test_the_busiest_is_first_and_nothing_is_pushed_off(self) -> None:
        bus = new_bus()
        with busy(bus), peer(bus, "second"), monitor(bus) as screen:
            screen.until(lambda: endpoints_of(screen) and endpoints_of(screen)[0][6:7] == ["zz/busy"])
            rate, sent, queued, dropped, taken, kind, *_ = endpoints_of(screen)[0]
            assert float(rate) > 5
            assert int(taken.replace(",", "")) > 5
            assert (sent, queued, dropped, kind) == ("-", "0", "0", "broadcast")
            assert "TAKEN/S▼" in screen.text
            assert re.search(r"\d messages/s  2 nodes  68 endpoints", screen.rows[0])
            keys = ("q Quit", "/ Filter", "s Sort", "r Reverse", "tab Other")
            screen.until(lambda: all(key in screen.rows[-1] for key in keys))
            assert any("xxxxxxxx" in row and " ok " in row for row in screen.rows)
            screen.press("q")
            assert screen.ends() == 0
            assert left_clean(screen)

    def test_it_filters_sorts_and_scrolls(self) -> None:
        bus = new_bus()
        with busy(bus), monitor(bus) as screen:
            screen.until(lambda: "zz/busy" in screen.text)
            screen.press("/lab/5")
            screen.until(lambda: "zz/busy" not in screen.text and "lab/59" in screen.text)
            screen.press("\r")
            screen.until(lambda: "only with 'lab/5'" in screen.rows[0])
            screen.until(lambda: len(endpoints_of(screen)) == 10)
            screen.press("\x1b")
            screen.until(lambda: "zz/busy" in screen.text)
            screen.press("ssssss")  # TAKEN/S, SENT/S, QUEUED, DROPPED, TAKEN, KIND, then by name
            screen.until(lambda: "ENDPOINT▲" in screen.text)
            screen.until(lambda: "zz/busy" not in screen.text and "lab/00" in screen.text)
            assert endpoints_of(screen)[0][6] == "lab/00"
            screen.press("\x1b[6~" * 5)  # Page Down
            screen.until(lambda: "zz/busy" in screen.text)
            screen.press("r")
            screen.until(lambda: "ENDPOINT▼" in screen.text)
            screen.press("q")
            assert screen.ends() == 0

    @pytest.mark.parametrize("end", ["ctrl-c", "count", "SIGINT", "SIGTERM"])
    def test_however_it_ends_the_terminal_is_as_before(self, end: str) -> None:
        bus = new_bus()
        with peer(bus), monitor(bus, *(("-c", "2") if end == "count" else ())) as screen:
            if end != "count":
                screen.until(lambda: "lab/echo" in screen.text)
            if end == "ctrl-c":
                screen.press("\x03")
            elif end != "count":
                screen.process.send_signal(getattr(signal, end))
            assert screen.ends() == 0
            assert left_clean(screen)
            assert b"Traceback" not in screen.said

    def test_it_ends_when_its_terminal_vanishes_without_a_word(self) -> None:
        """As that of who is in no session of it: no signal comes."""
        ours, theirs = os.openpty()
        env = environment({"BUSWAY_BUS": new_bus(), "TERM": "xterm-256color"})
        words = ("-m", "busway", "monitor", "-i", "0.2")
        program = forks.Program(words, env, terminal=theirs, ready=READY, apart=True)
        try:
            os.close(theirs)
            said = b""
            while b"endpoint" not in said:
                said += os.read(ours, 65536)
            os.close(ours)
            assert program.wait(60) is not None
        finally:
            if program.poll() is None:
                program.send_signal(signal.SIGKILL)
                program.wait(60)

    def test_without_textual_it_says_what_to_install(self, tmp_path: Path) -> None:
        (tmp_path / "textual.py").write_text("raise ModuleNotFoundError('no textual', name='textual')\n")
        hiding = environment({"BUSWAY_BUS": new_bus()})
        hiding["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{hiding['PYTHONPATH']}"
        command = (sys.executable, "-m", "busway", "monitor")
        with terminal.opened(*command, env=hiding, columns=300) as screen:
            assert screen.ends() == 5
            assert f"{sys.executable} -m pip install textual; `busway monitor | cat`" in screen.text

    def test_busway_itself_does_not_import_textual(self) -> None:
        program = "import sys, busway.cli.app; print(sorted({'textual', 'rich'} & set(sys.modules)))"
        with started(sys.executable, "-c", program) as running:
            assert running.line() == "[]"


# The tables by themselves


def view(count: int, **rates: float) -> View:
    lines = [
        EndpointLine(bytes([number]) * 16, f"lab/{number:03}", "anycast", ["one" * 20])
        for number in range(count)
    ]
    for line in lines:
        line.rate = rates.get(line.name.replace("/", "_"), 0.0)
    return View(
        [NodeLine(b"n" * 16, "one", False, "ok"), NodeLine(b"m" * 16, "[red]two", False, "no answer")], lines
    )


Show = Callable[[View], None]


def run(test: Callable[[MonitorApp, Any, Show], Coroutine[Any, Any, None]]) -> None:
    """A test of the app at 80 columns and 24 lines, which is told what to show."""

    async def main() -> None:
        told: asyncio.Future[Show] = asyncio.get_running_loop().create_future()

        async def watch(show: Show) -> None:
            told.set_result(show)
            await asyncio.Event().wait()

        app = MonitorApp("test", watch)
        async with app.run_test(size=(80, 24)) as pilot:
            await test(app, pilot, await told)

    asyncio.run(main())


def names(table: Lines, column: int = 6) -> list[str]:
    return [str(table.get_cell_at(Coordinate(row, column))) for row in range(table.row_count)]


def test_cursor_and_place_stay_while_the_view_changes() -> None:
    async def test(app: MonitorApp, pilot: Any, show: Show) -> None:
        show(view(100))
        await pilot.pause()
        table = app.query_one("#endpoints", Lines)
        await pilot.press(*["down"] * 50, *["up"] * 5, *["right"] * 2)  # not at an edge
        await pilot.pause()
        at, place = names(table)[table.cursor_row], table.scroll_offset
        assert place.x > 0
        assert place.y > 0
        show(view(100, lab_000=5.0))
        await pilot.pause()
        assert (names(table)[table.cursor_row], table.scroll_offset) == (at, place)
        show(view(100, lab_099=5.0))  # one has risen to the top
        await pilot.pause()
        assert names(table)[0] == "lab/099"
        assert names(table)[table.cursor_row] == at
        show(view(3))
        await pilot.pause()
        assert names(table) == ["lab/000", "lab/001", "lab/002"]
        show(View([], []))
        await pilot.pause()
        assert table.row_count == 0

    run(test)


def test_the_keys_go_to_the_table_as_soon_as_the_filter_is_closed() -> None:
    async def test(app: MonitorApp, pilot: Any, show: Show) -> None:
        for close in (app.action_unfilter, app._on_filtered):
            await pilot.press("slash")
            assert getattr(app.focused, "id", "") == "filter"
            close()  # what has the focus when it is hidden may take it from who gets it later
            assert getattr(app.focused, "id", "") == "endpoints"
            await pilot.pause()
            assert getattr(app.focused, "id", "") == "endpoints"
        app.action_other()
        assert getattr(app.focused, "id", "") == "nodes"

    run(test)


def test_keys_right_behind_a_view_scroll_over_all_that_it_brought() -> None:
    async def test(app: MonitorApp, pilot: Any, show: Show) -> None:
        table = app.query_one("#endpoints", Lines)
        show(view(3))
        await pilot.pause()
        show(view(100))  # and no idle moment from here on
        for _ in range(3):
            table.action_page_down()
            show(view(100))
        at, place = table.cursor_row, table.scroll_offset.y
        assert at > 20
        assert at - table.size.height < place <= at
        await pilot.pause()
        assert (table.cursor_row, table.scroll_offset.y) == (at, place)

    run(test)


def test_cursor_and_place_come_back_with_the_row() -> None:
    async def test(app: MonitorApp, pilot: Any, show: Show) -> None:
        show(view(100))
        await pilot.pause()
        table = app.query_one("#endpoints", Lines)
        await pilot.press(*["pagedown"] * 3)
        at, place = names(table)[table.cursor_row], table.scroll_offset
        assert place.y > 0
        for missing in (View([], []), view(2)):  # no answer in time, or not of the node that has it
            show(missing)
            show(missing)
            await pilot.pause()
            show(view(100))
            await pilot.pause()
            assert (names(table)[table.cursor_row], table.scroll_offset) == (at, place)
        show(view(10))
        await pilot.press("down")
        show(view(100))
        await pilot.pause()
        assert names(table)[table.cursor_row] == "lab/001"  # who has moved stays there

    run(test)


def test_who_looks_at_the_top_sees_the_busiest() -> None:
    async def test(app: MonitorApp, pilot: Any, show: Show) -> None:
        table = app.query_one("#endpoints", Lines)
        for busiest in (*range(12), 50, 99, 98, 49, 1, 0):  # a step down, far up, far down
            show(view(100, **{f"lab_{busiest:03}": 5.0}))
            await pilot.pause()
            assert (table.cursor_row, table.scroll_offset.y) == (0, 0)
            assert names(table)[0] == f"lab/{busiest:03}"

    run(test)


def test_each_table_has_its_own_order_and_titles_are_clicked() -> None:
    async def test(app: MonitorApp, pilot: Any, show: Show) -> None:
        show(view(5, lab_003=2.0))
        await pilot.pause()
        nodes, endpoints = app.query_one("#nodes", Lines), app.query_one("#endpoints", Lines)
        assert names(endpoints)[0] == "lab/003"
        await pilot.press("tab", "s")
        assert (nodes.sorted_by, endpoints.sorted_by) == (1, 0)
        assert app.focused is nodes
        await pilot.press("tab", "r")
        assert app.focused is endpoints
        assert names(endpoints)[-1] == "lab/003"
        await pilot.click("#endpoints", offset=(58, 0))
        await pilot.pause()
        assert endpoints.sorted_by == 6
        assert names(endpoints)[0] == "lab/000"
        assert "[red]two" in names(nodes, 6)  # no markup of others' is obeyed

    run(test)


def test_a_label_is_seen_beside_any_answer_and_only_what_is_wrong_is_red() -> None:
    answers = {
        survey.OK: "green",
        survey.BEYOND: "",
        survey.BOARD: "",
        survey.UNREACHED: "",
        survey.SILENT: "red",
        survey.UNREADABLE: "red",
        survey.OTHER_VERSION: "red",
    }

    async def test(app: MonitorApp, pilot: Any, show: Show) -> None:
        nodes = [NodeLine(bytes([at]) * 16, "label", False, answer) for at, answer in enumerate(answers)]
        show(View(nodes, []))
        await pilot.pause()
        table = app.query_one("#nodes", Lines)
        columns = table.ordered_columns
        before = sum(column.get_render_width(table) for column in columns[:6])
        assert [column.label.plain.strip() for column in columns[5:7]] == ["ANSWER", "NODE"]
        assert before <= 65, "and so 14 letters of the label"
        colours = [str(table.get_cell_at(Coordinate(row, 5)).style) for row in range(len(answers))]
        assert colours == list(answers.values())

    run(test)


def test_pause_holds_the_picture() -> None:
    async def test(app: MonitorApp, pilot: Any, show: Show) -> None:
        show(view(5))
        await pilot.press("space")
        show(view(9))
        await pilot.pause()
        table = app.query_one("#endpoints", Lines)
        assert table.row_count == 5
        await pilot.press("space")
        show(view(9))
        await pilot.pause()
        assert table.row_count == 9

    run(test)


def test_who_publishes_has_a_line_beside_the_subscribers() -> None:
    async def test(app: MonitorApp, pilot: Any, show: Show) -> None:
        shown = view(2, lab_001=3.0)
        first = shown.endpoints[0]
        shown.endpoints.append(EndpointLine(first.id, first.name, PUBLISHER, ["one"], sent=9, sent_rate=4.5))
        show(shown)
        await pilot.pause()
        table = app.query_one("#endpoints", Lines)
        rows = [[str(cell) for cell in table.get_row_at(row)] for row in range(table.row_count)]
        assert ["-", "4.5", "-", "-", "-", "publisher", "lab/000", "one"] in rows
        assert [row[6] for row in rows].count("lab/000") == 2
        assert "  3 messages/s  2 nodes  2 endpoints" in str(app.query_one("#head", Static).render())

    run(test)


def test_a_failure_of_the_watch_ends_it_and_is_kept() -> None:
    async def main() -> None:
        async def watch(show: Show) -> None:
            raise busway.BusClosed

        app = MonitorApp("test", watch)
        async with app.run_test(size=(80, 24)) as pilot:
            await pilot.pause()
        assert isinstance(app.failure, busway.BusClosed)

    asyncio.run(main())
