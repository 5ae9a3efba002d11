"""The files that a configuration is made of: read, and watched for changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from gateway.routing.registry import watched_file
from gateway.settings import DEFAULT_PATH, RoutingSettings, Settings, load_settings


@dataclass(slots=True, frozen=True)
class ConfigSource:
    """A configuration file (None: the defaults) and what the command line sets over `server`."""

    path: Path | None
    server_options: Mapping[str, object] = field(default_factory=dict)

    def load(self) -> Settings:
        """The settings as the file stands now. Raises ConfigError."""
        settings = load_settings(self.path)
        server = settings.server.model_copy(update=dict(self.server_options))
        return settings.model_copy(update={"server": server})

    def is_empty(self) -> bool:
        """Whether the file holds nothing, as one does that somebody is just writing."""
        return self.path is not None and self.path.is_file() and not self.path.stat().st_size

    def files(self, routing: RoutingSettings) -> list[Path]:
        """The file itself and those that it names."""
        named = [routing.calibration, routing.classifier, routing.shadow]
        return [self.path or DEFAULT_PATH, *(watched_file(path) for path in named if path)]


class Contents:
    """Digests of files' contents; a file is read again only where its stat has changed."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, ...], bytes]] = {}

    def digests(self, files: Iterable[Path]) -> dict[Path, bytes | None]:
        """By file, the digest of what it holds; None where it can't be read. Blocks."""
        return {path: self._digest(path) for path in files}

    def _digest(self, path: Path) -> bytes | None:
        try:
            # Through symlinks: a mounted ConfigMap is changed by turning one round.
            found = path.stat()
            stat = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
            known = self._known.get(path)
            if known is None or known[0] != stat:
                known = self._known[path] = (stat, blake2b(path.read_bytes()).digest())
        except OSError:
            return None
        return known[1]
