"""Policies: who may do what with which names, up to which realm, in which role, and how much of it. A table
in the program, or a TOML file that is read again when it changes.

Knows nothing of links and nodes: what is known of somebody is said by who asks.
"""

from __future__ import annotations

import functools
import os
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple, Protocol

from busway import settings
from busway.errors import PolicyFileError
from busway.keys import id_of_public, looks_like_key, public_of
from busway.names import NAME_SIZE_MAX, NAMESPACE
from busway.patterns import Patterns, overlap, pattern_problem
from busway.protocol.wire.patterns import is_proper
from busway.settings import Path, SettingsFile, Wrong, name_problem

ACTIONS: Final = ("serve", "call", "send", "publish", "subscribe", "see")
SERVE, CALL, SEND, PUBLISH, SUBSCRIBE, SEE = range(6)
QUOTAS: Final = ("links", "routes", "entries", "unfinished", "handlers", "messages", "bytes")
BEYOND: Final = "beyond"  # by a link within the machine, through a router, from beyond it
LINKS: Final = ("ipc", "pipe", "tcp", "ws", "wss", "serial", "ble", "memory", BEYOND)
REALMS: Final = ("process", "userspace", "localnet", "global")
ROLES: Final = ("leaf", "router")
DEFAULTS: Final = ("open", "closed")
RULES_MAX: Final = 256
GROUPS_MAX: Final = 256
MEMBERS_MAX: Final = 4096  # of one group
PATTERNS_MAX: Final = 1024  # of all rules
QUOTA_MAX: Final = 1 << 40
_BOUND: Final = (SERVE, PUBLISH, SUBSCRIBE)  # these count up to a realm
_LEADS: Final = (CALL, SEND, PUBLISH)  # who may do these with a name may see it
# The least of each quota that makes sense. A frame of 64 KiB has to come within a minute.
_LEAST: Final = {"links": 0, "routes": 0, "entries": 0, "bytes": 4096}
FAMILIES: Final = (PUBLISH, SUBSCRIBE, SEE)  # these may be asked of a family of names: whether for any of it
_RULE_FIELDS: Final = ("who", *ACTIONS, "realm", "role", "quota")
_WHO_FIELDS: Final = ("key", "group", "uid", "link", "listener")
_KNOWN_MAX: Final = 1024  # combinations of rules that are remembered


class Who(NamedTuple):
    """Somebody, as far as is known.

    Args: `ids` that are theirs, 16 bytes each: of the key that was proved, of the node; `names` that trust
    and boards' files have for these; `link` the sort of the link by which they come, `uid` the user at its
    other end, -1 if that is no program on this machine; `listeners` the URLs of the listener they came to.
    """

    ids: frozenset[bytes] = frozenset()
    names: frozenset[str] = frozenset()
    link: str = ""
    uid: int = -1
    listeners: tuple[str, ...] = ()


class Members(NamedTuple):
    """Keys and boards by the node ids that follow from them, and names that others have for them; of those
    that are said here the places.
    """

    ids: frozenset[bytes]
    names: frozenset[str]
    places: tuple[tuple[str, Path], ...] = ()

    def has(self, who: Who) -> bool:
        """Whether this is one of them."""
        return not self.ids.isdisjoint(who.ids) or not self.names.isdisjoint(who.names)


class Whom(NamedTuple):
    """The ones that a rule is for. All has to hold; what is None, or empty, holds for everybody."""

    members: tuple[Members, ...] = ()  # one of each
    uids: frozenset[int] | None = None
    links: frozenset[str] | None = None
    listeners: Patterns | None = None

    def fits(self, who: Who) -> bool:
        """Whether it is for this one."""
        return (
            (self.links is None or who.link in self.links)
            and (self.uids is None or who.uid in self.uids)
            and all(each.has(who) for each in self.members)
            and (self.listeners is None or any(map(self.listeners.fits, who.listeners)))
        )

    def lacks(self, who: Who) -> list[str]:
        """Options that would have to be said of this one for the rule to be for them, though nothing speaks
        against it; nothing if it is for them, or not.
        """
        found = []
        if self.links is not None and not who.link:
            found.append("link")
        if self.uids is not None and who.uid < 0:
            found.append("uid")
        if self.listeners is not None and not who.listeners:
            found.append("listener")
        known = Whom(
            self.members,
            None if "uid" in found else self.uids,
            None if "link" in found else self.links,
            None if "listener" in found else self.listeners,
        )
        return found if known.fits(who) else []


