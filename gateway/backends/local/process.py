"""The engine's process as its parent sees it: started, watched, started again when it dies."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from gateway.backends.local.folder import folder_of

_log = logging.getLogger(__name__)

FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 30.0
#: A process that has lived this long has recovered: its next death is a first one.
STABLE_AFTER_S = 60.0


class EngineProcess:
    """Owns one engine process and the private socket that it listens on."""

    def __init__(
        self,
        model: str,
        models_dir: Path,
        *,
        threads: int | None = None,
        dtype: str = "auto",
        max_concurrent: int = 8,
        max_queue: int = 64,
    ) -> None:
        self._model = model
        self._models_dir = models_dir
        self._options = [
            *("--dtype", dtype),
            *("--max-concurrent", str(max_concurrent)),
            *("--max-queue", str(max_queue)),
            *(("--threads", str(threads)) if threads is not None else ()),
        ]
        # Readable by this user alone: whoever can write to the socket can ask the model.
        self._directory = Path(tempfile.mkdtemp(prefix="slm-gateway-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._watcher: threading.Thread | None = None

    @property
    def socket_path(self) -> Path:
        """Where the engine listens."""
        return self._directory / "engine.sock"

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process is not None else None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the process and a thread that watches it. Without the model's files, do nothing:
        the backend says which command fetches them."""
        folder = folder_of(self._model, self._models_dir)
        if folder is None:
            return
        self._spawn(folder)
        self._watcher = threading.Thread(
            target=self._watch, args=(folder,), name="engine-watcher", daemon=True
        )
        self._watcher.start()

    def stop(self) -> None:
        """End the process and remove its socket."""
        self._stopping.set()
        process = self._process
        if process is not None:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdin is not None:
                process.stdin.close()
        if self._watcher is not None:
            self._watcher.join()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _spawn(self, folder: Path) -> None:
        self.socket_path.unlink(missing_ok=True)
        self._process = subprocess.Popen(  # noqa: S603 (our own module)
            [
                *(sys.executable, "-m", "gateway.backends.local.worker"),
                *("--folder", str(folder), "--socket", str(self.socket_path)),
                *self._options,
            ],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def _watch(self, folder: Path) -> None:
        backoff_s = FIRST_BACKOFF_S
        while True:
            process = self._process
            assert process is not None  # noqa: S101 (spawned before the watcher)
            started = time.monotonic()
            status = process.wait()
            if self._stopping.is_set():
                return
            if time.monotonic() - started > STABLE_AFTER_S:
                backoff_s = FIRST_BACKOFF_S
            _log.error("the engine of %s ended with %s; it is restarted", self._model, status)
            if self._stopping.wait(backoff_s):
                return
            backoff_s = min(LONGEST_BACKOFF_S, backoff_s * 2)
            self._spawn(folder)
