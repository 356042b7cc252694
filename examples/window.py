"""A window: the bus in threads beside tkinter, which wants to be touched by its own thread only.

Nothing here waits: messages come to a callback, a request is a future, and `soon` brings both to the window.
"""

import sys
import tkinter
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

import busway
from lab import Calibrate, Calibrated, Reading


class Window:
    """Everything but `soon` runs in the thread of tkinter."""

    def __init__(self, bus: busway.Bus, root: tkinter.Tk) -> None:
        self.bus, self.root = bus, root
        self.text = tkinter.StringVar(root, "…")
        self.state = tkinter.StringVar(root)
        tkinter.Label(root, textvariable=self.text, font=("", 32)).pack()
        self.button = tkinter.Button(root, text="It is 25 °C", command=self.calibrate)
        self.button.pack()
        tkinter.Label(root, textvariable=self.state).pack()
        root.after_idle(self.follow)  # in the main loop: before it other threads cannot call tkinter

    def soon(self, function: Callable[..., object], *arguments: Any) -> None:
        """From any thread: call it in the window's."""
        self.root.after(0, partial(function, *arguments))

    def follow(self) -> None:
        self.bus.subscribe(Reading).deliver(self.show, self.soon)

    def show(self, message: busway.Message[Reading]) -> None:
        if message.error is None:
            self.text.set(f"{message.payload.place}: {message.payload.celsius:.1f} °C")

    def calibrate(self) -> None:
        self.button["state"] = "disabled"
        future = self.bus.request_future(Calibrate, Calibrate(25.0), reply=Calibrated, ttl=5.0, timeout=5.0)
        future.add_done_callback(partial(self.soon, self.answered))

    def answered(self, future: Future[Calibrated]) -> None:
        try:
            said = f"calibrated: {future.result().offset:+.1f}"
        except busway.BusError as error:
            said = str(error)
        self.state.set(said)
        self.button["state"] = "normal"
        print(f"{self.text.get()}, {said}", flush=True)


def main() -> None:
    root = tkinter.Tk()
    root.title("Lab")
    with busway.Bus(label="window") as bus:
        window = Window(bus, root)
        if "--press" in sys.argv:
            root.after(1000, window.button.invoke)
        root.mainloop()


if __name__ == "__main__":
    main()
