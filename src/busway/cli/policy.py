"""`busway policy`: whether a policy is right, and what it says of somebody. Joins nothing."""

from __future__ import annotations

import os
from typing import Any

import click

from busway import trust
from busway.cli import failures, output
from busway.cli.failures import Failure
from busway.cli.options import Examples, json_option
from busway.errors import PolicyFileError, TrustFileError
from busway.keys import id_of_public
from busway.names import endpoint_id
from busway.policy import ACTIONS, LINKS, REALMS, Decision, PolicyFile, Rule, Who, member_of, text_of
from busway.settings import Wrong

_USAGE = "write busway policy explain FILE WHO ACTION NAME"
_NO_FILE = "say which policy: busway policy check FILE; or set BUSWAY_POLICY"


@click.command(cls=Examples)
@click.argument("what", metavar="check|explain", type=click.Choice(["check", "explain"]))
@click.argument("words", metavar="[FILE] [WHO ACTION NAME]", nargs=-1)
@click.option("--link", type=click.Choice(LINKS), help="With explain: the sort of link by which they come.")
@click.option("--listener", metavar="URL", help="With explain: the listener they come to.")
@click.option(
    "--uid", type=int, metavar="N", help="With explain: the user at the other end of a Unix socket."
)
@click.option(
    "--realm",
    type=click.Choice(REALMS),
    default="localnet",
    show_default=True,
    help="With explain: of what they serve or subscribe to, or how far a publish goes.",
)
@click.option(
    "--trust",
    "trust_path",
    envvar="BUSWAY_TRUST",
    metavar="FILE",
    help="Where the names in the policy have their keys; also from BUSWAY_TRUST.",
)
@json_option("One JSON document.")
def policy(
    what: str,
    words: tuple[str, ...],
    link: str | None,
    listener: str | None,
    uid: int | None,
    realm: str,
    trust_path: str | None,
    as_json: bool,
) -> int:
    """Examples:
      busway policy check policy.toml
      busway policy explain policy.toml pump call lab/light
      busway policy explain policy.toml busway1feput… serve plant/level --link tcp --realm global
      busway policy explain policy.toml '*' publish lab/x --link ws --listener ws://0.0.0.0:8765

    `check` reads a policy as a program does (AsyncBus(policy=FILE), --policy, BUSWAY_POLICY): exit status 0
    if it is right, 1 with the line if not. `explain` says whether somebody may do something, and which rule
    and line decide: exit status 0 if they may, 1 if not. WHO is a name of the trust file, a key, a node's id,
    or '*' for somebody of whom nothing is known; ACTION is serve, call, send, publish, subscribe or see.
    FILE is by default what BUSWAY_POLICY says.
    """
    known = _trust(trust_path) if trust_path else None
    default = os.environ.get("BUSWAY_POLICY")
    if what == "check":
        path, *more = words or (default,)
        if more:
            raise click.UsageError("check takes the file only")
        if not path:
            raise click.UsageError(_NO_FILE)
        return _check(_load(path, failures.NEGATIVE), known, as_json)
    if len(words) == 3 and default:
        words = (default, *words)
    if len(words) != 4:
        raise click.UsageError(_USAGE)
    path, whom, action, name = words
    if action not in ACTIONS:
        raise click.UsageError(f"the actions are {', '.join(ACTIONS)}; not {action!r}")
    file = _load(path, failures.USAGE)
    who = _who(whom, known)._replace(
        link=link or "", listeners=(listener,) if listener else (), uid=-1 if uid is None else uid
    )
    if who.names and known is None and whom not in file.ruleset.named:
        output.note(f"{whom!r} is not named in the policy, and was looked up nowhere: say --trust FILE")
    elif who.names and known is not None and not who.ids:
        output.note(f"{whom!r} is in no entry of the trust file: if it is no board, it is nobody")
    return _explain(file, who, action, name, REALMS.index(realm), as_json)


