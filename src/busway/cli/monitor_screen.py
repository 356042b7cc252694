"""The screen of `busway monitor`: nodes and endpoints in tables that scroll, sort and filter.

Knows views, not where they come from. Importing this imports textual.
"""

from __future__ import annotations

import asyncio
import select
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, NamedTuple, TextIO

from rich.text import Text
from textual import on
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.coordinate import Coordinate
from textual.geometry import Size
from textual.widget import Widget
from textual.widgets import DataTable, Footer, Input, Static

from busway.cli import output, survey
from busway.cli.rates import EndpointLine, View

_LOOK_S = 0.5  # between two looks whether the terminal is still there


class Column(NamedTuple):
    """One column: its title, the text in it, and by what it is sorted; the greatest first if `falling`."""

    title: str
    text: Callable[[Any], str]
    key: Callable[[Any], Any]
    falling: bool
    colour: Callable[[Any], str]


def _number(title: str, value: Callable[[Any], float | None], text: Callable[[Any], str]) -> Column:
    def key(line: Any) -> float:
        found = value(line)
        return -1.0 if found is None else found  # what was not told comes last

    return Column(title, lambda line: _or_dash(value(line), text), key, True, lambda line: "")


def _or_dash(value: float | None, text: Callable[[Any], str]) -> str:
    return "-" if value is None else text(value)


def _words(title: str, text: Callable[[Any], str], colour: Callable[[Any], str] = lambda line: "") -> Column:
    return Column(title, text, lambda line: text(line).casefold(), False, colour)


def _rate(value: float) -> str:
    return f"{value:,.1f}"


def _count(value: int) -> str:
    return f"{value:,}"


# So short that a label beside it is to be seen at 80 columns.
_SHORT = {survey.BEYOND: "beyond", survey.BOARD: "leaf", survey.OTHER_VERSION: "version"}


def _held(line: EndpointLine, count: int) -> int | None:
    """A count of an endpoint's holder; a publisher has none."""
    return None if line.kind == survey.PUBLISHER else count


# Numbers before names, as in top: however long a name is, it does not push them off the screen.
NODE_COLUMNS = (
    _number("TAKEN/S", lambda line: line.messages_rate, _rate),
    _number("IN/S", lambda line: line.bytes_in_rate, output.size_text),
    _number("OUT/S", lambda line: line.bytes_out_rate, output.size_text),
    _number("LINKS", lambda line: line.links, _count),
    _number("PENDING", lambda line: line.outstanding, _count),
    _words(
        "ANSWER",
        lambda line: _SHORT.get(line.answer, line.answer),
        lambda line: survey.colour_of(line.answer) or "",
    ),
    _words("NODE", lambda line: output.printable(line.label) or "?", lambda line: "bold"),
    _words("ID", lambda line: line.id.hex()[:8]),
    _number("SENT/S", lambda line: line.sent_rate, _rate),
    _number("ENDPOINTS", lambda line: line.endpoints, _count),
)
ENDPOINT_COLUMNS = (
    _number("TAKEN/S", lambda line: line.rate, _rate),
    _number("SENT/S", lambda line: line.sent_rate, _rate),
    _number("QUEUED", lambda line: _held(line, line.queued), _count),
    _number("DROPPED", lambda line: _held(line, line.dropped), _count),
    _number("TAKEN", lambda line: _held(line, line.taken), _count),
    _words("KIND", lambda line: line.kind),
    _words(
        "ENDPOINT", lambda line: output.printable(line.name) or output.uuid_text(line.id), lambda _: "cyan"
    ),
    _words("HOLDERS", lambda line: output.printable(", ".join(line.holders))),
)


