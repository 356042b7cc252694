"""`busway javascript`: the folder of the JavaScript client, which is a package as Node knows them."""

from __future__ import annotations

import click

from busway.cli import failures, output
from busway.cli.options import Examples, json_option


@click.command(cls=Examples)
@json_option('One JSON document: {"folder": ...}.')
def javascript(as_json: bool) -> int:
    """Examples:
      busway javascript
      npm install "$(busway javascript)"        in the folder of a program for Node
      mkdir -p node_modules && ln -s "$(busway javascript)" node_modules/busway     the same without npm
      cp -r "$(busway javascript)" vendor/busway      to take it to another machine

    A program then has it by `import { connect } from "busway/node"`. Nothing is fetched.
    """
    from busway import web

    folder = str(web.folder())
    if as_json:
        output.say_json({"folder": folder})
    else:
        output.say(folder)
    return failures.OK
