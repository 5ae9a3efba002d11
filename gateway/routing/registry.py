"""A folder of classifiers: every version is kept, one is promoted, and the last can come back."""

from __future__ import annotations

from pathlib import Path

from gateway.routing.classifier import ArtefactMismatch, artefact_version

_PROMOTED = "promoted"
_SUFFIX = ".json.gz"


class Registry:
    """Files `VERSION.json.gz`, and `promoted` with a version a line, the newest last.

    Without a promoted version the shipped classifier is in use.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, packed: bytes) -> str:
        """Keep a classifier's file; its version. Raises ArtefactMismatch."""
        version = artefact_version(packed)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._path(version).write_bytes(packed)
        return version

    def versions(self) -> list[str]:
        """Every version that is kept, oldest file first."""
        files = sorted(self.folder.glob(f"*{_SUFFIX}"), key=lambda path: path.stat().st_mtime)
        return [path.name.removesuffix(_SUFFIX) for path in files]

    def promoted(self) -> list[str]:
        """The versions that were promoted and not rolled back, the one in use last."""
        file = self.folder / _PROMOTED
        return file.read_text(encoding="utf-8").split() if file.exists() else []

    def current(self) -> Path | None:
        """The file in use; None for the shipped one. Raises ArtefactMismatch where it is gone."""
        promoted = self.promoted()
        if not promoted:
            return None
        path = self._path(promoted[-1])
        if not path.exists():
            raise ArtefactMismatch(f"{path} is promoted, but gone")
        return path

    def promote(self, version: str) -> None:
        """Put a kept version into use. Raises ArtefactMismatch for an unknown one."""
        if not self._path(version).exists():
            known = ", ".join(self.versions()) or "nothing"
            raise ArtefactMismatch(f"there is no version {version} in {self.folder}, only {known}")
        self._write([*self.promoted(), version])

    def rollback(self) -> str | None:
        """Take the promoted version out of use; the one before it, None for the shipped one.

        Raises ArtefactMismatch where nothing is promoted.
        """
        promoted = self.promoted()
        if not promoted:
            raise ArtefactMismatch("nothing is promoted: the shipped classifier is in use")
        self._write(promoted[:-1])
        return promoted[-2] if len(promoted) > 1 else None

    def _path(self, version: str) -> Path:
        return self.folder / f"{version}{_SUFFIX}"

    def _write(self, versions: list[str]) -> None:
        """In one step, so that a gateway that starts meanwhile reads the old list or the new."""
        fresh = self.folder / f"{_PROMOTED}.new"
        fresh.write_text("".join(f"{version}\n" for version in versions), encoding="utf-8")
        fresh.replace(self.folder / _PROMOTED)


def watched_file(path: Path) -> Path:
    """The file that changes when another classifier is meant: itself, or a registry's list."""
    return path / _PROMOTED if path.is_dir() else path


def classifier_file(path: Path | None) -> Path | None:
    """What `routing.classifier` names: a file, or a registry's promoted one; None: the shipped."""
    if path is not None and path.is_dir():
        return Registry(path).current()
    return path
