"""Text from a database, as text: names, comments and keys give no orders to a terminal or to Markdown."""

from __future__ import annotations

import re

CONTROLS = "\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff"
DIRECTIONS = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
"""Characters that let text be read in another order than it has."""

_UNSEEN = re.compile(f"[{CONTROLS}{DIRECTIONS}]")
_BUT_LINES = re.compile(f"(?![\n\t]){_UNSEEN.pattern}")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}

_MARKDOWN = re.compile(
    r"[\\`*{}\[\]<>#|~&@^$]|(?<!\w)_|_(?!\w)|://|www\.|^\s*(?:[-+=>:]|\d+[.)])|^\s|\s{2}",
    re.IGNORECASE,
)
"""What may be more than itself. GitHub's Markdown makes links of addresses, and an `&` a character."""

FENCE = 3


def shown(text: str) -> str:
    """One line, in which what a terminal would obey can be read, as Python would write it."""
    return _UNSEEN.sub(_escape, text)


def lines_shown(text: str) -> str:
    """The text with its lines and tabs, and nothing else that a terminal would obey."""
    return _BUT_LINES.sub(_escape, text.replace("\r\n", "\n"))


def json_shown(text: str) -> str:
    """A JSON text of the same value, with its lines, and nothing that a terminal would obey."""
    return _BUT_LINES.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def as_markdown(text: str) -> str:
    """Markdown that shows the text as it is, line by line."""
    text = lines_shown(text)
    if "\n" not in text and "\t" not in text:
        return in_markdown(text)
    fence = "`" * max(FENCE, _longest_run(text) + 1)
    return f"{fence}\n{text}\n{fence}"


def in_markdown(text: str) -> str:
    """A piece of a line of Markdown that shows the text as it is.

    Where it could be more than words it becomes code: only there a bare address makes no link.
    """
    text = shown(text)
    if not _MARKDOWN.search(text):
        return text
    fence = "`" * (_longest_run(text) + 1)
    # One blank at both ends belongs to the fence.
    return f"{fence} {text} {fence}" if text.strip() else ""


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return _SHORT.get(found[0]) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")  # noqa: PLR2004
