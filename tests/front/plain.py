"""Frames of `busway.wire` in the form of tests/vectors, and back."""

from __future__ import annotations

import json
from typing import Any

from busway.wire_names import ENDPOINT_KIND_NAMES, REALM_NAMES, SIGNAL_NAMES
from tests.rigs.tree import ROOT

VECTORS = ROOT / "tests" / "vectors"

_REALMS = {name: number for number, name in REALM_NAMES.items()}
_ENDPOINT_KINDS = {name: number for number, name in ENDPOINT_KIND_NAMES.items()}
_SIGNALS = {name: number for number, name in SIGNAL_NAMES.items()}
_HEX = ("node", "incarnation", "nonce", "proof", "payload")
_FLAGS = ("leaf", "dialled", "token_demanded")
_INTERNAL = ("_io", "head", "options", "flags", "magic", "directory_flags", "entries", "endpoint", "type")


def load(name: str) -> Any:
    return json.loads((VECTORS / name).read_text(encoding="utf-8"))


def plain(frame: Any, aliases: dict[int, bytes]) -> dict[str, Any]:
    """A parsed frame as the vectors write it. What it binds goes into `aliases`."""
    out: dict[str, Any] = {}
    for key, value in frame.items():
        if key not in _INTERNAL:
            out[key] = value.hex() if key in _HEX else value
    for key in ("endpoint", "type"):
        if frame.get(key) is not None:
            _plain_alias(out, key, frame[key], aliases)
    _plain_options(out, frame)
    if frame.kind == "HELLO":
        out |= {flag: bool(frame.flags[flag]) for flag in _FLAGS}
        out["realm"] = REALM_NAMES[frame.flags.realm]
    elif frame.kind == "DIRECTORY":
        out["entries"] = [_plain_entry(entry) for entry in frame.entries]
    elif frame.kind == "SIGNAL":
        _plain_signal(out)
    elif frame.kind == "IGNORED":
        out |= {"head": frame.head, "skipped": True}
    return out


def _plain_alias(out: dict[str, Any], key: str, alias: Any, aliases: dict[int, bytes]) -> None:
    if alias.id is not None:
        aliases[alias.number] = alias.id
        out[f"{key}_binds"] = True
    out[key] = aliases[alias.number].hex()
    out[f"{key}_alias"] = alias.number


def _plain_options(out: dict[str, Any], frame: Any) -> None:
    for option in frame.get("options") or ():
        if isinstance(option.value, bytes):
            continue
        if "window" in option.value:
            out["stream"] = option.value.window
        else:
            out["cut"] = {"partial": option.value.partial, "size": option.value.size}


def _plain_entry(entry: Any) -> dict[str, Any]:
    out = {"endpoint": entry.endpoint.hex(), "kind": ENDPOINT_KIND_NAMES[entry.endpoint_kind]}
    if entry.endpoint_kind == 0:
        return out
    return out | {
        "realm": REALM_NAMES[entry.realm],
        "credit": 4 if entry.credit is None else entry.credit,
        "cost": entry.cost or 0,
        "name": entry.name or "",
    }


def _plain_signal(out: dict[str, Any]) -> None:
    number = out["signal"]
    del out["format"]
    out["signal"] = SIGNAL_NAMES.get(number, "UNKNOWN")
    if number not in SIGNAL_NAMES:
        out |= {"number": number, "skipped": True}


def buildable(vector: dict[str, Any]) -> dict[str, Any]:
    """A frame of the vectors as `busway.wire.Frame.build` takes it."""
    frame = dict(vector)
    for key in _HEX:
        if key in frame:
            frame[key] = bytes.fromhex(frame[key])
    for key in ("endpoint", "type"):
        if key in frame:
            id = bytes.fromhex(frame[key]) if frame.get(f"{key}_binds") else None
            frame[key] = {"number": frame[f"{key}_alias"], "id": id}
    options = _buildable_options(vector)
    if options:
        frame["options"] = options
    if frame["kind"] == "HELLO":
        frame["flags"] = {flag: frame[flag] for flag in _FLAGS} | {"realm": _REALMS[frame["realm"]]}
        frame["options"] = []
    elif frame["kind"] == "DIRECTORY":
        frame["entries"] = [_buildable_entry(entry) for entry in frame["entries"]]
    elif frame["kind"] == "SIGNAL":
        frame["signal"] = _SIGNALS.get(frame["signal"], frame.get("number"))
    return frame


def _buildable_options(vector: dict[str, Any]) -> list[dict[str, Any]]:
    options = []
    if "stream" in vector:
        options.append({"type": 2, "value": {"window": vector["stream"]}})
    if "cut" in vector:
        options.append({"type": 1, "value": vector["cut"]})
    return options


def _buildable_entry(entry: dict[str, Any]) -> dict[str, Any]:
    out = {"endpoint": bytes.fromhex(entry["endpoint"]), "endpoint_kind": _ENDPOINT_KINDS[entry["kind"]]}
    if entry["kind"] == "withdrawn":
        return out
    out["realm"] = _REALMS[entry["realm"]]
    for key, default in (("credit", 4), ("cost", 0), ("name", "")):
        if entry[key] != default:
            out[key] = entry[key]
    return out