class Lines(DataTable[Text]):
    """One of the two tables. Keeps its cursor on the same row and its place while the view changes, also when
    the row is missing for a while: a node that answers late brings its endpoints with the next view.
    """

    def __init__(self, columns: tuple[Column, ...], name: str) -> None:
        super().__init__(id=name, cursor_type="row", zebra_stripes=True)
        self._kinds = columns
        self._lines: list[Any] = []
        self._wanted = ""
        self._left: tuple[str, int] | None = None  # cursor's row and place, while that row is not there
        self.sorted_by = 0
        self.turned = False

    def on_mount(self) -> None:
        for number, column in enumerate(self._kinds):
            self.add_column(self._title(number), key=column.title)

    def _title(self, number: int) -> Text:
        column = self._kinds[number]
        # The room for the mark is there from the start: a column's width is that of its first title.
        mark = " " if number != self.sorted_by else "▼" if column.falling != self.turned else "▲"
        return Text(column.title + mark, justify="right" if column.falling else "left")

    def fill(self, lines: list[Any], wanted: str) -> None:
        """These lines, of which only those that have `wanted` in one of their words."""
        self._lines, self._wanted = lines, wanted.casefold()
        self.redraw()

    def redraw(self) -> None:
        """The same lines anew."""
        kept, cursor = self._shown(), self._row_at_cursor()
        across, down = self.scroll_offset
        if self._left is not None and not cursor and not down:  # nobody has moved since
            cursor, down = self._left
        for number, shown in enumerate(self.ordered_columns):
            shown.label = self._title(number)
        # Without its watchers, which would scroll to the cursor later.
        self.set_reactive(DataTable.cursor_coordinate, Coordinate(0, 0))
        self.clear()
        for line in kept:
            self.add_row(*(self._cell(column, line) for column in self._kinds), key=line.key)
        self._left = (cursor, down) if cursor and cursor not in self.rows else None
        if cursor in self.rows:  # one that is at the top stays there, whoever that is now
            self.set_reactive(DataTable.cursor_coordinate, Coordinate(self.get_row_index(cursor), 0))
        # Now, not in the next idle moment: until then one could not scroll below the former number of rows.
        self.virtual_size = Size(self.virtual_size.width, self.header_height + self.row_count)
        self.scroll_to(across, down)

    def scroll_to(self, x: float | None = None, y: float | None = None, **how: Any) -> None:
        """At once, not after the next refresh, by and by, or when there is a scroll bar: a view or a key may
        come before that.
        """
        super().scroll_to(x, y, **{**how, "animate": False, "force": True, "immediate": True})

    def _row_at_cursor(self) -> str:
        if not self.row_count or not self.cursor_row:
            return ""
        return self.coordinate_to_cell_key(self.cursor_coordinate).row_key.value or ""

    def _shown(self) -> list[Any]:
        words = [column for column in self._kinds if not column.falling]
        kept = [
            line
            for line in self._lines
            if any(self._wanted in column.text(line).casefold() for column in words)
        ]
        column = self._kinds[self.sorted_by]
        return sorted(kept, key=column.key, reverse=column.falling != self.turned)

    @staticmethod
    def _cell(column: Column, line: Any) -> Text:
        justify = "right" if column.falling else "left"
        return Text(column.text(line), style=column.colour(line), justify=justify, no_wrap=True)  # type: ignore[arg-type]

    def sort_by(self, number: int) -> None:
        """By this column; once more, the other way round."""
        self.turned = number == self.sorted_by and not self.turned
        self.sorted_by = number
        self.redraw()


def has_hung_up(terminal: TextIO | None) -> bool:
    """Whether nobody is at the other end of a terminal any more; False where the system does not say."""
    if terminal is None or not hasattr(select, "poll"):
        return False
    poller = select.poll()
    poller.register(terminal, 0)
    return any(what & select.POLLHUP for _, what in poller.poll(0))


