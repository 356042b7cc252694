"""The pages of the documentation site besides docs/: a hook of mkdocs.yml.

Documents that stand elsewhere, commands from click, numbers from `codes`, and the files that are linked to.
"""

from __future__ import annotations

import inspect
import posixpath
import re
from collections.abc import Iterable, Iterator

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import busway
from busway.cli import app
from busway.errors import _REASON_SENTENCES
from busway.protocol.wire import codes
from tests.rigs.tree import ROOT

# Documents outside docs/, and the pages that they become.
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "firmware_examples/bridge/README.md": "howto/bridge.md",
}
SHOWN = ("examples", "firmware_examples", "pyproject.toml", "LICENSE")
"""What else documents link to; each file becomes a page that shows it."""

SOURCE_INDEX = "source/index.md"
_LANGUAGES = {".py": "python", ".html": "html", ".toml": "toml"}
_LINK = re.compile(r"(```.*?^```|`[^`\n]*`)|(?<=\])\((?!https?:|#)([^)#\s]+)", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """mkdocs calls this with the files in docs/."""
    made = {page: _text(path) for path, page in PAGES.items() if (ROOT / path).exists()}
    made |= {_page_of(path): _listing(path) for path in _shown()}
    made[SOURCE_INDEX] = "# Files\n\n" + "".join(f"- [{path}]({path}.md)\n" for path in _shown())
    made |= {"reference/commands.md": commands(), "reference/numbers.md": numbers()}
    for page, text in made.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """mkdocs calls this with each page's text: links to files of the repository become links to pages."""
    names = {uri: path for path, uri in PAGES.items()}
    path = names.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def rewritten(found: re.Match[str]) -> str:
        if found[1]:
            return found[1]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), found[2]))
        uri = SOURCE_INDEX if (ROOT / target).is_dir() else _page_of(target)
        return "(" + posixpath.relpath(uri, posixpath.dirname(page.file.src_uri))

    return _LINK.sub(rewritten, markdown)


def _page_of(path: str) -> str:
    return PAGES.get(path) or (
        path.removeprefix("docs/") if path.startswith("docs/") else f"source/{path}.md"
    )


def _text(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def _shown() -> Iterator[str]:
    for name in SHOWN:
        found = [ROOT / name] if (ROOT / name).is_file() else sorted((ROOT / name).rglob("*"))
        yield from (
            str(path.relative_to(ROOT))
            for path in found
            if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".md"
        )


def _listing(path: str) -> str:
    language = _LANGUAGES.get(posixpath.splitext(path)[1], "text")
    return f"# {path}\n\n````{language}\n{_text(path)}````\n"


def commands() -> str:
    """The page of the command line: what `--help` says of each command."""
    whole = _context(app.group, "busway")
    parts = ["# Commands", _help(whole)]
    for name, command in app.commands().items():
        parts += [f"## busway {name}", _help(_context(command, name, whole))]
    return "\n\n".join(parts) + "\n"


def _context(command: click.Command, name: str, parent: click.Context | None = None) -> click.Context:
    return click.Context(command, parent, name, terminal_width=100, **command.context_settings)


def _help(context: click.Context) -> str:
    return f"```text\n{context.get_help()}\n```"


def numbers() -> str:
    """The page of what goes wrong: exceptions, and the numbers of reasons and link errors."""
    kinds = [getattr(busway, name) for name in busway.__all__]
    exceptions = [kind for kind in kinds if inspect.isclass(kind) and issubclass(kind, Exception)]
    sentences = dict(re.findall(r"^\| (\d+) \| [A-Z_]+ \| (.+) \|$", _text("docs/protocol.md"), re.MULTILINE))
    parts = (
        "# Errors and their numbers",
        "All but the warning are a `BusError`. [When each comes](../guarantees.md#exactly-one-outcome).",
        _table(("Exception", "Means"), [(f"`{kind.__name__}`", _first_line(kind)) for kind in exceptions]),
        "## Reasons",
        "Of `Undeliverable`, and codes of `RemoteError`; those from 256 on are the application's own.",
        _table(
            ("Number", "Name", "Means"),
            [(str(code), name, _REASON_SENTENCES[code]) for code, name in codes.REASON_NAMES.items()],
        ),
        "## Link errors",
        "The `code` of `LinkRefused`, and how links end in the log and in `busway links`.",
        _table(
            ("Number", "Name", "Means"),
            [(str(code), name, sentences[str(code)]) for code, name in codes.LINK_ERROR_NAMES.items()],
        ),
    )
    return "\n\n".join(parts) + "\n"


def _first_line(kind: type) -> str:
    return (inspect.getdoc(kind) or "").partition("\n")[0]


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows))
