"""Tables: which columns a narrow terminal keeps, and how they line up."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from sync_assets.cli.changing import run
from sync_assets.cli.output import EDGES, filled, plain_rows, print_rows, shown_columns, styled
from sync_assets.cli.reading import status

RUN = (
    "public.orders",
    "sym_v1.sym_ticker_exchange",
    "xmin_incremental",
    *("12,345,678", "1,234,567", "123,456", "0", "0"),
    "123.45",
)
STATUS = (
    "sym_v1.sym_ticker_exchange",
    "2026-11-23 00:05:11",
    *("3,840", "1026", "1027"),
    "12 xids, 13.2 MB",
    "3 min 5 s",
)


def shown(
    columns: tuple[str, ...], row: tuple[str, ...], spare: tuple[str, ...], room: int
) -> list[str]:
    return [columns[i] for i in shown_columns(columns, [row], spare, room)]


def test_a_wide_terminal_shows_every_column() -> None:
    assert shown(run.HEADINGS, RUN, run.SPARE, 200) == list(run.HEADINGS)


def test_spare_columns_go_in_their_order_and_the_others_never() -> None:
    columns, row, spare = ("a", "b", "c"), ("1" * 10,) * 3, ("c", "a")
    assert shown(columns, row, spare, 34) == ["a", "b", "c"]
    assert shown(columns, row, spare, 33) == ["a", "b"]
    assert shown(columns, row, spare, 21) == ["b"]
    assert shown(columns, row, spare, 1) == ["b"]


def test_a_column_in_which_nothing_stands_goes_before_all_others() -> None:
    columns, row = ("a", "nothing known", "c"), ("1" * 10, "", "1" * 10)
    assert shown(columns, row, ("c",), 40) == list(columns)
    assert shown(columns, row, ("c",), 30) == ["a", "c"]
    assert shown(columns, row, ("c",), 20) == ["a"]


def test_what_matters_fits_into_80_columns() -> None:
    in_run = shown(run.HEADINGS, RUN, run.SPARE, 80 - EDGES)
    assert in_run == ["target", "exported", "inserted", "updated", "deleted", "seconds"]
    in_status = shown(status.HEADINGS, STATUS, status.SPARE, 80 - EDGES)
    assert in_status == ["table", "last sync", "behind", "data age"]
    for headings, row, names in (
        (run.HEADINGS, RUN, in_run),
        (status.HEADINGS, STATUS, in_status),
    ):
        cells = [row[headings.index(name)] for name in names]
        assert max(map(len, plain_rows(names, [cells], "l" * len(names)))) <= 80 - EDGES


def test_cells_line_up_where_letters_are_wide() -> None:
    assert plain_rows(("table", "rows"), [("한국", "1"), ("b", "22")], "lr") == [
        "table  rows",
        "한국      1",
        "b        22",
    ]


@pytest.mark.parametrize("width", [60, 80, 200])
def test_no_name_is_broken_on_a_terminal(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["sales.order_lines_with_a_rather_long_name", "a.b", f"상점.{'결제_환불_기록_' * 4}표"]
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    print_rows(
        ("table", "rows", "differ", "missing", "result"),
        [(name, "1,000", "17", "0", "equal") for name in names],
        "lrrrl",
    )
    lines = capsys.readouterr().out.splitlines()
    for name in names:
        (of_name,) = (line for line in lines if line.split()[:1] == [name])
        # Beside it, or below it, stands what is said of it.
        at = lines.index(of_name)
        said = lines[at : at + 2]
        assert any(line.split()[-4:] == ["1,000", "17", "0", "equal"] for line in said)
    assert "" not in lines
    # One below the other, all of them.
    assert len({cell_len(line.rstrip()) for line in lines if line.rstrip().endswith("equal")}) == 1


@pytest.mark.parametrize("margin", [0, 10])
@pytest.mark.parametrize("width", [40, 80])
@pytest.mark.parametrize(
    "text",
    [
        "sales.orders: the source has no table sales.orders. Check upper and lower case.",
        "영업.주문상세내역: the source has no table 영업.주문상세내역, 영업.고객, 영업.청구서, 영업.결제.",
    ],
)
def test_on_a_terminal_no_word_of_a_sentence_is_broken(text: str, width: int, margin: int) -> None:
    said = " " * margin + filled(text, width, margin)
    rows = in_rows(said, width)
    assert [word for row in rows for word in row.split()] == text.split()
    assert all(row.startswith(" " * margin) and row[margin] != " " for row in rows)
    # One line for whoever copies it.
    assert "\n" not in said


def test_a_word_wider_than_a_terminal_and_a_terminal_too_narrow_break_it_as_ever() -> None:
    assert filled("x" * 100, 40) == "x" * 100
    assert filled("a sentence of words that would not fit", 12) == (
        "a sentence of words that would not fit"
    )


def in_rows(text: str, width: int) -> list[str]:
    """What a terminal of that width shows: it goes on in the next row where one is full."""
    rows = [""]
    for letter in text:
        if cell_len(rows[-1] + letter) > width:
            rows.append("")
        rows[-1] += letter
    return rows


def test_without_colours_what_is_bold_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert styled("x", fg="red", bold=True) == "\x1b[31m\x1b[1mx\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert styled("x", fg="red", bold=True) == "\x1b[1mx\x1b[0m"
    assert styled("x", fg="red") == "x"
