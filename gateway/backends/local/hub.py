"""Models of a hub: their files by name, each resumed where it was cut, each checked."""

from __future__ import annotations

import fnmatch
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from gateway.backends.local.adapters import CONFIG as ADAPTER_CONFIG
from gateway.backends.local.disk import require_space
from gateway.backends.local.folder import read_json
from gateway.backends.local.loadable import check_config, no_safetensors
from gateway.backends.local.refused import FetchError, ModelRefused

#: The weights, tokenizer and configuration of a hub repository, and its licence; no code.
_WANTED = (
    *("*.safetensors", "*.safetensors.index.json", "*.jinja", "LICEN?E*", ADAPTER_CONFIG),
    *("config.json", "generation_config.json", "tokenizer*.json", "special_tokens_map.json"),
    *("vocab.json", "merges.txt", "tokenizer.model", "added_tokens.json"),
    *("modules.json", "1_Pooling/config.json"),
)
_HUB_ID_PARTS = 2
#: How often a connection may break, with less than a block between, before fetching fails; and
#: the pause after the first time, which grows.
_ATTEMPTS = 5
PAUSE_S = 0.5
_TIMEOUT = httpx.Timeout(30)
_BLOCK = 1 << 20
_MB = 1_000_000

#: Told at each step: its name, how much is done, and of how much.
Progress = Callable[[str, int, int], None]


@dataclass(slots=True, frozen=True)
class HubFile:
    """A file as the hub lists it.

    `checksum` is the SHA-256 of what is stored apart, else the SHA-1 that git gives a blob.
    """

    name: str
    size: int
    checksum: str

    @property
    def is_weights(self) -> bool:
        """Whether it is one of the large ones."""
        return self.name.endswith(".safetensors")


def is_hub_id(model: str) -> bool:
    """Whether a name has the form `org/name`."""
    parts = model.split("/")
    return len(parts) == _HUB_ID_PARTS and all(part and part[0].isalnum() for part in parts)


def fetch_from_hub(model: str, work: Path, report: Progress) -> tuple[Path, Mapping[str, Any]]:
    """The folder with a repository's files, inside `work`, and what to note about them.

    What an earlier call left in `work` is gone on with. Raises FetchError, ModelRefused.
    """
    info = _info_of(model)
    listed = [one for one in info.siblings or () if _is_wanted(one.rfilename)]
    files = [HubFile(one.rfilename, one.size or 0, _checksum_of(one)) for one in listed]
    names = {one.rfilename for one in info.siblings or ()}
    if not any(file.is_weights for file in files):
        _refuse_without_safetensors(model, names)
    folder, parts = work / f"model-{info.sha}", work / "parts"
    for place in (folder, parts):
        place.mkdir(parents=True, exist_ok=True)
    left = [file for file in files if not (folder / file.name).is_file()]
    left.sort(key=lambda file: file.is_weights)
    total, have = sum(file.size for file in files), _size(folder) + _size(parts)
    require_space(work, total - have)
    done = sum(file.size for file in files if file not in left)
    is_checked = False
    with httpx.Client(follow_redirects=True, timeout=_TIMEOUT, headers=_headers()) as client:
        for file in left:
            if file.is_weights and not is_checked:
                _check_before_weights(folder)
                is_checked = True
            for size in _blocks(client, model, info.sha, file, parts):
                report(f"downloading {model} (MB)", (done + size) // _MB, total // _MB)
            done += file.size
            _check(model, file, parts)
            place = folder / file.name
            place.parent.mkdir(parents=True, exist_ok=True)
            (parts / file.checksum).rename(place)
    card = info.card_data
    licence = card.get("license") if card is not None else None
    return folder, {"licence": licence, "source": f"the hub, {model}@{info.sha}"}


def _info_of(model: str) -> Any:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    try:
        return HfApi().model_info(model, files_metadata=True)
    except GatedRepoError as error:
        raise FetchError(
            f"{model} is gated: accept its terms on its page, then set HF_TOKEN to a token of yours"
        ) from error
    except RepositoryNotFoundError as error:
        raise FetchError(
            f"The hub has no {model}, or it is private: set HF_TOKEN then to a token that may read "
            "it"
        ) from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise _unreachable(model, error) from error
    except Exception as error:
        # The client's own network errors belong to a library that is not ours to name.
        if "Error" in type(error).__name__ and type(error).__module__.startswith("httpx"):
            raise _unreachable(model, error) from error
        raise


def _unreachable(model: str, error: Exception) -> FetchError:
    first = str(error).strip().partition("\n")[0]
    return FetchError(
        f"{model} could not be fetched from the hub ({first}); "
        "run the same command again to go on from here"
    )


def _headers() -> dict[str, str]:
    from huggingface_hub.utils._headers import build_hf_headers

    # Compressed bytes can't be resumed, and weights don't compress.
    return {**build_hf_headers(), "accept-encoding": "identity"}


def _is_wanted(name: str) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in _WANTED)