class Rule(NamedTuple):
    """A rule: its number from 1, its line, whom it is for, and what it says of them."""

    number: int
    line: int
    whom: Whom
    names: tuple[tuple[str, ...] | None, ...]  # by action: patterns; None where the rule does not name it
    realm: int
    role: str
    quota: Mapping[str, int]

    @property
    def grants(self) -> bool:
        """Whether it says what they may do, and with that that they may do nothing else."""
        return any(each is not None for each in self.names)

    @property
    def title(self) -> str:
        """The rule, for people."""
        return f"rule {self.number}" + f" (line {self.line})" * bool(self.line)


class Decision(NamedTuple):
    """Whether somebody may do something, the rule that decided (None: the default did), and why."""

    allowed: bool
    rule: Rule | None
    why: str


class Rights:
    """The rights of those whom these rules are for."""

    __slots__ = ("_granted", "_named", "quota", "role", "rules", "unbounded")

    def __init__(self, rules: tuple[Rule, ...], is_open: bool) -> None:
        self.rules = rules
        self.role = "leaf" if any(rule.role == "leaf" for rule in rules) else "router"
        self.quota: dict[str, int] = {}
        for rule in rules:
            for name, most in rule.quota.items():
                self.quota[name] = min(most, self.quota.get(name, most))
        granting = [rule for rule in rules if rule.grants]
        self.unbounded = is_open and not granting  # they may do anything
        found = [_granted(granting, what) for what in range(len(ACTIONS))]
        self._named = found  # by action: the realms up to which they count, with the patterns
        self._granted = [[(most, Patterns(patterns)) for most, patterns in each.items()] for each in found]

    def allow(self, what: int, text: str, realm: int) -> bool:
        """Whether they may do this with the endpoint of that text, up to this realm."""
        return self.unbounded or any(
            realm <= most and patterns.fits(text) for most, patterns in self._granted[what]
        )

    def allow_some(self, what: int, family: str, realm: int) -> bool:
        """Whether they may do this with any name of a family, as subscribers write it."""
        return self.unbounded or any(
            realm <= most and any(overlap(pattern, family) for pattern in patterns)
            for most, patterns in self._named[what].items()
        )


def _granted(rules: list[Rule], what: int) -> dict[int, list[str]]:
    """The patterns of these rules for an action, together for each realm up to which they count."""
    found: dict[int, list[str]] = {}
    for rule in rules:
        for each in (*_LEADS, SEE) if what == SEE else (what,):
            if rule.names[each]:
                most = rule.realm if what in _BOUND else len(REALMS)
                found.setdefault(most, []).extend(rule.names[each] or ())
    return found


class Ruleset:
    """All rules, and what holds for whom none is."""

    def __init__(self, rules: Iterable[Rule], is_open: bool, named: Mapping[str, int]) -> None:
        self.rules = tuple(rules)
        self.is_open = is_open
        self.named = named  # the names that others have for keys and boards, with the line of each
        self._known: dict[tuple[int, ...], Rights] = {}

    def rights(self, who: Who) -> Rights:
        """The rights of somebody."""
        rules = tuple(rule for rule in self.rules if rule.whom.fits(who))
        numbers = tuple(rule.number for rule in rules)
        found = self._known.get(numbers)
        if found is None:
            if len(self._known) >= _KNOWN_MAX:
                self._known.clear()
            found = self._known[numbers] = Rights(rules, self.is_open)
        return found

    def explain(self, who: Who, what: int, text: str, realm: int) -> Decision:
        """Whether somebody may do something, and why. Decides as `Rights.allow` does."""
        rights = self.rights(who)
        granting = [rule for rule in rights.rules if rule.grants]
        if not granting:
            word = DEFAULTS[not self.is_open]
            for_them = (
                "none of the rules for them says what they may do" if rights.rules else "no rule is for them"
            )
            return Decision(self.is_open, None, f"{for_them}, and the default is {word}")
        narrow = None
        for rule in granting:
            for each in (what, *_LEADS) if what == SEE else (what,):
                pattern = _fitting(rule.names[each] or (), text, what in FAMILIES)
                if not pattern:
                    continue
                if what not in _BOUND or realm <= rule.realm:
                    return Decision(True, rule, f"{rule.title} lets them {ACTIONS[each]} {pattern}")
                narrow = narrow or (rule, pattern)
        if narrow is not None:
            rule, pattern = narrow
            limit = f"{rule.title} lets them {ACTIONS[what]} {pattern} up to realm {REALMS[rule.realm]}"
            return Decision(False, rule, f"{limit}, and this is of realm {REALMS[realm]}")
        titles = " and ".join(rule.title for rule in granting)
        say = "says" if len(granting) == 1 else "say"
        return Decision(
            False, granting[0], f"{titles} {say} what they may do, and {ACTIONS[what]} {text} is not among it"
        )