class MonitorApp(App[None]):
    """Shows what comes from `watch`, until that ends or somebody quits.

    Args: `watch` is given what to call with each view. `failure` is what it raised.
    """

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #head { height: 1; text-style: bold; text-wrap: nowrap; text-overflow: ellipsis; }
    #nodes { height: auto; max-height: 40%; margin-bottom: 1; }
    #endpoints { height: 1fr; }
    #filter { border: none; height: 1; padding: 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("ctrl+c", "quit", "Quit", show=False, priority=True),
        # First of all, or the keys right behind it would go to a table.
        Binding("slash", "filter", "Filter", key_display="/", priority=True),
        Binding("s", "sort", "Sort by next"),
        Binding("r", "turn", "Reverse"),
        Binding("tab", "other", "Other table", key_display="tab", priority=True),
        Binding("space", "pause", "Pause"),
        Binding("escape", "unfilter", "Show all", show=False),
    ]

    def __init__(
        self, bus: str, watch: Callable[[Callable[[View], None]], Coroutine[Any, Any, None]]
    ) -> None:
        super().__init__()
        self.failure: BaseException | None = None
        self._bus = bus
        self._watch = watch
        self._watching: asyncio.Task[None] | None = None
        self._view = View([], [])
        self._paused = False
        self._node_table = Lines(NODE_COLUMNS, "nodes")
        self._endpoint_table = Lines(ENDPOINT_COLUMNS, "endpoints")
        self._head = Static("", id="head", markup=False)
        self._filter = Input(placeholder="part of a name; Enter keeps it, Escape shows all", id="filter")

    def compose(self) -> ComposeResult:
        yield self._head
        yield self._node_table
        yield self._endpoint_table
        yield self._filter
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self._filter.display = False
        self._endpoint_table.focus()
        self._redraw()
        self._watching = asyncio.create_task(self._watch(self._show))
        self._watching.add_done_callback(self._on_watched)
        self.set_interval(_LOOK_S, self._look_at_terminal)

    def _look_at_terminal(self) -> None:
        """One that has vanished always has something to read, which is nothing: textual's reader would never
        rest, and its writer in the end have it wait for ever.
        """
        if not self.is_headless and has_hung_up(sys.__stdin__):
            self.exit()

    def _on_watched(self, watching: asyncio.Task[None]) -> None:
        if not watching.cancelled():
            self.failure = watching.exception()
            self.exit()

    async def on_unmount(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])

    def _show(self, view: View) -> None:
        """The bus as it is now."""
        if not self._paused:
            self._view = view
            self._redraw()

    def _redraw(self) -> None:
        view, wanted = self._view, self._filter.value
        rest = [f"only with {wanted!r}"] if wanted else []
        rest += ["paused"] if self._paused else []
        words = (
            time.strftime("%H:%M:%S"),
            f"{view.rate:,.0f} messages/s",
            output.counted(len(view.nodes), "node"),
            output.counted(view.held, "endpoint"),
            *rest,
            f"bus {output.printable(self._bus)}",
        )
        self._head.update("  ".join(words))
        self._node_table.fill(view.nodes, wanted)
        self._endpoint_table.fill(view.endpoints, wanted)

    def _table(self) -> Lines:
        return self._node_table if self.focused is self._node_table else self._endpoint_table

    def action_sort(self) -> None:
        """The table that has the focus, by its next column."""
        table = self._table()
        table.turned = False
        table.sort_by((table.sorted_by + 1) % len(table.columns))

    def action_turn(self) -> None:
        """The same order the other way round."""
        self._table().sort_by(self._table().sorted_by)

    def action_other(self) -> None:
        """The keys go to the other table."""
        self._focus(self._endpoint_table if self._table() is self._node_table else self._node_table)

    def action_pause(self) -> None:
        """Hold the picture still, or go on."""
        self._paused = not self._paused
        self._redraw()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Within the filter's own line a "/" is one."""
        return action != "filter" or self.focused is not self._filter

    def action_filter(self) -> None:
        """Ask for a part of a name."""
        self._filter.display = True
        self._focus(self._filter)

    def action_unfilter(self) -> None:
        """Show all again."""
        self._filter.value = ""
        self._close_filter()

    def _close_filter(self) -> None:
        self._focus(self._endpoint_table)
        self._filter.display = False
        self._redraw()

    def _focus(self, widget: Widget) -> None:
        """At once, not by and by: the next key may be there already, and what is hidden while it has the
        focus takes it away from who has been given it meanwhile.
        """
        self.screen.set_focus(widget)

    @on(Input.Submitted)
    def _on_filtered(self) -> None:
        self._close_filter()

    @on(Input.Changed)
    def _on_filter_changed(self) -> None:
        self._redraw()

    @on(DataTable.HeaderSelected)
    def _on_header(self, event: DataTable.HeaderSelected) -> None:
        table = event.data_table
        if isinstance(table, Lines):
            table.sort_by(event.column_index)
