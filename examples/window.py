"""A window: the bus in threads beside tkinter, which wants to be touched by its own thread only.

What arrives goes through a queue, which the window empties now and then; what may take its time runs in a
pool.
"""

import queue
import sys
import tkinter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Thread

import busway
from lab import Calibrate, Calibrated, Reading

LOOK_MS = 50


class Window:
    """Everything here runs in the thread of tkinter, but for `follow` and what the pool runs."""

    def __init__(self, bus: busway.Bus, root: tkinter.Tk) -> None:
        self.bus, self.root = bus, root
        self.pool = ThreadPoolExecutor(1)
        self.due: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.text = tkinter.StringVar(root, "…")
        self.state = tkinter.StringVar(root)
        tkinter.Label(root, textvariable=self.text, font=("", 32)).pack()
        self.button = tkinter.Button(root, text="It is 25 °C", command=self.calibrate)
        self.button.pack()
        tkinter.Label(root, textvariable=self.state).pack()
        Thread(target=self.follow, daemon=True).start()
        root.after(LOOK_MS, self.look)

    def look(self) -> None:
        """Do what other threads have for this one."""
        while not self.due.empty():
            self.due.get()()
        self.root.after(LOOK_MS, self.look)

    def follow(self) -> None:
        for message in self.bus.subscribe(Reading):
            if message.error is None:
                self.due.put(partial(self.show, message.payload))

    def show(self, reading: Reading) -> None:
        self.text.set(f"{reading.place}: {reading.celsius:.1f} °C")

    def calibrate(self) -> None:
        self.button["state"] = "disabled"
        self.pool.submit(self.ask)

    def ask(self) -> None:
        try:
            answer = self.bus.request(Calibrate, Calibrate(25.0), reply=Calibrated, ttl=5.0, timeout=5.0)
            said = f"calibrated: {answer.offset:+.1f}"
        except busway.BusError as error:
            said = str(error)
        self.due.put(partial(self.answered, said))

    def answered(self, said: str) -> None:
        self.state.set(said)
        self.button["state"] = "normal"
        print(said, flush=True)


def main() -> None:
    root = tkinter.Tk()
    root.title("Lab")
    with busway.Bus(label="window") as bus:
        window = Window(bus, root)
        if "--press" in sys.argv:
            root.after(500, window.button.invoke)
        root.mainloop()


if __name__ == "__main__":
    main()
