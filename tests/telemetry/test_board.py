"""Numbers of several processes: all are counted, none twice, whoever has ended."""

import multiprocessing
from collections import Counter
from pathlib import Path

from gateway.telemetry.board import Board


def totals(board: Board) -> Counter[str]:
    found: Counter[str] = Counter()
    for row in board.rows():
        found[row.key[0]] += int(row.numbers[0])
    return found


def _count(folder: Path, times: int, more: bool) -> None:
    board = Board(folder)
    board.row("seen", ("a",), 1)[0] += times
    if more:
        board.row("more", (), 3)[0] = 7


def run(folder: Path, times: int, *, more: bool = False) -> None:
    process = multiprocessing.get_context("spawn").Process(
        target=_count, args=(folder, times, more)
    )
    process.start()
    process.join(30)
    assert process.exitcode == 0


def test_one_process_alone() -> None:
    board = Board()
    row = board.row("seen", ("a", "b"), 2)
    assert list(row) == [0.0, 0.0]
    row[1] += 2.5
    assert board.row("seen", ("a", "b"), 2)[1] == 2.5
    assert [(r.key, list(r.numbers), r.is_live) for r in board.rows()] == [
        (("seen", ("a", "b")), [0.0, 2.5], True)
    ]


def test_what_a_dead_process_counted_stays_and_its_file_is_gone_on_with(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.row("seen", ("a",), 1)[0] = 1
    run(tmp_path, 10)
    assert totals(board) == {"seen": 11}
    run(tmp_path, 100, more=True)  # takes over the file of the one before
    assert totals(board) == {"seen": 111, "more": 7}
    assert len(list(tmp_path.glob("*.values"))) == 2
    assert {row.is_live for row in board.rows() if row.key[0] == "more"} == {False}


def test_half_a_line_of_a_killed_process_is_no_obstacle(tmp_path: Path) -> None:
    run(tmp_path, 3)
    with (tmp_path / "0.names").open("ab") as names:
        names.write(b'["torn", ["x')
    board = Board(tmp_path)
    board.row("new", (), 1)[0] = 4
    assert totals(board) == {"seen": 3, "new": 4}
    assert totals(Board(tmp_path)) == {"seen": 3, "new": 4}
