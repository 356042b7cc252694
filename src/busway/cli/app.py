"""The `busway` command: the group of subcommands, and how each of them ends. Knows none of them closely."""

from __future__ import annotations

import gc
import os
import re
import sys
from importlib import import_module
from typing import NoReturn

import click
from click.shell_completion import CompletionItem

from busway.cli import failures, options, output
from busway.cli.failures import Failure, failure_of

# The module of each command and its sentence, in the order of the help.
_COMMANDS = {
    "nodes": ("look", "List the programs on the bus."),
    "endpoints": ("look", "List the endpoints, and who holds them."),
    "links": ("look", "List the links between the programs."),
    "clients": ("clients", "List the clients of servers, and what has passed."),
    "routes": ("ways", "List the ways between the programs."),
    "listen": (
        "talk",
        (
            "Print the messages that come to endpoints, one a line;"
            " with --all what all programs send and answer."
        ),
    ),
    "watch": ("watching", "Tell who is there, and who comes, goes or changes."),
    "send": ("talk", "Send a message to whoever holds a unicast or anycast endpoint."),
    "publish": ("talk", "Give every subscriber of a broadcast endpoint a copy."),
    "last": ("talk", "Print the last value that a program keeps of what it publishes."),
    "request": ("talk", "Ask whoever serves an endpoint, and print the reply."),
    "describe": ("services", "Print what a service has: its methods, signals, errors and types."),
    "call": ("services", "Call a method of a service, and print the result."),
    "schema": ("services", "Print a JSON Schema or an AsyncAPI document of a service."),
    "stub": ("services", "Print a typed client of a service, as a Python module."),
    "serve": ("serving", "Answer requests with an external command."),
    "host": ("hosting", "Run an object of a Python module on the bus."),
    "store": ("storing", "Keep mail for programs that are away, and what is published."),
    "jobs": ("storing", "List what waits in the store, and try it again or drop it."),
    "history": ("storing", "Print what was published, as the store has recorded it."),
    "ping": ("pinging", "Measure round trips to a node, as ping(8) does."),
    "trace": ("ways", "Show the way to an endpoint or node, hop by hop."),
    "monitor": ("monitor", "Show nodes, endpoints and message rates, live."),
    "bridge": ("bridge", "Join the local bus to other nodes, and forward between them."),
    "connect": ("bridge", "Join the local bus to the node at URL."),
    "listen-on": ("bridge", "Let nodes elsewhere join the local bus at URL."),
    "bench": ("bench", "Measure one link: round trips and messages a second."),
    "audit": ("auditing", "Show who came, went and was refused, and what was denied."),
    "ports": ("ports", "List the serial ports of this machine that boards may be at."),
    "scan": ("scan", "List the boards in range that offer Busway over Bluetooth LE."),
    "found": ("finding", "List the programs and boards that were found, and why some were not joined."),
    "doctor": ("doctor", "Find out why nodes do not see each other."),
    "decode": ("decoding", "Explain bytes of a link, field by field."),
    "token": ("token", "Make a secret for links to other machines."),
    "certificate": (
        "certificate",
        "Make a certificate for wss:// in tests, and the authority that signs it.",
    ),
    "key": ("keys", "Make the key of a node, or show the public half, which others trust."),
    "pair": ("pair", "Let two machines trust each other's keys, once six words on both screens agree."),
    "policy": ("policy", "Check a policy, or explain what it lets somebody do."),
    "javascript": ("javascript", "Print the folder of the JavaScript client, to install it for Node."),
    "firmware": ("firmware", "Write the modules that a board needs, made small, and say what they take."),
}


def commands() -> dict[str, click.Command]:
    """Every command, in the order of the help. Imports them all."""
    return {name: _command(name) for name in _COMMANDS}


def _command(name: str) -> click.Command:
    module, sentence = _COMMANDS[name]
    found: click.Command = getattr(import_module(f"busway.cli.{module}"), name.replace("-", "_"))
    found.help = sentence
    return found


class _Group(click.Group):
    """Imports a command's module when it is asked for, and shows its epilog as it is written."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _COMMANDS:
            return _command(cmd_name)
        self.commands.update(commands())  # click looks there for what may be meant
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """As click's, but each sentence whole, and nothing is imported for it."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, sentence) for name, (_, sentence) in _COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """As click's, and nothing is imported for it."""
        found = [
            CompletionItem(name, help=sentence)
            for name, (_, sentence) in _COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write(f"\n{self.epilog}\n")


_EPILOG = f"""\
Examples:
  busway listen lab/temperature               in one terminal
  busway publish lab/temperature 21.5         in another
  busway listen 'lab/**'                      all names that begin with lab/
  busway nodes                                who is there
  busway watch 'lab/**'                       who is there, and who comes and goes
  busway serve lab/upper -- tr a-z A-Z        a service out of any command
  busway request lab/upper --raw hello

Exit status:
{failures.STATUSES}

Environment: BUSWAY_BUS, BUSWAY_TOKEN, BUSWAY_TOKEN_FILE, BUSWAY_KEY, BUSWAY_TRUST, BUSWAY_POLICY,
BUSWAY_BOARDS and BUSWAY_CAFILE stand for --bus, --token, --token-file, --key, --trust, --policy, --boards
and --cafile;
BUSWAY_PASSPHRASE opens an encrypted key file;
BUSWAY_DIR is where programs of one user meet; BUSWAY_TAP=0 hides from `busway listen --all`;
HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY count for wss:// and ws://.

Colours only on a terminal, and never with NO_COLOR set. With
  eval "$(_BUSWAY_COMPLETE=bash_source busway)"      (zsh_source, fish_source)
in its start-up file the shell completes commands, endpoints and nodes."""


def _show_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    """As click's own option does; other commands do not look for what this one says."""
    if wanted and not context.resilient_parsing:
        from busway import about

        click.echo(about.line())
        context.exit()


@click.group(
    cls=_Group,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
@click.pass_context
def group(context: click.Context) -> None:
    """Talk on a Busway message bus, and look at the programs on it.

    Programs of one user on one machine find each other with nothing to configure. Every command has
    --help with examples.
    """
    if not gc.isenabled():  # started by `busway.cli.main`; the command's module has been loaded by now
        gc.freeze()
        gc.enable()
    if os.environ.get("NO_COLOR"):
        context.color = False


def main() -> NoReturn:
    """The console script."""
    settings = options.Settings()
    try:
        status = _run(settings)
        sys.stdout.flush()
    except (output.Closed, BrokenPipeError):
        # What is still buffered must not be tried again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        status = failures.BROKEN_PIPE
    except KeyboardInterrupt:
        status = failures.INTERRUPTED
    sys.exit(status)


def _run(settings: options.Settings) -> int:
    try:
        return group.main(prog_name="busway", standalone_mode=False, obj=settings) or 0
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return failures.USAGE
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx is not None else "busway"
        text = re.sub(r"\s*\n\s*", " ", error.format_message()).rstrip(".")  # click puts choices into lines
        return _fail(Failure(failures.USAGE, f"{text} (see {where} --help)"), settings)
    except click.ClickException as error:
        return _fail(Failure(failures.USAGE, error.format_message()), settings)
    except click.Abort:
        return failures.INTERRUPTED
    except (output.Closed, BrokenPipeError):
        raise
    except Exception as error:
        failure = failure_of(error)
        if failure is None:
            raise
        return _fail(failure, settings)


def _fail(failure: Failure, settings: options.Settings) -> int:
    output.note(failure.message)
    if settings.as_json:
        output.say_json(
            {"error": {"status": failure.status, "name": failure.name, "message": failure.message}}
        )
    return failure.status
