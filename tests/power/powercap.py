"""The kernel's files as a machine has them that shows its counters."""

from pathlib import Path

RANGE_UJ = 262_143_328_850


def zone(folder: Path, name: str, energy_uj: int, *, range_uj: int = RANGE_UJ) -> Path:
    """One counter; its name is that of the domain, such as `package-0` or `dram`."""
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "max_energy_range_uj").write_text(f"{range_uj}\n")
    (folder / "energy_uj").write_text(f"{energy_uj}\n")
    return folder


def count(folder: Path, energy_uj: int) -> None:
    """The counter of a zone has come so far; as with the kernel's, no reader sees half a number."""
    written = folder / "energy_uj.next"
    written.write_text(f"{energy_uj}\n")
    written.replace(folder / "energy_uj")


def proc_stat(path: Path, *, user: int = 0, idle: int = 0) -> Path:
    """`/proc/stat` of a machine whose cores have worked and rested for so many ticks."""
    path.write_text(f"cpu  {user} 0 0 {idle} 7 0 0 0 3 0\ncpu0 {user} 0 0 {idle} 7 0 0 0 3 0\n")
    return path
