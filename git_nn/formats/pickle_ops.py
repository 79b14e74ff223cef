"""Which code a pickle would call when its library loads it, told without loading it.

A name is safe when calling it, with whatever arguments and however nested, only builds
plain data, arrays or tensors. Everything else is reported; so is a pickle that is read here
only to a part while its real loader might read on.

Files of joblib are followed past their arrays, as joblib does, and also read as pickle
itself would, to which the arrays are opcodes: what either one would call is told.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator

from git_nn.errors import LayoutError
from git_nn.formats.base import BytesSource, Source
from git_nn.formats.pickle_arrays import ArrayMachine
from git_nn.formats.pickle_compressed import compression, hides_pickle
from git_nn.formats.pickle_machine import BrokenPickleError, Machine
from git_nn.formats.pickle_opcodes import run

UNREADABLE = "(cannot be read)"

_MAX_PICKLES = 1000  # one after the other in a file; the oldest torch files have five
_DATA = {
    "bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list",
    "object", "range", "set", "slice", "str", "tuple",
}  # fmt: skip
_SAFE: dict[str, set[str]] = {
    "builtins": _DATA,
    "__builtin__": _DATA | {"long", "unicode", "xrange"},
    "collections": {"OrderedDict", "defaultdict", "Counter", "deque"},
    "_codecs": {"encode"},
    "copyreg": {"_reconstructor"},
    "copy_reg": {"_reconstructor"},
    "datetime": {"date", "datetime", "time", "timedelta", "timezone"},
    "argparse": {"Namespace"},
    "numpy": {"ndarray", "dtype"},
    "torch": {"Size", "Tensor", "device"},
    "torch.nn.parameter": {"Parameter", "Buffer"},
    "torch._tensor": {"_rebuild_from_type_v2"},
    "torch.storage": {"TypedStorage", "UntypedStorage", "_TypedStorage", "_UntypedStorage"},
    "torch.serialization": {"_get_layout"},
    "torch.jit._pickle": {
        "build_intlist", "build_doublelist", "build_boollist", "build_tensorlist",
        "build_tensor_from_id", "restore_type_tag",
    },
    "numpy.core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy.core.numeric": {"_frombuffer"},
    "numpy._core.numeric": {"_frombuffer"},
    "joblib.numpy_pickle": {"NumpyArrayWrapper"},
}  # fmt: skip
_SAFE_PATTERNS = (
    re.compile(r"torch [A-Za-z0-9]+Storage"),
    re.compile(r"torch (bool|(u?int|float|bfloat|complex|q?u?int)[0-9][0-9a-z_]*)"),
    re.compile(r"torch\._utils _rebuild_[a-z0-9_]+"),
    re.compile(r"numpy\.dtypes [A-Za-z0-9]+DType"),
    re.compile(r"ml_dtypes (bfloat16|float[0-9]+_[a-z0-9]+|u?int[0-9]+)"),
    re.compile(r"numpy (bool_?|u?int[0-9]+|float[0-9]+|complex[0-9]+)"),
    re.compile(r"__torch__\S* \S+"),  # TorchScript's own types; no Python module is ever called so
)


def globals_called(data: bytes) -> list[str]:
    """``module name`` of every global in a pickle, in order, each as often as it is there.

    Where the pickle cannot be read to its end the last item says so and why.
    """
    return list(_globals(BytesSource(data), 0, len(data)))


def unsafe_globals(names: Iterable[str]) -> list[str]:
    """Those of ``names`` that are on no list of safe ones, each once, in order."""
    return list(dict.fromkeys(name for name in names if not _is_safe(name)))


def scan(source: Source) -> list[str]:
    """The unsafe globals of a torch zip, or of a file of pickles; [] for any other file."""
    head = source.read(0, min(source.size, 4))
    if head == b"PK\x03\x04":
        return unsafe_globals(_zip_globals(source))
    if hides_pickle(source):
        return [f"{UNREADABLE} it is compressed with {compression(source)}"]
    return unsafe_globals(_file_globals(source))


def _is_safe(name: str) -> bool:
    module, _, attribute = name.partition(" ")
    return attribute in _SAFE.get(module, ()) or any(
        pattern.fullmatch(name) for pattern in _SAFE_PATTERNS
    )


def _globals(source: Source, start: int, stop: int) -> Iterator[str]:
    machine = Machine(source, start, stop)
    why = _run(machine)
    yield from (f"{found.module} {found.name}" for found in machine.globals)
    if why:
        yield f"{UNREADABLE} {why}"


def _run(machine: Machine) -> str:
    """Run the machine; why its real loader may see more than it did, or nothing."""
    try:
        run(machine)
    except BrokenPickleError:
        return ""
    except LayoutError as error:
        return str(error)
    return ""


def _zip_globals(source: Source) -> Iterator[str]:
    from git_nn.formats.zip_directory import STORED, read_members

    try:
        members = read_members(source)
    except (LayoutError, ValueError, RuntimeError, struct.error) as error:
        if _mentions_pickle(source):
            yield f"{UNREADABLE} {error}"
        return
    for member in members.values():
        if not member.name.endswith(".pkl"):
            continue
        if member.method == STORED:
            yield from _globals(source, member.start, member.stop)
        else:
            yield f"{UNREADABLE} {member.name} is compressed"


def _mentions_pickle(source: Source) -> bool:
    size = min(source.size, 64 * 1024)
    return any(b".pkl" in source.read(at, size) for at in (0, source.size - size))


def _file_globals(source: Source) -> Iterator[str]:
    """Of pickles one after the other.

    Without the PROTO opcode of protocol 2 and later a file counts as a pickle only when
    it can be read to its end or asks for a call before it breaks.
    """
    start = 0
    for _ in range(_MAX_PICKLES):
        marked = _has_proto(source, start)
        if start and not marked:
            return
        machine = ArrayMachine(source, start)
        why = _run(machine)
        if not (marked or machine.stopped or machine.called):
            return
        yield from (f"{found.module} {found.name}" for found in machine.globals)
        if why:
            yield f"{UNREADABLE} {why}"
        if machine.interrupted:
            yield from _globals(source, start, source.size)
        if not machine.stopped:
            return
        start = machine.end


def _has_proto(source: Source, start: int) -> bool:
    if start + 2 > source.size:
        return False
    first, protocol = source.read(start, 2)
    return first == 0x80 and 2 <= protocol <= 5
