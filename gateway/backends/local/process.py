"""The engine's process as its parent sees it: started, watched, started again when it dies."""

from __future__ import annotations

import logging
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from gateway.backends.local.adapters import adapter_folder, missing_of
from gateway.backends.local.folder import folder_of

_log = logging.getLogger(__name__)

ENGINE = "gateway.backends.local.worker"
ENCODER = "gateway.backends.local.encoder_worker"

FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 30.0
#: A process that has lived this long has recovered: its next death is a first one.
STABLE_AFTER_S = 60.0
#: How often to look whether a missing model has been fetched meanwhile.
LOOK_AGAIN_S = 2.0
#: The exit status of a process that nobody has asked for long: its model is unloaded.
UNLOADED = 3
#: How long the process may take to end by itself.
END_WITHIN_S = 5.0


#: How often a thread looks whether the others have finished before it sleeps: some microseconds.
#: With both of two cores wanted by others, a step takes 27 ms without looking, 30 with 1,000 looks,
#: 70 with 10,000; with the cores free it takes 36, 25 and 22.
SPINS = 2_000


class EngineProcess:
    """Owns one engine process and the private socket that it listens on.

    A thread starts it, and starts it again when it dies, with growing pauses. While the model
    isn't on this machine the thread waits for it to be fetched. One that starts lazily waits for
    a first connection too, and so does one that has unloaded its idle model.
    """

    def __init__(  # noqa: PLR0913 (one for each thing that the process is told)
        self,
        model: str,
        models_dir: Path,
        *,
        threads: int | None = None,
        dtype: str = "auto",
        max_concurrent: int = 8,
        max_queue: int = 64,
        socket_path: Path | None = None,
        worker: str = ENGINE,
        starts_lazily: bool = False,
        adapters: Mapping[str, str] | None = None,
        kv_cache_mb: int | None = None,
        shares_prompts: bool = False,
        idle_unload_s: float | None = None,
        powercap: Path | None = None,
    ) -> None:
        """`socket_path` is where to listen; by default in a new folder that only we can read.

        `worker` is the module that the process runs, `ENGINE` or `ENCODER`; `adapters` are hub ids
        or folders of LoRA adapters by the name that requests say; with `shares_prompts` what was
        read for one caller isn't read again for another; after `idle_unload_s` without
        requests the process ends until the next one; `powercap` is where the kernel shows the
        processors' energy counters, if not at the usual place.
        """
        self._worker = worker
        self._starts_lazily = starts_lazily
        self._model = model
        self._models_dir = models_dir
        self._adapters = adapters or {}
        self._options = [
            *("--dtype", dtype),
            *("--max-concurrent", str(max_concurrent)),
            *("--max-queue", str(max_queue)),
            *(("--threads", str(threads)) if threads is not None else ()),
            *(("--kv-cache-mb", str(kv_cache_mb)) if kv_cache_mb is not None else ()),
            *(("--share-prompts",) if shares_prompts else ()),
            *(("--idle-unload-s", str(idle_unload_s)) if idle_unload_s is not None else ()),
            *(("--powercap", str(powercap)) if powercap is not None else ()),
        ]
        self._unloads = idle_unload_s is not None
        self._own_folder: Path | None = None
        self._socket_path = socket_path
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._supervisor: threading.Thread | None = None

    @property
    def socket_path(self) -> Path:
        """Where the engine listens."""
        if self._socket_path is None:
            # Whoever can write to the socket can ask the model: `mkdtemp` lets in this user alone.
            self._own_folder = Path(tempfile.mkdtemp(prefix="slm-gateway-"))
            self._socket_path = self._own_folder / "engine.sock"
        return self._socket_path

    @property
    def pid(self) -> int | None:
        """The process id; None while there is no process."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

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
        """Start the process and the thread that watches it; returns at once."""
        self._stopping.clear()
        arguments = (self.socket_path,)
        self._supervisor = threading.Thread(
            target=self._supervise, args=arguments, name="engine-supervisor", daemon=True
        )
        self._supervisor.start()

    def stop(self) -> None:
        """End the process and remove its socket; takes seconds at most."""
        self._stopping.set()
        if self._supervisor is not None:
            self._supervisor.join()
            self._supervisor = None
        if self._own_folder is not None:
            shutil.rmtree(self._own_folder, ignore_errors=True)
            self._own_folder = self._socket_path = None

    def _supervise(self, socket_path: Path) -> None:
        if not self._starts_lazily and not self._unloads:
            self._keep_running(socket_path, None)
            return
        socket_path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(str(socket_path))
            listener.listen()
            self._keep_running(socket_path, listener)

    def _keep_running(self, socket_path: Path, listener: socket.socket | None) -> None:
        backoff_s = FIRST_BACKOFF_S
        is_lazy = self._starts_lazily
        while not self._stopping.is_set():
            folder = folder_of(self._model, self._models_dir)
            if folder is None or missing_of(self._model, self._adapters, self._models_dir):
                self._stopping.wait(LOOK_AGAIN_S)
                continue
            if listener is not None and is_lazy and not self._is_wanted(listener):
                return
            started_s = time.monotonic()
            try:
                status = self._run(folder, socket_path, listener)
            except OSError:  # no process could be started: that may pass, as want of memory does
                _log.exception("the engine of %s could not be started", self._model)
                status = -1
            if self._stopping.is_set():
                return
            is_lazy = self._starts_lazily or status == UNLOADED
            if status == UNLOADED:
                _log.info("%s was idle and is unloaded until it is asked again", self._model)
                continue
            if time.monotonic() - started_s > STABLE_AFTER_S:
                backoff_s = FIRST_BACKOFF_S
            _log.error("the engine of %s ended with status %s: restarting", self._model, status)
            self._stopping.wait(backoff_s)
            backoff_s = min(LONGEST_BACKOFF_S, backoff_s * 2)

    def _is_wanted(self, listener: socket.socket) -> bool:
        """Wait for somebody to connect; False where the end comes first."""
        waiting = select.poll()
        waiting.register(listener, select.POLLIN)
        while not self._stopping.is_set():
            if waiting.poll(100):
                return True
        return False

    def _run(self, folder: Path, socket_path: Path, listener: socket.socket | None) -> int:
        """One process from its start to its end; its exit status. It inherits the listener."""
        inherited = [] if listener is None else [listener.fileno()]
        if listener is None:
            socket_path.unlink(missing_ok=True)
        command = ["env", f"GOMP_SPINCOUNT={SPINS}", sys.executable]
        command += ["-m", self._worker, *self._options]
        command += [f"--listener={number}" for number in inherited]
        command += [
            f"--adapter={name}={adapter_folder(adapter, self._models_dir)}"
            for name, adapter in self._adapters.items()
        ]
        with subprocess.Popen(  # noqa: S603 (our own module)
            [*command, "--folder", str(folder), "--socket", str(socket_path)],
            stdin=subprocess.PIPE,  # closes when we die, however that comes; the engine then ends
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=inherited,
        ) as process:
            self._process = process
            while not self._stopping.is_set():
                try:
                    return process.wait(0.1)
                except subprocess.TimeoutExpired:
                    continue
            return _end(process)


def _end(process: subprocess.Popen[bytes]) -> int:
    process.terminate()
    try:
        return process.wait(END_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