def _fitting(patterns: tuple[str, ...], text: str, in_part: bool) -> str:
    """The first pattern that fits a text; one of a family of names `in_part`."""
    if in_part and is_proper(text):
        return next((pattern for pattern in patterns if overlap(pattern, text)), "")
    return next((pattern for pattern in patterns if _alone(pattern).fits(text)), "")


@functools.lru_cache(maxsize=4 * PATTERNS_MAX)
def _alone(pattern: str) -> Patterns:
    """One pattern, ready to be compared: making it costs far more than that."""
    return Patterns((pattern,))


def text_of(endpoint: bytes, name: str) -> str:
    """The text that patterns are compared with: the name, if the endpoint is that name's, for names come from
    peers; else its UUID in canonical form.
    """
    data = name.encode(errors="replace")
    if data and len(data) <= NAME_SIZE_MAX and uuid.uuid5(NAMESPACE, data.decode()).bytes == endpoint:
        return name
    return str(uuid.UUID(bytes=endpoint))


# Reading


class Policy(Protocol):
    """Something that says who may do what."""

    @property
    def ruleset(self) -> Ruleset:
        """The rules, as the file says them."""

    @property
    def place(self) -> str:
        """Where it stands, for people."""

    def version(self) -> int:
        """A number that is another one when what it says has changed."""

    @property
    def trouble(self) -> PolicyFileError | None:
        """The fault of the file as it is now, so that an earlier version holds."""


class PolicyTable:
    """A policy as a program says it, by what would stand in a file: `policy={"default": "closed", "rule":
    [{"who": "*", "see": ["**"]}]}`.
    """

    trouble = None
    place = "policy="

    def __init__(self, given: Mapping[str, Any]) -> None:
        try:
            self.ruleset = _ruleset(given, {})
        except Wrong as wrong:
            where = ".".join(map(str, wrong.place))
            raise PolicyFileError(
                self.place, 0, f"{where}: {wrong.message}" if where else wrong.message
            ) from None

    def version(self) -> int:
        return 0


class PolicyFile(SettingsFile):
    """A policy as a TOML file says it, read again whenever it has changed; while what is new in it is wrong,
    what it said before holds, and `trouble` says what is wrong. Raises PolicyFileError if it is wrong when it
    is read first.
    """

    error = PolicyFileError
    remedy = "write one, as docs/howto/policy.md shows"
    harm = "let anybody do anything"

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._text = ""
        super().__init__(path)

    def _take(self, text: str) -> bool:
        if self._text.strip() and not text.strip():  # a moment later it is written, and nothing was denied
            raise PolicyFileError(self.path, 0, 'it is empty: default = "open" is what denies nothing')
        self.ruleset = parse(text, self.path)
        former, self._text = self._text, text
        return former != text

    @property
    def place(self) -> str:
        """Where it stands, for people."""
        return self.path

    @property
    def trouble(self) -> PolicyFileError | None:
        """The fault of the file as it is now, so that an earlier version holds."""
        assert self._trouble is None or isinstance(self._trouble, PolicyFileError)
        return self._trouble


def policy_of(given: object) -> Policy | None:
    """The policy that `policy=` of a bus means: the path of a policy, or a dict of what stands in one; None
    is what BUSWAY_POLICY says, or no policy. Raises TypeError, PolicyFileError.
    """
    if given is None:
        given = os.environ.get("BUSWAY_POLICY") or None
    if given is None or isinstance(given, (PolicyFile, PolicyTable)):
        return given
    if isinstance(given, (str, os.PathLike)):
        return PolicyFile(given)
    if isinstance(given, Mapping):
        return PolicyTable(given)
    raise TypeError(
        f"policy must be the path of a policy, or a dict of what stands in one, not {type(given).__name__}"
    )


