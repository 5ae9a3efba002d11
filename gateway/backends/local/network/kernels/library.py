"""The compiled kernels, loaded; the structures are those of `network.h`."""

from __future__ import annotations

import ctypes
import functools
import importlib.machinery
import logging
import threading
from ctypes import POINTER, Structure, c_float, c_int32, c_int64, c_void_p
from pathlib import Path
from typing import Any

_log = logging.getLogger(__name__)

#: The threads that share the work serve one caller at a time.
turn = threading.Lock()

#: The best kernels that there are, in `kernels_choose`'s numbers.
AVX2, AVX512 = 1, 2


class Matrix(Structure):
    """`struct matrix`."""

    _fields_ = [
        ("codes", c_void_p),
        ("levels", c_void_p),
        ("bias", c_void_p),
        *((name, c_int32) for name in ("outputs", "inputs", "bits")),
    ]


class Layer(Structure):
    """`struct layer`; its matrices are in the order qkv, out, gate_up, down."""

    _fields_ = [
        ("attention_norm", c_void_p),
        ("feed_norm", c_void_p),
        ("matrices", Matrix * 4),
    ]


class Network(Structure):
    """`struct network`."""

    _fields_ = [
        ("layers", POINTER(Layer)),
        ("embedding", Matrix),
        ("head", Matrix),
        ("norm", c_void_p),
        ("frequencies", c_void_p),
        *(
            (name, c_int32)
            for name in ("count", "hidden", "heads", "key_heads", "head_size", "feed")
        ),
        ("epsilon", c_float),
    ]


class Memory(Structure):
    """`struct memory`."""

    _fields_ = [
        ("base", c_void_p),
        ("layer_stride", c_int64),
        ("slot_stride", c_int64),
        ("capacity", c_int32),
    ]


class Change(Structure):
    """`struct change`."""

    _fields_ = [
        ("down", c_void_p),
        ("up", c_void_p),
        *((name, c_int32) for name in ("start", "end", "rank")),
    ]


class Adapter(Structure):
    """`struct adapter`."""

    _fields_ = [("changes", POINTER(Change)), ("first", POINTER(c_int32))]


class Batch(Structure):
    """`struct batch`."""

    _fields_ = [
        *((name, POINTER(c_int32)) for name in ("tokens", "slots", "positions")),
        ("adapters", POINTER(POINTER(Adapter))),
        ("wanted", POINTER(c_int32)),
        ("logits", c_void_p),
        ("rows", c_int32),
        ("wanted_rows", c_int32),
    ]


@functools.cache
def library() -> Any:
    """The kernels; None where they weren't compiled or this machine can't run them."""
    found = next(
        (
            file
            for suffix in importlib.machinery.EXTENSION_SUFFIXES
            if (file := Path(__file__).with_name(f"compiled{suffix}")).is_file()
        ),
        None,
    )
    if found is None:
        return None
    try:
        loaded = ctypes.CDLL(str(found))
    except OSError as error:  # such as a disk from which nothing may be run
        _log.warning("the compiled kernels can't be loaded: %s", error)
        return None
    loaded.network_read.argtypes = [
        POINTER(Network),
        POINTER(Memory),
        POINTER(Batch),
        c_int32,
    ]
    loaded.logits_summarise.argtypes = [c_void_p, c_int32, c_int32, c_void_p, c_void_p, c_int32]
    loaded.logits_summarise.restype = None
    return loaded if loaded.kernels_choose(AVX512) else None


def level() -> int:
    """Which kernels are there: `AVX2`, `AVX512`, or 0 for none."""
    found = library()
    return 0 if found is None else int(found.kernels_choose(AVX512))
