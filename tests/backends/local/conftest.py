"""One real small model and one engine for all tests of the local backend."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import platformdirs
import pytest

from gateway.backends.local.backend import LocalBackend
from gateway.backends.local.fetch import pull
from gateway.backends.local.process import EngineProcess
from gateway.backends.local.tokens import TokenCounter
from tests.backends.local.asking import MODEL, until_ready


@pytest.fixture(scope="session")
def models_dir() -> Path:
    return platformdirs.user_cache_path("slm-gateway") / "models"


@pytest.fixture(scope="session")
def model_folder(models_dir: Path) -> Path:
    """The model's folder; fetched by the first run on a machine, kept for the next."""
    return pull(MODEL, models_dir)


@pytest.fixture(scope="session")
def encoder_folder(models_dir: Path) -> Path:
    return pull("all-minilm-l6-v2", models_dir)


@pytest.fixture(scope="session")
def engine(models_dir: Path, model_folder: Path) -> Iterator[EngineProcess]:
    with EngineProcess(MODEL, models_dir) as engine:
        yield engine


@pytest.fixture(scope="session")
async def small(engine: EngineProcess, models_dir: Path) -> AsyncIterator[LocalBackend]:
    """A backend that is connected to the shared engine, whose model is loaded."""
    backend = LocalBackend(MODEL, models_dir=models_dir, socket_path=engine.socket_path)
    await backend.start()
    await until_ready(backend)
    yield backend
    await backend.stop()


@pytest.fixture(scope="session")
def counter(model_folder: Path) -> TokenCounter:
    counter = TokenCounter.of_folder(model_folder)
    assert counter is not None
    return counter