def parse(text: str, path: str) -> Ruleset:
    """The rules of a policy. Raises PolicyFileError with the line of the first thing that is wrong."""
    document = settings.document(text, path, PolicyFileError)
    lines = settings.lines_of(text)
    try:
        return _ruleset(document, lines)
    except Wrong as wrong:
        raise PolicyFileError(path, settings.line_of(lines, wrong.place), wrong.message) from None


def _ruleset(document: Mapping[str, Any], lines: dict[Path, int]) -> Ruleset:
    """Raises Wrong."""
    for name in document:
        if name not in ("default", "groups", "rule"):
            raise Wrong((name,), f"expected default, [groups] and [[rule]], not {name!r}")
    default = document.get("default", "open")
    if default not in DEFAULTS:
        raise Wrong(("default",), f'default must be "open" or "closed", not {default!r}')
    groups = _groups(document.get("groups", {}))
    rules = document.get("rule", [])
    if not isinstance(rules, list) or not all(isinstance(each, dict) for each in rules):
        raise Wrong(("rule",), "a rule begins with [[rule]], in double brackets")
    if len(rules) > RULES_MAX:
        raise Wrong(("rule", RULES_MAX), f"{len(rules)} rules, and {RULES_MAX} are the most")
    made = []
    for number, rule in enumerate(rules):
        place: Path = ("rule", number)
        made.append(_rule(number + 1, settings.line_of(lines, place), rule, groups, place))
    _check_count(made)
    said = [*groups.values(), *(each for rule in made for each in rule.whom.members)]
    named = {name: settings.line_of(lines, at) for each in reversed(said) for name, at in each.places}
    return Ruleset(made, default == "open", named)


def _check_count(rules: list[Rule]) -> None:
    """Whether there are too many patterns; the rule is to blame with which there are."""
    count, first = 0, 0
    for number, rule in enumerate(rules):
        first = number if count <= PATTERNS_MAX else first
        count += sum(len(names or ()) for names in rule.names)
    if count > PATTERNS_MAX:
        raise Wrong(("rule", first), f"{count} patterns in all rules, and {PATTERNS_MAX} are the most")


def _groups(given: Any) -> dict[str, Members]:
    if not isinstance(given, dict):
        raise Wrong(("groups",), 'expected [groups] and below it lines such as plant = ["pump", "busway1…"]')
    if len(given) > GROUPS_MAX:
        raise Wrong(("groups",), f"{len(given)} groups, and {GROUPS_MAX} are the most")
    return {name: _members(members, ("groups", name)) for name, members in given.items()}


def _members(given: Any, place: Path) -> Members:
    """Names of the trust file, keys, and ids of boards."""
    texts = _listed(given, str, place, 'names of the trust file, keys ("busway1…"), or node ids of boards')
    if len(texts) > MEMBERS_MAX:
        raise Wrong(place, f"{len(texts)} members, and {MEMBERS_MAX} are the most")
    ids: set[bytes] = set()
    names: dict[str, Path] = {}
    for number, text in enumerate(texts):
        where = (*place, number) if isinstance(given, list) else place
        member = member_of(text, where)
        if isinstance(member, bytes):
            ids.add(member)
        else:
            names.setdefault(member, where)
    return Members(frozenset(ids), frozenset(names), tuple(names.items()))


def member_of(text: str, place: Path = ()) -> bytes | str:
    """Somebody as a policy names them: the node id, 16 bytes, of a key or of a node given by its id; or else
    a name. Raises Wrong.
    """
    if looks_like_key(text):
        try:
            return id_of_public(public_of(text))
        except ValueError as error:
            raise Wrong(place, str(error)) from None
    digits = text.replace("-", "")
    if len(digits) == 32 and not set(digits.lower()) - set("0123456789abcdef"):
        return bytes.fromhex(digits)
    if problem := name_problem(text):
        raise Wrong(place, problem)
    return text


def _listed(given: Any, kind: type, place: Path, expected: str) -> list[Any]:
    """One value, or a list of such."""
    found = given if isinstance(given, list) else [given]
    for number, each in enumerate(found):
        if not isinstance(each, kind) or isinstance(each, bool):
            where = (*place, number) if isinstance(given, list) else place
            raise Wrong(where, f"expected {expected}; not {each!r}")
    return found


