"""Rows on disk: in order, whole, bounded, and one process's alone while it lives."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.accounting import spool as spool_module
from gateway.accounting.spool import Spool, SpoolFull

MB = 1024 * 1024


def rows(*numbers: int) -> list[dict[str, Any]]:
    return [{"request_id": f"r{n}", "attempt": 1, "cost_pico": n} for n in numbers]


def drained(spool: Spool, most: int = 3) -> list[int]:
    found: list[int] = []
    while some := spool.next_rows(most):
        found += [row["cost_pico"] for row in some]
        spool.stored()
    return found


def test_rows_come_back_in_order_and_their_files_go(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", MB)
    assert (spool.rows, spool.size_bytes, spool.oldest_s) == (0, 0, None)
    spool.append(rows(1, 2, 3, 4))
    spool.append(rows(5), sync=True)
    assert spool.rows == 5
    (file,) = (tmp_path / "spool").iterdir()
    assert spool.size_bytes == file.stat().st_size
    assert file.stat().st_mode & 0o777 == 0o600
    assert drained(spool) == [1, 2, 3, 4, 5]
    assert (spool.rows, spool.size_bytes) == (0, 0)
    assert not (tmp_path / "spool").exists()


def test_rows_stay_until_they_are_stored(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", MB)
    spool.append(rows(1, 2))
    first = spool.next_rows(1)
    assert spool.next_rows(1) == first == rows(1)
    spool.append(rows(3))
    spool.stored()
    assert spool.rows == 2
    assert drained(spool) == [2, 3]


def test_the_folder_is_bounded_for_all_its_processes(tmp_path: Path) -> None:
    size = len(repr(rows(1)[0]))
    first, second = (Spool(tmp_path / "spool", 10 * size) for _ in range(2))
    with pytest.raises(SpoolFull):
        for n in range(20):
            first.append(rows(n))
    held = first.rows
    assert 0 < held < 20
    with pytest.raises(SpoolFull):
        second.append(rows(99))
    assert drained(first) == list(range(held))
    second.append(rows(99))
    second.close()


def test_a_full_file_is_followed_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "_SEGMENT_BYTES", 100)
    spool = Spool(tmp_path / "spool", MB)
    for n in range(10):
        spool.append(rows(n))
    files = len(list((tmp_path / "spool").iterdir()))
    assert files > 2
    taken = len(spool.next_rows(99))
    assert 0 < taken < 10
    spool.stored()
    assert len(list((tmp_path / "spool").iterdir())) == files - 1
    assert spool.rows == 10 - taken
    assert drained(spool) == list(range(taken, 10))


def test_a_write_that_fails_half_way_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path / "spool", MB)
    spool.append(rows(1))
    (file,) = (tmp_path / "spool").iterdir()
    before, write = file.read_bytes(), os.write
    room = [7]

    def short(descriptor: int, data: memoryview) -> int:
        if not room:
            raise OSError(28, "No space left on device")
        return write(descriptor, data[: room.pop()])

    monkeypatch.setattr(os, "write", short)
    with pytest.raises(OSError, match="No space left"):
        spool.append(rows(2))
    monkeypatch.undo()
    assert file.read_bytes() == before
    spool.append(rows(3))
    assert drained(spool) == [1, 3]


def test_what_a_kill_has_cut_short_doesnt_count_and_damage_is_counted(tmp_path: Path) -> None:
    dead = Spool(tmp_path / "spool", MB)
    dead.append(rows(1, 2, 3))
    dead.close()
    (file,) = (tmp_path / "spool").iterdir()
    first, second, third = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(first + b"\0" * 8 + second + b"5\n" + third + first[: len(first) // 2])
    spool = Spool(tmp_path / "spool", MB)
    spool.adopt()
    assert drained(spool) == [1, 3]
    assert spool.unreadable == 2
    assert not (tmp_path / "spool").exists()


def test_a_file_without_a_whole_row_is_cleared_away(tmp_path: Path) -> None:
    (tmp_path / "1-torn.rows").write_bytes(b'{"request_id": "r')
    (tmp_path / "somebody's.rows").write_bytes(b"not ours\n")
    spool = Spool(tmp_path, MB)
    spool.adopt()
    assert drained(spool) == []
    assert [path.name for path in tmp_path.iterdir()] == ["somebody's.rows"]


def test_a_living_owner_keeps_its_rows(tmp_path: Path) -> None:
    owner, other = Spool(tmp_path, MB), Spool(tmp_path, MB)
    owner.append(rows(1))
    owner.append(rows(2))
    other.adopt()
    assert drained(other) == []
    owner.close()
    other.adopt()
    other.adopt()
    assert other.rows == 2
    assert drained(other) == [1, 2]


def test_adopted_rows_come_after_the_ones_being_drained(tmp_path: Path) -> None:
    dead, spool = Spool(tmp_path, MB), Spool(tmp_path, MB)
    dead.append(rows(1))
    spool.append(rows(2, 3))
    assert spool.next_rows(1) == rows(2)
    spool.append(rows(4))
    dead.close()
    spool.adopt()
    assert drained(spool) == [2, 3, 1, 4]


_OWNER = """
import sys, time
from pathlib import Path
from gateway.accounting.spool import Spool
spool = Spool(Path(sys.argv[1]), 1 << 20)
spool.append([{"cost_pico": 1}, {"cost_pico": 2}])
print("spooled", flush=True)
time.sleep(60)
"""


def test_a_killed_process_leaves_its_rows_to_others(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", _OWNER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"spooled\n"
        spool = Spool(tmp_path, MB)
        spool.adopt()
        assert spool.rows == 0
        owner.send_signal(signal.SIGKILL)
    spool.adopt()
    assert drained(spool) == [1, 2]


def test_a_folder_that_is_configured_and_isnt_there_is_made(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "state" / "gateway" / "spool", MB, makes_parents=True)
    spool.append(rows(1, 2))
    assert drained(spool) == [1, 2]