def _checksum_of(listed: Any) -> str:
    return str(listed.lfs.sha256 if listed.lfs is not None else listed.blob_id)


def _refuse_without_safetensors(model: str, names: set[str]) -> None:
    ggufs = sorted(name for name in names if name.endswith(".gguf"))
    if ggufs:
        raise ModelRefused(
            f"it holds GGUF files alone ({ggufs[0]}): download one, then "
            f"`slm-gateway pull {Path(ggufs[0]).name}`"
        )
    weights = [name for name in names if name.endswith((".bin", ".pt", ".pth", ".ckpt", ".h5"))]
    raise ModelRefused(no_safetensors(weights))


def _check_before_weights(folder: Path) -> None:
    """Refuse what can't be run before its gigabytes are fetched."""
    if not (folder / ADAPTER_CONFIG).is_file():
        check_config(read_json(folder / "config.json"))


def _blocks(
    client: httpx.Client, model: str, revision: str, file: HubFile, parts: Path
) -> Iterator[int]:
    """Download a file into `parts`, from where it was cut; how much of it is there so far."""
    from huggingface_hub import hf_hub_url

    url = hf_hub_url(model, file.name, revision=revision)
    part = parts / file.checksum
    part.touch()
    failures = 0
    while True:
        before = part.stat().st_size
        try:
            yield from _rest(client, url, part, file.size)
        except (httpx.TransportError, httpx.HTTPStatusError) as error:
            is_refusal = isinstance(error, httpx.HTTPStatusError) and error.response.is_client_error
            failures = 1 if part.stat().st_size - before >= _BLOCK else failures + 1
            if failures == _ATTEMPTS or is_refusal:
                raise _unreachable(f"{file.name} of {model}", error) from error
            time.sleep(failures * PAUSE_S)
        else:
            return


def _rest(client: httpx.Client, url: str, part: Path, size: int) -> Iterator[int]:
    have = part.stat().st_size
    if have > size:
        part.write_bytes(b"")
        have = 0
    yield have
    if have == size:
        return
    headers = {"range": f"bytes={have}-"} if have else {}
    # Unbuffered: what has come is on the disk whenever this is cut.
    with (
        client.stream("GET", url, headers=headers) as response,
        part.open("ab", buffering=0) as file,
    ):
        response.raise_for_status()
        if have and response.status_code != httpx.codes.PARTIAL_CONTENT:
            file.truncate(0)
            have = 0
        told = have
        for block in response.iter_bytes():
            file.write(block)
            have += len(block)
            if have - told >= _BLOCK:
                told = have
                yield have
    if have < size:
        raise httpx.RemoteProtocolError(f"it ended after {have:,} of {size:,} bytes")


def _check(model: str, file: HubFile, parts: Path) -> None:
    part = parts / file.checksum
    is_sha256 = len(file.checksum) == hashlib.sha256().digest_size * 2
    # Git's own checksum of a blob: nothing depends on it but that the copy is whole.
    digest = hashlib.sha256() if is_sha256 else hashlib.sha1(usedforsecurity=False)
    if not is_sha256:
        digest.update(f"blob {part.stat().st_size}\0".encode())
    with part.open("rb") as content:
        while block := content.read(_BLOCK):
            digest.update(block)
    if digest.hexdigest() != file.checksum:
        part.unlink()
        raise FetchError(
            f"{file.name} of {model} has the checksum {digest.hexdigest()}, not the hub's "
            f"{file.checksum}: it was not kept"
        )


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
