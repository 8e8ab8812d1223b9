"""SQL that a user writes in one place of a statement."""

from __future__ import annotations

import re

from sync_assets.engine.errors import ConfigurationError

_TOKEN = re.compile(
    r"""(?P<quoted>[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)
    |(?P<comment>--|/\*)|(?P<end>;)|(?P<open>\()|(?P<close>\))|(?P<loose>['"])|.""",
    re.VERBOSE | re.DOTALL,
)


def require_expression(text: str, place: str) -> None:
    """Refuse what is more than one expression: it is pasted between parentheses."""
    depth, problem = 0, "" if text.strip() else "it is empty"
    for token in _TOKEN.finditer(text):
        kind = token.lastgroup
        depth += (kind == "open") - (kind == "close")
        if kind == "comment":
            problem = "it has a comment"
        elif kind == "end":
            problem = "it has a semicolon"
        elif kind == "loose" or "\0" in token.group():
            problem = "a quote does not end"
        elif depth < 0:
            problem = "a parenthesis closes that was not opened"
        if problem:
            break
    if problem or depth:
        raise ConfigurationError(
            f"{place} is not one SQL expression: {problem or 'a parenthesis does not close'}",
            remedy="Write a single expression, such as status = 'paid' or md5(email).",
        )
