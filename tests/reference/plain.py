"""Frames of `tests.reference.wire` in the form of tests/vectors, and back."""

from __future__ import annotations

import json
from typing import Any

from busway.wire_names import ENDPOINT_KIND_NAMES, REALM_NAMES, ROUTE_NAMES, SIGNAL_NAMES
from tests.rigs.tree import ROOT

VECTORS = ROOT / "tests" / "vectors"

_REALMS = {name: number for number, name in REALM_NAMES.items()}
_ENDPOINT_KINDS = {name: number for number, name in ENDPOINT_KIND_NAMES.items()}
_ROUTES = {name: number for number, name in ROUTE_NAMES.items()}
_SIGNALS = {name: number for number, name in SIGNAL_NAMES.items()}
_HEX = ("node", "incarnation", "message", "payload", "expression")
_THINGS = ("regions", "files")
_FLAGS = ("leaf", "dialled", "lookups")
_NODES = ("node", "destination", "source", "tree")
_INTERNAL = (
    "_io",
    "head",
    "options",
    "flags",
    "magic",
    "line",
    "entries",
    "endpoint",
    "type",
    "routing",
    "holders",
    "report",
    "message_head",
    "count",
    "sizes",
    "payloads",
)


def load(name: str) -> Any:
    return json.loads((VECTORS / name).read_text(encoding="utf-8"))


def plain(frame: Any, aliases: dict[int, bytes]) -> dict[str, Any]:
    """A parsed frame as the vectors write it. What it binds goes into `aliases`."""
    out: dict[str, Any] = {}
    for key, value in frame.items():
        if key not in _INTERNAL:
            out[key] = _plain_value(key, value)
    for key in ("endpoint", "type"):
        if frame.get(key) is not None:
            _plain_alias(out, key, frame[key], aliases)
    _plain_options(out, frame)
    if frame.get("routing") is not None:
        out["routing"] = _plain_routing(frame.routing)
    if frame.kind == "HELLO":
        out |= {flag: bool(frame.flags[flag]) for flag in _FLAGS}
        out["realm"] = REALM_NAMES[frame.flags.realm]
    elif frame.kind == "DIRECTORY":
        out["realm"] = REALM_NAMES[frame.realm]
        out["entries"] = [_plain_entry(entry) for entry in frame.entries]
    elif frame.kind == "ROUTES":
        out["entries"] = [_plain_route(entry) for entry in frame.entries]
    elif frame.kind == "SIGNAL":
        _plain_signal(out)
        if frame.get("holders") is not None:
            out["holders"] = [_plain_holder(holder, aliases) for holder in frame.holders]
        if "selected_flags" in out:
            out["flags"] = out.pop("selected_flags")
        if frame.get("report") is not None:
            out["report"] = _plain_report(frame.report)
    elif frame.kind == "RUN":
        out["payloads"] = [payload.hex() for payload in frame.payloads]
    elif frame.kind == "IGNORED":
        out |= {"head": frame.head, "skipped": True}
    return out


def _plain_value(key: str, value: Any) -> Any:
    if key in _NODES and not isinstance(value, bytes):
        return _plain_node(value)
    return value.hex() if key in _HEX else value


def _plain_node(node: Any) -> dict[str, Any]:
    return {"number": node.number} | ({} if node.id is None else {"id": node.id.hex()})


def _plain_route(entry: Any) -> dict[str, Any]:
    out: dict[str, Any] = {"route": ROUTE_NAMES[entry.route]}
    for key in ("node", "seqno", "metric", "versions", "count"):
        if entry[key] is not None:
            out[key] = list(entry[key]) if key == "versions" else _plain_value(key, entry[key])
    return out


