"""What the command line says about an error: one line, no password; and its exit code."""

from __future__ import annotations

import io
import os
import re
import sys
import traceback
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

import click

from sync_assets.cli.output import SHOWN, alike, named, say, say_lines, say_sentence
from sync_assets.connections import URL_VARIABLE
from sync_assets.engine.computed.masks import KEY_VARIABLE
from sync_assets.engine.errors import ConfigurationError, SyncError
from sync_assets.plain_text import shown

URL_VARIABLES = re.compile(rf"{URL_VARIABLE.pattern}|DAGSTER_PG_URL")
"""Those of every connection, whatever it is called."""

HIDDEN = "***"
DEBUG = "sync_assets.debug"
"""Where the context of a command keeps whether tracebacks are wanted."""

IN_URL = re.compile(r"(?<=://)([^\s:@/'\"]*):[^\s/]*@")
IN_DSN = re.compile(r"(password\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s&'\"]+)", re.IGNORECASE)


def report(error: BaseException, *, debug: bool = False) -> int:
    """Print an error as one line on stderr; return the exit code."""
    if debug:
        trace = "".join(traceback.format_exception(error))
        say_lines(hide_passwords(trace), err=True)
    if isinstance(error, BrokenPipeError):
        return _reader_gone()
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        say("Interrupted.", err=True)
        return 130
    if isinstance(error, click.ClickException):
        with io.StringIO() as told:
            error.show(file=told)
            say_lines(hide_passwords(told.getvalue()), err=True)
        return error.exit_code
    say_sentence(f"Error: {one_line(_said(error))}", err=True)
    return 2 if isinstance(error, ConfigurationError) else 1


def tell(error: SyncError) -> None:
    """Print the error of one table, where the others go on."""
    show_trace(error)
    say_sentence(f"Error: {described_error(error)}", err=True)


def tell_of(
    address: tuple[str, str], names: Mapping[tuple[str, str], str], error: SyncError
) -> None:
    """Print the error of the table at this address, by what it is called here."""
    if error.located(table=address[1]).table == address[1]:
        error.table = names[address]
    tell(error)


def tell_of_all(
    errors: Mapping[tuple[str, str], SyncError],
    names: Mapping[tuple[str, str], str],
    *,
    everything: bool = False,
) -> None:
    """Print the errors of tables, those that say the same once."""
    groups = alike(errors, lambda address: (errors[address].kind, errors[address].message))
    for group in groups if everything else groups[:SHOWN]:
        first, *rest = sorted(group, key=lambda each: errors[each].table != each[1])
        tell_of(first, names, errors[first])
        if rest:
            together = all(errors[each] is errors[first] for each in rest)
            what = "And so of its snapshot group" if together else "The same"
            others = named([names[each] for each in rest], everything=everything)
            say_sentence(f"       {what}: {others}.", err=True)
    if len(groups) > SHOWN and not everything:
        say(f"Error: … and {len(groups) - SHOWN:,} more; --all prints every one.", err=True)


def show_trace(error: BaseException) -> None:
    """Print where an error comes from, if `--debug` asks for it."""
    if click.get_current_context().meta.get(DEBUG):
        trace = "".join(traceback.format_exception(error))
        say_lines(hide_passwords(trace), err=True)


def described_error(error: SyncError) -> str:
    """An error in one line: its kind, what, where and how to mend it."""
    return one_line(f"{error.kind}: {error}")


def one_line(text: str) -> str:
    """Return the text without passwords, line breaks and what a terminal would obey."""
    return shown(" ".join(hide_passwords(text).split()))


def hide_passwords(text: str) -> str:
    """Replace the passwords of the URLs in the environment, and of any URL or DSN in the text."""
    text = IN_DSN.sub(rf"\1{HIDDEN}", IN_URL.sub(rf"\1:{HIDDEN}@", text))
    for word in sorted(_passwords(), key=len, reverse=True):
        # As a whole word only: a password `s` must not turn every s into stars.
        text = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", HIDDEN, text)
    return text


def _passwords() -> set[str]:
    """Passwords as written and as meant, of URLs and DSNs in the environment and of commands; the key of masks."""
    # What prints no error starts no password command.
    from sync_assets.engine.postgres.access.password import known_passwords

    found = {os.environ.get("PGPASSWORD", ""), os.environ.get(KEY_VARIABLE, "").strip()}
    found |= known_passwords()
    for name, url in os.environ.items():
        found |= _passwords_in(url) if URL_VARIABLES.fullmatch(name) else set()
    return found - {""}


def _passwords_in(url: str) -> set[str]:
    found = {m[2].strip("'").replace("\\'", "'") for m in IN_DSN.finditer(url)}
    public: set[str] = set()
    try:
        parts = urlsplit(url)
    except ValueError:
        return found
    if parts.scheme:
        found.add(parts.password or "")
        # Where the password is the role's or database's name, hiding it would only garble the
        # message: those names are no secret, and a URL's password is hidden by its place.
        public = {parts.username or "", parts.path.lstrip("/")}
    return {form for word in found - public for form in (word, unquote(word))}


def _said(error: BaseException) -> str:
    if isinstance(error, SyncError):
        return str(error)
    return (
        f"unexpected {type(error).__name__}: {error}. "
        "See the traceback with: sync-assets --debug COMMAND"
    )


def _reader_gone() -> int:
    # `sync-assets status | head`: nobody reads on, and the interpreter's own flush must not fail.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1
