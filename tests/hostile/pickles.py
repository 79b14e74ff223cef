"""Pickles that call, climb, nest or lie; bare, in joblib's files and in both kinds of torch's."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

from tests.support.torch_file import G, R, S, archive, dumps, save, save_legacy, tensor

Row = Callable[[], bytes]

MARKER = "git_nn_hostile_marker"  # a module that the tests put where it could be imported
FORBIDDEN = frozenset(
    {MARKER, "antigravity", "this", "webbrowser", "turtle", "idlelib", "ftplib", "telnetlib", "pdb"}
)
COMMAND = "echo > git_nn_was_here"

_P2 = b"\x80\x02"
_WEIGHTS = S("0", "f32", bytes(range(24)))


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def _call(module: str, name: str, *args: object) -> bytes:
    return dumps({"w": b"x" * 600, "evil": R(G(module, name), args)})


_CALLS: Mapping[str, bytes] = {
    "os.system by REDUCE": _call("os", "system", COMMAND),
    "posix.system": _call("posix", "system", COMMAND),
    "nt.system": _call("nt", "system", COMMAND),
    "subprocess.Popen": _call("subprocess", "Popen", COMMAND),
    "builtins.exec": _call("builtins", "exec", f"import {MARKER}"),
    "builtins.eval": _call("builtins", "eval", f"__import__('{MARKER}')"),
    "__builtin__.eval of Python 2": _call("__builtin__", "eval", f"__import__('{MARKER}')"),
    "an import of a module": _call("builtins", "__import__", MARKER),
    "an attribute of a module that acts when imported": dumps({"w": G(MARKER, "anything")}),
    "importlib.import_module": _call("importlib", "import_module", MARKER),
    "runpy.run_path": _call("runpy", "run_path", "/etc/passwd"),
    "webbrowser.open": _call("webbrowser", "open", "http://localhost/"),
    "socket.create_connection": _call("socket", "create_connection", ("localhost", 80)),
    "open of a file": _call("builtins", "open", "/etc/passwd"),
    "pathlib.Path.read_text": _call("pathlib", "Path", "/etc/passwd"),
    "numpy.load of another file": _call("numpy", "load", "/etc/passwd"),
    "pickle.loads of a pickle inside": _call("pickle", "loads", dumps(G("this", "s"))),
    "torch.load of another file": _call("torch", "load", "/etc/passwd"),
    "a global that is a path of attributes": dumps({"w": G("os", "environ.clear")}),
    "ctypes.string_at of address 0": _call("ctypes", "string_at", 0),
    "os.system by INST": b"(S'" + COMMAND.encode() + b"'\nios\nsystem\n.",
    "os.system by OBJ": _P2 + b"(cos\nsystem\n" + _text(COMMAND) + b"o.",
    "os.system in protocol 0": b"cos\nsystem\n(S'" + COMMAND.encode() + b"'\ntR.",
    "os.system by STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04echo\x85R.",
    "NEWOBJ of a class that acts": _P2 + b"c" + MARKER.encode() + b"\nEvil\n)\x81.",
    "NEWOBJ_EX of a class that acts": b"\x80\x04c" + MARKER.encode() + b"\nEvil\n)}\x92.",
    "BUILD with a state that acts": _P2
    + b"c"
    + MARKER.encode()
    + b"\nEvil\n)\x81}"
    + _text("a")
    + b"c"
    + MARKER.encode()
    + b"\nanything\nsb.",
    "a module named with a newline and colours": b"\x80\x04\x8c\x08a\n\x1b[31mb\x8c\x01\x07\x93.",
    "an extension code": _P2 + b"\x82\x01.",
    "an extension code of 2**31": _P2 + b"\x84\xff\xff\xff\x7f.",
    "an out-of-band buffer": b"\x80\x05\x97.",
    "a persistent id that is a path": b"P/etc/passwd\n.",
    "a second pickle that calls": dumps({"w": b"x" * 600}) + _call("os", "system", COMMAND),
}


def _laughs() -> bytes:
    levels = (b"]" + b"q%c(" % i + b"h%c" % (i - 1) * 10 + b"e" for i in range(1, 60))
    return _P2 + b"]q\x00" + b"".join(levels) + b"."


def _doubling() -> bytes:
    """Tuples of twice the last one: 2**200 leaves by 1000 bytes."""
    return _P2 + b"N" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(200)) + b"."


def _colliding() -> bytes:
    """Keys with one hash: a dict of them takes time by their square."""
    keys = (b"\x8a\x0c" + (i * (2**61 - 1)).to_bytes(12, "little") + b"N" for i in range(60_000))
    return _P2 + b"}(" + b"".join(keys) + b"u."


def _big(opcode: bytes) -> bytes:
    return _P2 + b"}" + _text("w") + opcode + b"abc" + b"s."


_SHAPES: Mapping[str, Row] = {
    "a memo of a gigabyte in nine bytes": lambda: _P2 + b"Nr\xff\xff\xff\x3f0.",
    "a memo entry that is not there": lambda: _P2 + b"j\xff\xff\xff\x7f.",
    "a billion laughs": _laughs,
    "tuples that double": _doubling,
    "a list in itself": lambda: _P2 + b"]q\x00h\x00a.",
    "a dict in itself": lambda: _P2 + b"}q\x00" + _text("a") + b"h\x00s.",
    "an object in its own state": lambda: _P2 + b"ca\nB\n)\x81q\x00}" + _text("a") + b"h\x00sb.",
    "a dict as its own key": lambda: _P2 + b"}q\x00h\x00Ns.",
    "lists 300,000 deep": lambda: _P2 + b"]" * 300_000 + b"a" * 299_999 + b".",
    "tuples a million deep": lambda: _P2 + b"N" + b"\x85" * 1_000_000 + b".",
    "dicts 100,000 deep": lambda: _P2 + b"}" + b"K\x01}" * 100_000 + b"s" * 100_000 + b".",
    "objects 100,000 deep": lambda: _P2 + b"ca\nB\n" * 100_000 + b")" + b"R\x85" * 99_999 + b"R.",
    "a million marks": lambda: _P2 + b"(" * 1_000_000 + b".",
    "a million copies of the top": lambda: _P2 + b"N" + b"2" * 1_000_000 + b".",
    "a million empty dicts": lambda: _P2 + b"(" + b"}" * 1_000_000 + b"l.",
    "a large text that is there 200,000 times": lambda: (
        _P2 + _text("x" * 500_000) + b"q\x000(" + b"h\x00" * 200_000 + b"l."
    ),
    "keys that collide": _colliding,
    "keys that add up to a gigabyte": lambda: (
        _P2 + b"}(" + _text("n" * 4000) + b"](" + b"]" * 500_000 + b"eu."
    ),
    "BINBYTES8 of 2**62": lambda: _big(b"\x8e" + struct.pack("<Q", 2**62)),
    "BINUNICODE8 of 2**63": lambda: _big(b"\x8d" + struct.pack("<Q", 2**63)),
    "BYTEARRAY8 of 2**64 - 1": lambda: _big(b"\x96" + b"\xff" * 8),
    "BINSTRING of negative length": lambda: _big(b"T" + struct.pack("<i", -1)),
    "LONG4 of a gigabyte": lambda: _big(b"\x8b" + struct.pack("<i", 2**30)),
    "LONG4 of negative length": lambda: _big(b"\x8b" + struct.pack("<i", -8)),
    "LONG4 of half a megabyte": lambda: (
        _P2 + b"\x8b" + struct.pack("<i", 500_000) + b"\x7f" * 500_000 + b"."
    ),
    "INT of a million digits": lambda: b"I" + b"9" * 1_000_000 + b"\n.",
    "LONG of a million digits": lambda: b"L" + b"9" * 1_000_000 + b"L\n.",
    "FLOAT of a million digits": lambda: b"F" + b"9" * 1_000_000 + b"\n.",
    "STRING with escapes": lambda: b"S'" + b"\\x41\\n\\u0041" * 50_000 + b"'\n.",
    "STRING without its other quote": lambda: b"S'abc\n.",
    "a line without an end": lambda: b"c" + b"a" * 1_000_000,
    "a frame of 2**63": lambda: b"\x80\x04\x95" + struct.pack("<Q", 2**63) + b"N.",
    "frames in frames": lambda: b"\x80\x04" + (b"\x95" + bytes(8)) * 100_000 + b"N.",
    "protocol 255": lambda: b"\x80\xffN.",
    "a thousand protocols": lambda: b"\x80\x02" * 1000 + b"N.",
    "no STOP": lambda: _P2 + b"N" * 1000,
    "a pop of nothing": lambda: _P2 + b"0.",
    "a mark that is not there": lambda: _P2 + b"t.",
    "SETITEMS of an odd number": lambda: _P2 + b"}(Nu.",
    "APPEND to a number": lambda: _P2 + b"K\x01Na.",
    "a call of a number": lambda: _P2 + b"K\x01)R.",
    "text that is no UTF-8": lambda: _P2 + b"}X\x02\x00\x00\x00\xff\xfeNs.",
    "an unknown opcode": lambda: _P2 + b"\xfe.",
}

PICKLES: Mapping[str, Row] = {
    **{f"calls {name}": (lambda data=data: data) for name, data in _CALLS.items()},
    **_SHAPES,
}


def _array(shape: object, dtype: str = "f4", order: str = "C", **more: object) -> bytes:
    """What joblib writes for an array, up to where its raw bytes begin; the arguments may lie."""
    wrapper = G("joblib.numpy_pickle", "NumpyArrayWrapper")
    kind = R(G("numpy", "dtype"), (dtype, False, True))
    state = {
        "subclass": G("numpy", "ndarray"), "shape": shape, "order": order, "dtype": kind,
        "allow_mmap": True, "numpy_array_alignment_bytes": 16, **more,
    }  # fmt: skip
    return b"\x80\x04" + dumps(R(wrapper, (), {}, state))[2:-1]


def _joblib(shape: object, *args: str, padding: bytes = b"\x01\xff", **more: object) -> Row:
    return lambda: _array(shape, *args, **more) + padding + bytes(64) + b"."


JOBLIB: Mapping[str, Row] = {
    "a shape of 2**80": _joblib((2**80,)),
    "a shape of 2**40 by 2**40": _joblib((2**40, 2**40)),
    "a negative shape": _joblib((-16,)),
    "a shape of bools": _joblib((True,)),
    "a shape that is text": _joblib("16"),
    "a rank of 1000": _joblib((1,) * 1000),
    "a padding of 255": _joblib((16,), padding=b"\xff"),
    "a padding beyond the file": lambda: _array((16,)) + b"\xff",
    "an alignment of 2**62": _joblib((16,), numpy_array_alignment_bytes=2**62),
    "a negative alignment": _joblib((16,), numpy_array_alignment_bytes=-16),
    "an order of its own": _joblib((16,), "f4", "Z"),
    "an array of objects, which is a pickle": lambda: _array((1,), "O8") + _CALLS["posix.system"],
    "an array of 10,000 fields": _joblib((1,), ",".join(["f4"] * 10_000)),
    "a subclass that acts": _joblib((16,), subclass=G(MARKER, "Evil")),
    "an array in another file": lambda: dumps(
        R(
            G("joblib.numpy_pickle_compat", "NDArrayWrapper"),
            (),
            {},
            {"filename": "../../../../etc/passwd", "subclass": G("numpy", "ndarray")},
        )
    ),
    "3000 empty arrays": lambda: _P2 + b"(" + (_array((0,))[2:] + b"\x00") * 3000 + b"l.",
}


def _legacy(count: int, keys: object = None) -> Row:
    """A file whose only storage says that it has ``count`` elements."""

    def made() -> bytes:
        data = save_legacy({"w": tensor(_WEIGHTS, (6,))})
        at = data.rindex(struct.pack("<q", 6))
        if keys is not None:
            head = data[:at]
            data = head[: head.rindex(b"\x80\x02")] + dumps(keys) + data[at:]
            at = data.rindex(struct.pack("<q", 6))
        return data[:at] + struct.pack("<q", count) + data[at + 8 :]

    return made


_MAGIC = dumps(0x1950A86A20F9469CFC6C)

LEGACY: Mapping[str, Row] = {
    "a storage of 2**62 elements": _legacy(2**62),
    "a storage of -1 elements": _legacy(-1),
    "a storage of more than the file has": _legacy(7),
    "keys that are no texts": _legacy(6, [1, None, {}]),
    "keys that are one long text": _legacy(6, "k" * 1_000_000),
    "one key many times": _legacy(6, ["90"] * 50_000),
    "only the magic number": lambda: _MAGIC,
    "the magic number many times": lambda: _MAGIC * 50_000,
    **{
        f"an object that calls {name}": (
            lambda data=data: (
                _MAGIC + dumps(1001) + dumps({"little_endian": True}) + data + dumps([])
            )
        )
        for name, data in _CALLS.items()
        if name.startswith(("os", "an import", "builtins"))
    },
    "system information that calls": lambda: _MAGIC + dumps(1001) + _CALLS["os.system by REDUCE"],
}


def _zipped(pickle: bytes) -> bytes:
    return archive({"archive/data.pkl": pickle, "archive/data/0": _WEIGHTS.data})


TORCH: Mapping[str, Row] = {
    **{
        f"a pickle with {name}": (lambda row=row: _zipped(row()))
        for name, row in PICKLES.items()
        if len(row()) < 300_000  # the larger ones take their time bare
    },
    "constants that call": lambda: archive(
        {"a/data.pkl": dumps({}), "a/constants.pkl": _CALLS["os.system by REDUCE"]}
    ),
    "3000 views of one storage": lambda: save(
        {str(i): tensor(_WEIGHTS, (1,), (1,), i % 6) for i in range(3000)}
    ),
    "a storage of 2**62 elements": lambda: _zipped(
        dumps({"w": tensor(_WEIGHTS, (2**31, 2**31))}).replace(b"\x06", b"\x40")
    ),
    "a view that grows to 2**60 elements": lambda: save({"w": tensor(_WEIGHTS, (2**60,), (0,))}),
}
