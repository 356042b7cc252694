"""Busway beside its rivals: the same cases for each, in turn in one run.

Usage: python -m benchmarks [--full] [--json FILE] [--cases PATTERN] [--systems PATTERN] [--rounds N]
                            [--seconds S] [--check] [--core DIR | --pure] [--patience S] [--list]

Workers of each system are started once; rounds of all of them follow each other in turn. Where the machine
is slow, by a fixed loop before and after, a round is repeated. What it is at stands on stderr.

A line has the median of the rounds, the lowest and highest, and the processor time of each message or round
trip: far sends, publishes or asks, near takes or answers, between is a broker or bridge.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.bench import cases, machine, report, values
from benchmarks.bench.core import PURE, compiled_package
from benchmarks.bench.progress import Progress
from benchmarks.bench.rounds import Bench, Settings
from benchmarks.bench.teams import TEAMS
from benchmarks.bench.variants import VARIANTS, Variant, title_of

PROGRAMS = (2, 20, 64, 100, 250)


def arguments() -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__, formatter_class=raw)
    parser.add_argument("--json", type=Path, help="file for all figures")
    parser.add_argument("--cases", default="", help="regular expression: only these cases; --list has them")
    parser.add_argument("--systems", default="", help="regular expression: only these systems")
    parser.add_argument("--list", action="store_true", help="say which cases and systems there are")
    parser.add_argument("--rounds", type=int, default=4, help="of each system in each case (default 4)")
    parser.add_argument("--seconds", type=float, default=1 / 3, help="of each round (default a third)")
    parser.add_argument("--full", action="store_true", help="everything: a quarter of an hour or more")
    parser.add_argument("--check", action="store_true", help="look at each message of each round")
    core = parser.add_mutually_exclusive_group()
    core.add_argument("--core", type=Path, help="folder with a compiled busway, instead of building it")
    core.add_argument("--pure", action="store_true", help="pure Python only: nothing is compiled")
    parser.add_argument(
        "--patience", type=float, default=30.0, help="seconds to wait for a fast machine, in all"
    )
    options = parser.parse_args()
    if options.rounds < 1 or not 0 < options.seconds <= 60 or not options.patience >= 0:
        parser.error("--rounds is 1 or more, --seconds more than 0 and at most 60, --patience 0 or more")
    try:
        check(options)
    except (ValueError, OSError, re.error) as error:
        parser.error(str(error))
    return options


def cases_of(options: argparse.Namespace) -> list[cases.Case]:
    return cases.full() if options.full else cases.short()


def check(options: argparse.Namespace) -> None:
    """Raises what is wrong before anything is measured: ValueError, OSError, re.error."""
    for option, pattern, keys in (
        ("--cases", options.cases, [*(case.key for case in cases_of(options)), "values"]),
        ("--systems", options.systems, list(VARIANTS)),
    ):
        if not any(re.search(pattern, key) for key in keys):
            more = "" if options.full or option == "--systems" else "; with --full there are more"
            raise ValueError(f"{option} {pattern!r} is none of {', '.join(keys)}{more}")
    if options.core is not None and not any(options.core.glob("busway/protocol/*.so")):
        raise ValueError(f"--core {options.core} has no compiled busway; without --core it is compiled here")
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        absent = not options.json.exists()
        options.json.open("a").close()
        if absent:
            options.json.unlink()


def list_all(options: argparse.Namespace) -> None:
    """Which cases and systems there are."""
    named = {case.key: case.title for case in cases_of(options)}
    named["values"] = "what is measured in no rounds: importing it" + (", memory, programs" * options.full)
    for heading, those in (
        ("cases" if options.full else "cases (--full has others)", named),
        ("systems", {key: variant.title for key, variant in VARIANTS.items()}),
    ):
        print(f"{heading}:")
        for key, title in those.items():
            print(f"  {key:<24} {title}")


def packages_of(options: argparse.Namespace, progress: Progress) -> tuple[dict[str, Path], str]:
    """Where the pure and the compiled package lie, and why the one that was asked for does not."""
    if options.pure:
        return {"pure": PURE}, ""
    try:
        return {"pure": PURE, "compiled": (options.core or compiled_package(progress)).resolve()}, ""
    except AssertionError as error:
        return {"pure": PURE}, f"the core cannot be compiled: {str(error).strip()[-1500:]}"


def chosen(
    options: argparse.Namespace, packages: dict[str, Path], why: str
) -> tuple[dict[str, Variant], dict[str, str]]:
    """The variants that can take part, and why others cannot; `why` there is no compiled package."""
    here: dict[str, Variant] = {}
    absent: dict[str, str] = {}
    for key, variant in VARIANTS.items():
        if not re.search(options.systems, key):
            continue
        if variant.core not in ("", *packages):
            absent |= {key: why} if why else {}
        elif missing := variant.missing():
            absent[key] = missing
        else:
            here[key] = variant
    return here, absent


def run(options: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    """Measures all that was asked for, and prints it as it comes."""
    packages, why = packages_of(options, progress)
    variants, absent = chosen(options, packages, why)
    titles = {key: variant.title for key, variant in VARIANTS.items()}
    listed = [case for case in cases_of(options) if re.search(options.cases, case.key)]
    settings = Settings(options.rounds, options.seconds, options.check, options.patience)
    result: dict[str, Any] = {"environment": machine.environment(), "cases": {}, "absent": absent}
    result["settings"] = {"rounds": settings.rounds, "seconds": settings.seconds, "checked": settings.checked}
    with Bench(variants, TEAMS, packages, settings, progress) as bench:
        progress.expect(bench.steps(listed) + steps_of_values(options, packages))
        for number, case in enumerate(listed, 1):
            found = bench.measure(case)
            bench.retire(listed[number:])
            result["cases"][case.key] = {"title": case.title, "unit": case.unit, "arms": found}
            progress.clear()
            print("\n".join(report.lines_of(result["cases"][case.key], titles)), flush=True)
        result["failed"] = bench.failed
        result["about"] = bench.about
    result["values"] = values_of(options, packages, progress, result["failed"])
    result["took_s"] = round(time.monotonic() - progress.began)
    return result


def steps_of_values(options: argparse.Namespace, packages: dict[str, Path]) -> int:
    if not re.search(options.cases, "values"):
        return 0
    return len(packages) + (values.full_steps(packages) if options.full else 0)


def values_of(
    options: argparse.Namespace, packages: dict[str, Path], progress: Progress, failed: dict[str, str]
) -> values.Values:
    """Figures that are not measured in rounds; `--cases values` asks for them alone."""
    if not re.search(options.cases, "values"):
        return {}
    turns = 2 * options.rounds
    found = values.short(packages, turns, progress)
    if options.full:
        found |= values.full(packages, turns, PROGRAMS, progress, failed)
    return found


def written(result: dict[str, Any]) -> str:
    """JSON with a line for each round."""
    return (
        re.sub(
            r"[{\[][^{}\[\]]*[}\]]", lambda match: " ".join(match[0].split()), json.dumps(result, indent=1)
        )
        + "\n"
    )


def main() -> None:
    options = arguments()
    if options.list:
        list_all(options)
        return
    progress = Progress()
    try:
        result = run(options, progress)
    except KeyboardInterrupt:
        progress.clear()
        sys.exit(130)
    progress.clear()
    for line in report.bar_lines(result, {key: variant.title for key, variant in VARIANTS.items()}):
        print(line)
    for key, why in result["absent"].items():
        print(f"not here: {title_of(key)}: {why}")
    for key, why in result["failed"].items():
        print(f"FAILED: {title_of(key)}: {why}")
    if options.json is not None:
        options.json.write_text(written(result))
    if any(key.startswith("busway") for key in result["failed"]):
        sys.exit("error: Busway failed")


if __name__ == "__main__":
    main()