def _rule(number: int, line: int, given: dict[str, Any], groups: dict[str, Members], place: Path) -> Rule:
    for field in given:
        if field not in _RULE_FIELDS:
            raise Wrong((*place, field), f"a rule has {', '.join(_RULE_FIELDS)}; not {field!r}")
    if "who" not in given:
        raise Wrong(place, 'a rule needs who = "*" for everybody, or who = { group = "plant" }')
    rule = Rule(
        number,
        line,
        _whom(given["who"], groups, (*place, "who")),
        tuple(_names(given, action, place) for action in ACTIONS),
        _word(given, "realm", REALMS, "global", place),
        ROLES[_word(given, "role", ROLES, "router", place)],
        _quota(given.get("quota", {}), (*place, "quota")),
    )
    if not rule.grants and "role" not in given and not rule.quota:
        raise Wrong(place, f"the rule says nothing: it needs {', '.join(ACTIONS)}, role or quota")
    if "realm" in given and all(rule.names[what] is None for what in _BOUND):
        raise Wrong((*place, "realm"), "realm does nothing without serve, publish or subscribe")
    return rule


def _word(given: dict[str, Any], field: str, words: tuple[str, ...], usual: str, place: Path) -> int:
    """Which of these words stands in a field."""
    word = given.get(field, usual)
    if word not in words:
        expected = ", ".join(f'"{each}"' for each in words)
        raise Wrong((*place, field), f"{field} must be one of {expected}; not {word!r}")
    return words.index(word)


def _whom(given: Any, groups: dict[str, Members], place: Path) -> Whom:
    if given == "*":
        return Whom()
    if not isinstance(given, dict) or not given:
        raise Wrong(
            place, f'expected "*" for everybody, or {{ … }} with {", ".join(_WHO_FIELDS)}; not {given!r}'
        )
    for field in given:
        if field not in _WHO_FIELDS:
            raise Wrong((*place, field), f"who has {', '.join(_WHO_FIELDS)}; not {field!r}")
    members = []
    if "key" in given:
        members.append(_members(given["key"], (*place, "key")))
    if "group" in given:
        members.append(_of_groups(given["group"], groups, (*place, "group")))
    uids = links = listeners = None
    if "uid" in given:
        uids = frozenset(_listed(given["uid"], int, (*place, "uid"), "the number of a user of this machine"))
    if "link" in given:
        links = frozenset(_listed(given["link"], str, (*place, "link"), "the sort of a link"))
        if unknown := sorted(links - set(LINKS)):
            raise Wrong((*place, "link"), f"the sorts of links are {', '.join(LINKS)}; not {unknown[0]!r}")
    if "listener" in given:
        listeners = Patterns(_patterns(given["listener"], (*place, "listener")))
    return Whom(tuple(members), uids, links, listeners)


def _of_groups(given: Any, groups: dict[str, Members], place: Path) -> Members:
    found = _listed(given, str, place, "the name of a group")
    for name in found:
        if name not in groups:
            there_are = f"there are {', '.join(groups)}" if groups else "say in [groups] who is in it"
            raise Wrong(place, f"there is no group {name!r}: {there_are}")
    return Members(
        frozenset().union(*(groups[name].ids for name in found)),
        frozenset().union(*(groups[name].names for name in found)),
    )


def _names(given: dict[str, Any], action: str, place: Path) -> tuple[str, ...] | None:
    return tuple(_patterns(given[action], (*place, action))) if action in given else None


def _patterns(given: Any, place: Path) -> list[str]:
    texts = _listed(given, str, place, 'patterns of names, such as ["lab/*"]')
    for number, text in enumerate(texts):
        where = (*place, number) if isinstance(given, list) else place
        if problem := pattern_problem(text):
            raise Wrong(where, problem)
    return [_canonical(text) for text in texts]


def _canonical(text: str) -> str:
    """Without capitals, if it is a UUID."""
    try:
        return text.lower() if str(uuid.UUID(text)) == text.lower() else text
    except ValueError:
        return text


def _quota(given: Any, place: Path) -> dict[str, int]:
    if not isinstance(given, dict):
        raise Wrong(place, f"expected quota = {{ … }} with {', '.join(QUOTAS)}; not {given!r}")
    for name, most in given.items():
        if name not in QUOTAS:
            raise Wrong((*place, name), f"a quota has {', '.join(QUOTAS)}; not {name!r}")
        least = _LEAST.get(name, 1)
        if not isinstance(most, int) or isinstance(most, bool) or not least <= most <= QUOTA_MAX:
            raise Wrong((*place, name), f"{name} must be a whole number from {least} on, not {most!r}")
    return dict(given)
