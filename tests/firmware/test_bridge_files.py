"""The files for a gateway: systemd's unit, udev's rules and the settings say what our commands understand."""

import configparser
import re
import shlex

import click
import pytest

from busway.cli.app import commands, group
from busway.drivers import serial_ports
from tests.rigs.tree import ROOT

FOLDER = ROOT / "firmware_examples" / "bridge"
RULE = re.compile(r'^\w+(\{\w+\})?(==|\+=|=|!=)"[^"]*"$')


def settings() -> list[str]:
    """The URL lists of bridge.env, also those in comments."""
    found = re.findall(r'^(?:# )?BUSWAY_URLS="(.*)"$', (FOLDER / "bridge.env").read_text(), re.MULTILINE)
    assert found
    return found


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(FOLDER / "busway-bridge.service")
    return parser


def test_the_unit_runs_a_command_that_exists() -> None:
    program, command, *arguments = shlex.split(unit()["Service"]["ExecStart"])
    assert program.startswith("/")
    assert arguments == ["$BUSWAY_URLS"], "without braces, so that systemd splits it into words"
    with click.Context(group) as parent:
        commands()[command].make_context(command, settings()[0].split(), parent=parent)


def test_the_unit_and_the_notes_name_the_same_places() -> None:
    notes = (FOLDER / "README.md").read_text()
    service = unit()["Service"]
    assert service["EnvironmentFile"] in notes
    assert service["ExecStart"].split()[0].removesuffix("/busway") in notes
    assert f"BUSWAY_DIR=/run/{service['RuntimeDirectory']}" == service["Environment"]
    assert service["Environment"] in notes
    assert f"--groups {service['SupplementaryGroups']} {service['User']}" in notes


@pytest.mark.parametrize("urls", settings())
def test_the_settings_are_urls(urls: str) -> None:
    for url in urls.split():
        if url.startswith("serial:"):
            serial_ports.parse(url)
        else:
            assert url.startswith("tcp://")


def test_every_rule_matches_a_usb_id_and_gives_a_lasting_name() -> None:
    lines = (FOLDER / "99-busway.rules").read_text().splitlines()
    rules = [line.split(", ") for line in lines if line and not line.startswith("#")]
    assert len(rules) >= 4
    for rule in rules:
        assert all(RULE.match(part) for part in rule), rule
        keys = {part.partition("=")[0].rstrip("+!=") for part in rule}
        assert keys >= {"SUBSYSTEM", "ATTRS{idVendor}", "ATTRS{idProduct}", "GROUP", "SYMLINK"}
        assert '"dialout"' in next(part for part in rule if part.startswith("GROUP"))
    ids = [tuple(rule[1:3]) for rule in rules]
    assert len(set(ids)) == len(ids)