def _load(path: str, status: int) -> PolicyFile:
    try:
        return PolicyFile(path)
    except PolicyFileError as error:  # the file by the name that the user has for it
        told = PolicyFileError(path, error.line, error.message)
        raise Failure(status, str(told), "POLICY_FILE") from None


def _trust(path: str) -> list[trust.Trusted]:
    try:
        return trust.TrustFile(path).entries
    except TrustFileError as error:
        told = TrustFileError(path, error.line, error.message)
        raise Failure(failures.USAGE, str(told), "TRUST_FILE") from None


def _text(name: str) -> str:
    """The text that stands for an endpoint in a policy."""
    try:
        return text_of(endpoint_id(name), name)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _check(file: PolicyFile, known: list[trust.Trusted] | None, as_json: bool) -> int:
    rules, named = file.ruleset.rules, file.ruleset.named
    strangers = sorted(set(named) - {each.name for each in known}) if known is not None else []
    if as_json:
        output.say_json({"file": file.path, "rules": len(rules), "unknown": strangers})
        return failures.OK
    default = "open" if file.ruleset.is_open else "closed"
    blind = "; its names were looked up nowhere: say --trust FILE" if named and known is None else ""
    output.say(f"{file.given} is right: {output.counted(len(rules), 'rule')}, default {default}{blind}")
    for name in strangers:
        where = f"{file.given}:{named[name]}"
        output.note(
            f"{where}: {name!r} is in no entry of the trust file: if it is no board, its rules are for nobody"
        )
    return failures.OK


def _who(text: str, known: list[trust.Trusted] | None) -> Who:
    """Somebody, with what the trust file knows of them."""
    if text == "*":
        return Who()
    try:
        found = member_of(text)
    except Wrong as wrong:
        raise click.UsageError(f"WHO: {wrong.message}") from None
    ids = {found} if isinstance(found, bytes) else set()
    names = {found} if isinstance(found, str) else set()
    for each in known or ():
        own = id_of_public(each.public)
        if own in ids or each.name in names:
            ids.add(own)
            names.add(each.name)
    return Who(frozenset(ids), frozenset(names))


def _explain(file: PolicyFile, who: Who, action: str, name: str, realm: int, as_json: bool) -> int:
    from busway.adapters.permissions import ALWAYS_ALLOWED

    text = _text(name)
    if endpoint_id(name) in ALWAYS_ALLOWED:
        return _tell(file, Decision(True, None, "nodes work together by it: no rule is asked"), [], as_json)
    decision = file.ruleset.explain(who, ACTIONS.index(action), text, realm)
    others = [(rule, lacks) for rule in file.ruleset.rules if (lacks := rule.whom.lacks(who))]
    return _tell(file, decision, others, as_json)


def _tell(file: PolicyFile, decision: Decision, others: list[tuple[Rule, list[str]]], as_json: bool) -> int:
    if as_json:
        output.say_json(_document(file, decision, others))
    else:
        where = f"{file.given}:{decision.rule.line}: " if decision.rule else f"{file.given}: "
        verdict = click.style("allowed", fg="green") if decision.allowed else click.style("denied", fg="red")
        output.say(f"{verdict}: {output.printable(where + decision.why)}")
        for rule, lacks in others:
            options = ", ".join(f"--{each}" for each in lacks)
            output.say(f"{rule.title} may be for them, too: say {options}")
    return failures.OK if decision.allowed else failures.NEGATIVE


def _document(file: PolicyFile, decision: Decision, others: list[tuple[Rule, list[str]]]) -> dict[str, Any]:
    rule = decision.rule
    return {
        "allowed": decision.allowed,
        "file": file.path,
        "rule": rule.number if rule else 0,
        "line": rule.line if rule else 0,
        "why": decision.why,
        "undecided": [{"rule": each.number, "line": each.line, "needs": lacks} for each, lacks in others],
    }


def load(path: str) -> PolicyFile:
    """The policy that a command was told to go by. Raises Failure."""
    return _load(path, failures.NEGATIVE)
