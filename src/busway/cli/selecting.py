"""Selectors at a shell: the option --where, and what `busway send` and `busway request` do with it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from busway.cli import failures, output
from busway.cli.failures import Failure
from busway.cli.options import check_endpoint

if TYPE_CHECKING:
    from busway.adapters.asyncio import AsyncBus
    from busway.adapters.records import Delivery
    from busway.selectors import Selector

F = TypeVar("F", bound=Callable[..., Any])


def where_option(help: str) -> Callable[[F], F]:
    """The option --where, read as a selector before arguments are looked at."""
    return click.option("--where", metavar="SELECTOR", callback=_read, is_eager=True, help=help)


def _read(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Selector | None:
    if value is None:
        return None
    from busway.selectors import where

    try:
        return where.parse(value)
    except ValueError as error:
        raise click.BadParameter(str(error).partition("\n")[0]) from None


def check_name(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """As `check_endpoint`, where --where has not taken the place of NAME."""
    if value is None or context.params.get("where") is not None:
        return value
    return check_endpoint(context, parameter, value)


def payload_first(function: F) -> F:
    """With --where there is no NAME: what stands in its place is the payload."""

    @functools.wraps(function)
    def command(
        *args: Any, name: str | None, text: str | None, where: Selector | None, **options: Any
    ) -> Any:
        if where is None and name is None:
            raise click.UsageError("Missing argument 'NAME': name the endpoint, or give --where")
        if where is not None:
            if text is not None:
                raise click.UsageError("--where stands in place of NAME: give the PAYLOAD alone")
            name, text = None, name
        return function(*args, name=name, text=text, where=where, **options)

    return command  # type: ignore[return-value]


def nobody_meant(bus: AsyncBus, selector: Selector) -> Failure:
    """The Failure of a selector that means nothing here."""
    text = (
        f"nobody is meant by {str(selector)!r} on bus {bus.node.bus!r}; "
        "`busway endpoints` lists what there is, with its labels"
    )
    return Failure(failures.NEGATIVE, text, "NO_ENDPOINT")


def is_meant(selector: Selector, row: dict[str, Any]) -> bool:
    """Whether a selector means an endpoint, by a row about it."""
    sent_to = row["kind"] in ("unicast", "anycast")
    return sent_to and selector.means(row.get("labels", ()), row["name"])


def _labels(bus: AsyncBus) -> dict[bytes, str]:
    """Labels of the nodes, by id."""
    return {each.id: each.label for each in bus.nodes()}


def _about(each: Delivery, labels: dict[bytes, str]) -> dict[str, object]:
    """Where one copy went, for scripts."""
    return {
        "endpoint": each.name,
        "endpoint_id": output.uuid_text(each.endpoint),
        "node": output.uuid_text(each.node),
        "node_label": labels.get(each.node, ""),
    }


async def send(
    bus: AsyncBus,
    selector: Selector,
    payload: object,
    to: str,
    confirm: bool,
    ttl: float,
    timeout: float,
    priority: Any,
    as_json: bool,
) -> int:
    """Send to one that is meant, or all; returns the exit status. Raises Failure, Undeliverable."""
    options = {"confirm": confirm, "ttl": ttl, "timeout": timeout, "priority": priority}
    send_to: Any = bus.send
    told = await send_to(selector, payload, to=to, **options)
    labels = _labels(bus)
    await bus.close(timeout)  # what comes back until then is still heard
    verdict = "taken" if confirm else "accepted"
    late = {(lost.node, lost.endpoint): lost.error for lost in bus.undeliverable}
    if told is None:
        if late:
            raise next(iter(late.values()))
        if as_json:
            output.say_json({"where": str(selector), "verdict": verdict})
        return failures.OK
    failed = 0
    documents = []
    for each in told:
        error = each.error or late.get((each.node, each.endpoint))
        failed += error is not None
        if error is not None:
            name = each.name or output.uuid_text(each.endpoint)
            output.note(f"{name} at {output.node_text(each.node, labels.get(each.node, ''))}: {error}")
        told_of = {"verdict": verdict if error is None else str(error), "ok": error is None}
        documents.append(_about(each, labels) | told_of)
    if as_json:
        output.say_json({"where": str(selector), "copies": documents})
    return failures.NEGATIVE if failed else failures.OK


async def request_all(
    bus: AsyncBus,
    selector: Selector,
    payload: object,
    ttl: float,
    timeout: float,
    priority: Any,
    as_json: bool,
) -> int:
    """Ask all that are meant, and print each answer as it comes; returns the exit status."""
    status = failures.OK
    answers = bus._answers(selector, payload, timeout, ttl, None, priority, False)
    async for each, reply in answers:
        failed = isinstance(reply, Exception)
        labels = _labels(bus)
        shown = output.node_text(each.node, labels.get(each.node, ""))
        if failed:
            late = isinstance(reply, TimeoutError)
            status = failures.UNKNOWN if late else status or failures.NEGATIVE
        if as_json:
            about = {"error": str(reply)} if failed else {"payload": reply}
            output.say_json(_about(each, labels) | {"ok": not failed} | about)
        elif failed:
            output.note(f"{shown}: {reply}")
        else:
            output.say(f"{shown}  {output.value_text(reply)}")
    return status
