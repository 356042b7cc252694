"""The same behind Flask: handlers run in threads, and so does the blocking Bus.

Run it with `flask --app web_flask run` in this folder.
"""

import threading
from pathlib import Path

from flask import Flask, Response, jsonify, request

import busway
from lab import Calibrate, Calibrated, Reading

app = Flask(__name__)
bus = busway.Bus(label="Flask").open()  # closed when the program ends
last: dict[str, Reading] = {}


def follow() -> None:
    for message in bus.subscribe(Reading):
        if message.error is None:
            last[message.payload.place] = message.payload


threading.Thread(target=follow, daemon=True).start()


@app.get("/")
def page() -> str:
    return Path(__file__).with_name("page.html").read_text()


@app.get("/readings")
def readings() -> Response:
    return jsonify(list(last.values()))


@app.post("/calibrate")
def calibrate() -> Response | tuple[str, int]:
    celsius = float(request.args["celsius"])
    try:
        return jsonify(bus.request(Calibrate, Calibrate(celsius), reply=Calibrated, timeout=5.0))
    except busway.Undeliverable as error:
        return str(error), 503
