"""A chat in the terminal (pip install '.[monitor,websocket]'). On one machine: python chat.py ann

python chat.py ann --listen ws://127.0.0.1:8765     lets others come
python chat.py bob --ws ws://127.0.0.1:8765         is there over a WebSocket, as from another machine
"""

import argparse
from dataclasses import dataclass
from typing import ClassVar

from textual import on
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import Footer, Input, RichLog, Static

import busway


@busway.message(name="chat/line")
@dataclass
class Line:
    """A line that somebody says."""

    by: str
    text: str


class Chat(App[None]):
    """The screen, and the object that the bus runs: `heard` gets what all say, its own lines too."""

    CSS = "#who { width: 20; border-left: solid $accent; padding: 0 1 } Input { dock: bottom }"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+c", "quit", "Quit", priority=True)]

    def __init__(self, name: str, ws: str | None = None, listen: str | None = None) -> None:
        super().__init__()
        self.nick, self.ws, self.listening = name, ws, listen
        self.bus = busway.AsyncBus(label=name, ipc=ws is None)
        self.there: dict[bytes, str] = {}  # names by nodes

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield RichLog(id="said", wrap=True)
            yield Static(id="who", markup=False)
        yield Footer()
        yield Input(placeholder="say something")

    async def on_mount(self) -> None:
        await self.bus.open()
        self.bus.host(self, realm="global")  # that of a WebSocket, which lets nothing narrower pass
        if self.listening is not None:
            self.tell(f"others come to {(await self.bus.listen(self.listening)).url}")
        if self.ws is not None:
            await self.bus.connect(self.ws, wait=30.0)
        self.run_worker(self.follow())
        self.query_one(Input).focus()

    async def on_unmount(self) -> None:
        await self.bus.close()

    @busway.on(Line)
    def heard(self, message: busway.Message[Line]) -> None:
        if message.error is None:
            self.tell(f"{message.payload.by}: {message.payload.text}")

    @on(Input.Submitted)
    async def say(self, event: Input.Submitted) -> None:
        if event.value:
            await self.bus.publish(Line, Line(self.nick, event.value), realm="global")
        event.input.clear()

    async def follow(self) -> None:
        """Show who is there: whoever hears."""
        async for seen in self.bus.presence(Line):
            if seen.node is not None:
                if seen.what == "departed":
                    self.there.pop(seen.node.id, None)
                else:
                    self.there[seen.node.id] = seen.node.label
            self.query_one("#who", Static).update("\n".join(sorted(self.there.values())))

    def tell(self, text: str) -> None:
        """Write a line, without what a terminal would obey."""
        self.query_one("#said", RichLog).write("".join(filter(str.isprintable, text)))


def main() -> None:
    parser = argparse.ArgumentParser(description="A chat in the terminal.")
    parser.add_argument("name", help="how you are called")
    parser.add_argument("--ws", metavar="URL", help="where to go, such as ws://127.0.0.1:8765")
    parser.add_argument("--listen", metavar="URL", help="let others come, such as ws://127.0.0.1:8765")
    given = parser.parse_args()
    Chat(given.name, given.ws, given.listen).run()


if __name__ == "__main__":
    main()