def _plain_holder(holder: Any, aliases: dict[int, bytes]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    if "endpoint" in holder:
        _plain_alias(out, "endpoint", holder.endpoint, aliases)
    out |= {
        "kind": ENDPOINT_KIND_NAMES[holder.endpoint_kind],
        "realm": holder.realm,
        "node": _plain_node(holder.node),
        "metric": holder.metric,
        "credit": 4 if holder.credit is None else holder.credit,
        "cost": holder.cost or 0,
        "name": holder.name or "",
    }
    return out | _plain_traits(holder.extension)


def _plain_traits(extension: Any) -> dict[str, Any]:
    """Labels, each once and in order, and a last word, as far as an endpoint has them."""
    out: dict[str, Any] = {}
    for item in extension or ():
        if item.type == 1:
            out["labels"] = sorted({*out.get("labels", ()), item.value}, key=str.encode)
        elif item.type == 2:
            word = item.value
            raw = bytes((word.last_word_format,)) + (word.last_word_type or b"") + word.last_word
            out["gone"] = raw.hex()
    return out


def _buildable_traits(entry: dict[str, Any]) -> dict[str, Any]:
    items: list[dict[str, Any]] = [{"type": 1, "value": label} for label in entry.get("labels", ())]
    if "gone" in entry:
        raw = bytes.fromhex(entry["gone"])
        typed = raw[0] == 3
        word = {"last_word_format": raw[0], "last_word": raw[17:] if typed else raw[1:]}
        items.append({"type": 2, "value": word | ({"last_word_type": raw[1:17]} if typed else {})})
    return {"extension": items} if items else {}


def _plain_report(report: Any) -> Any:
    """A dict of the fields, or hex where they do not fit."""
    if isinstance(report, bytes):
        return report.hex()
    return {key: report[key] for key in ("realm", "cost", "medium", "label")}


def _plain_routing(routing: Any) -> dict[str, Any]:
    out = {"realm": routing.realm, "hops": routing.hops}
    for key in ("destination", "source"):
        if routing[key] is not None:
            out[key] = _plain_node(routing[key])
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
        elif "best_effort" in option.value:
            out["best_effort"] = True
        elif "lane" in option.value:
            out["lane"] = option.value.lane
        elif "reach" in option.value:
            out["reach"] = REALM_NAMES[min(option.value.reach, _REALMS[out.get("reach", "GLOBAL")])]
        elif "name" in option.value:
            out["name"] = option.value.name
        elif "retain" in option.value:
            out["retain"] = option.value.retain
        elif "shared" in option.value:
            out["shared"] = option.value.shared.hex()
        elif "files" in option.value:
            out |= {name: option.value[name] for name in _THINGS if option.value[name]}
        else:
            out["cut"] = {"partial": option.value.partial, "size": option.value.size}


def _plain_entry(entry: Any) -> dict[str, Any]:
    out = {"endpoint": entry.endpoint.hex(), "kind": ENDPOINT_KIND_NAMES[entry.endpoint_kind]}
    if entry.endpoint_kind == 0:
        return out
    return (
        out
        | {
            "credit": 4 if entry.credit is None else entry.credit,
            "cost": entry.cost or 0,
            "name": entry.name or "",
        }
        | _plain_traits(entry.extension)
    )


def _plain_signal(out: dict[str, Any]) -> None:
    number = out["signal"]
    del out["format"]
    out["signal"] = SIGNAL_NAMES.get(number, "UNKNOWN")
    if number not in SIGNAL_NAMES:
        out |= {"number": number, "skipped": True}


def buildable(vector: dict[str, Any]) -> dict[str, Any]:
    """A frame of the vectors as `tests.reference.wire.Frame.build` takes it."""
    frame = dict(vector)
    for key in _HEX:
        if isinstance(frame.get(key), str):
            frame[key] = bytes.fromhex(frame[key])
    if "routing" in frame:
        frame["routing"] = _buildable_nodes(frame["routing"])
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
        frame = _buildable_nodes(frame) | {"realm": _REALMS[frame["realm"]]}
        frame["entries"] = [_buildable_entry(entry) for entry in frame["entries"]]
    elif frame["kind"] == "ROUTES":
        frame["entries"] = [
            _buildable_nodes(entry) | {"route": _ROUTES[entry["route"]]} for entry in frame["entries"]
        ]
    elif frame["kind"] == "RUN":
        frame["payloads"] = [bytes.fromhex(payload) for payload in frame["payloads"]]
    elif frame["kind"] == "SIGNAL":
        frame = _buildable_nodes(frame)
        if "flags" in frame:
            frame["selected_flags"] = frame["flags"]
        if "holders" in frame:
            frame["holders"] = [_buildable_holder(holder) for holder in frame["holders"]]
        if isinstance(frame.get("report"), str):
            frame["report"] = bytes.fromhex(frame["report"])
        frame["signal"] = _SIGNALS.get(frame["signal"], frame.get("number"))
    return frame


def _buildable_nodes(fields: dict[str, Any]) -> dict[str, Any]:
    """The same with its nodes as `tests.reference.wire` takes them."""
    out = dict(fields)
    for key in _NODES:
        if isinstance(out.get(key), dict):
            id = out[key].get("id")
            out[key] = {"number": out[key]["number"], "id": None if id is None else bytes.fromhex(id)}
    return out


def _buildable_holder(holder: dict[str, Any]) -> dict[str, Any]:
    out = _buildable_nodes(holder) | {"endpoint_kind": _ENDPOINT_KINDS[holder["kind"]]}
    if "endpoint" in holder:
        id = bytes.fromhex(holder["endpoint"]) if holder.get("endpoint_binds") else None
        out["endpoint"] = {"number": holder["endpoint_alias"], "id": id}
    for key, default in (("credit", 4), ("cost", 0), ("name", "")):
        if holder[key] == default:
            out[key] = None
    return out | _buildable_traits(holder)


def _buildable_options(vector: dict[str, Any]) -> list[dict[str, Any]]:
    options = []
    if "stream" in vector:
        options.append({"type": 2, "value": {"window": vector["stream"]}})
    if "best_effort" in vector:
        options.append({"type": 3, "value": {"option_value": b""}})
    if "reach" in vector:
        options.append({"type": 4, "value": {"option_value": bytes((_REALMS[vector["reach"]],))}})
    if "name" in vector:
        options.append({"type": 6, "value": {"name": vector["name"]}})
    if "retain" in vector:
        options.append({"type": 7, "value": {"retain": vector["retain"]}})
    if "lane" in vector:
        options.append({"type": 5, "value": {"lane": vector["lane"]}})
    if "cut" in vector:
        options.append({"type": 1, "value": vector["cut"]})
    if "files" in vector or "regions" in vector:
        options.append({"type": 8, "value": {name: vector.get(name, 0) for name in _THINGS}})
    if "shared" in vector:
        options.append({"type": 10, "value": {"shared": bytes.fromhex(vector["shared"])}})
    return options


def _buildable_entry(entry: dict[str, Any]) -> dict[str, Any]:
    out = {"endpoint": bytes.fromhex(entry["endpoint"]), "endpoint_kind": _ENDPOINT_KINDS[entry["kind"]]}
    if entry["kind"] == "withdrawn":
        return out
    for key, default in (("credit", 4), ("cost", 0), ("name", "")):
        if entry[key] != default:
            out[key] = entry[key]
    return out | _buildable_traits(entry)
