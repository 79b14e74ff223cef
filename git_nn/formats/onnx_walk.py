"""The tensors of an ONNX model, wherever in its messages they stand.

Names: an initializer's own; NODE.ATTRIBUTE for a tensor of a node, which is called by its name or
else by its first output; in graphs of nodes, in functions and in training information with that
as a prefix. The values of a sparse initializer have its name, the indices NAME.indices.
A name that is there already gets ``~2``, ``~3``, ...

Numbers of fields and data types: onnx/onnx.proto.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from git_nn.errors import LayoutError
from git_nn.formats.base import Source
from git_nn.formats.protobuf import BYTES, VARINT, Field, fields, signed, varints
from git_nn.objects.layout import Extent
from git_nn.objects.names import MAX_NAME_BYTES
from git_nn.objects.tensor import MAX_RANK, Shape

DEPTH = 32  # of graphs in nodes of graphs
MANY = 200_000  # fields of one message that are looked at
TENSORS = 100_000
GRAPH, TRAINING, FUNCTION = 7, 20, 25  # of the model

# data_type of a tensor -> dtype; strings and 2-bit numbers have none
DTYPES = {
    1: "f32", 2: "u8", 3: "i8", 4: "u16", 5: "i16", 6: "i32", 7: "i64", 9: "bool", 10: "f16",
    11: "f64", 12: "u32", 13: "u64", 14: "c64", 15: "c128", 16: "bf16", 17: "f8_e4m3fn",
    18: "f8_e4m3fnuz", 19: "f8_e5m2", 20: "f8_e5m2fnuz", 21: "u4", 22: "i4", 23: "f4_e2m1",
    24: "f8_e8m0",
}  # fmt: skip

_STRING, _EXTERNAL = 8, 1
_RAW = 9
# typed fields whose packed form is the array -> the data types that are kept in them
_PACKED = {4: (1, 14), 10: (11, 15)}
_CONTENT = frozenset({3, 4, 5, 6, 7, _RAW, 10, 11})  # 3 is a segment, which nobody writes
_TENSOR = frozenset({1, 2, 8, 13, 14}) | _CONTENT


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of the model; ``dtype`` is empty where git-nn has none.

    ``data`` is where its packed little-endian array stands in the file, None where that
    does not: in another file, which ``external`` tells, or as a list of varints or texts.
    """

    name: str
    dtype: str
    shape: Shape
    data: tuple[Extent, ...] | None
    external: Mapping[str, str] | None


def tensors(source: Source) -> Iterator[Tensor]:
    """Every tensor of the model that fills ``source``, under names that are all different."""
    taken: dict[str, int] = {}
    for count, (prefix, name, field) in enumerate(_model(source)):
        if count >= TENSORS:
            raise LayoutError(f"more than {TENSORS} tensors")
        yield _tensor(source, field, prefix, name, taken)


def collect(source: Source, message: Field, *wanted: int) -> dict[int, list[Field]]:
    """Those fields of ``message`` that are ``wanted``, each with its occurrences in order."""
    if message.wire != BYTES:
        raise LayoutError("a message is a number")
    found: defaultdict[int, list[Field]] = defaultdict(list)
    count = 0
    for field in fields(source, message.start, message.stop):
        if field.number in wanted:
            found[field.number].append(field)
            count += 1
            if count > MANY:
                raise LayoutError("a message has too many fields")
    return found


def text(source: Source, found: list[Field]) -> str:
    """The last of these strings, as a message that has several of them means it; else ''."""
    if not found:
        return ""
    if found[-1].wire != BYTES:
        raise LayoutError("a text is a number")
    raw = source.read(found[-1].start, found[-1].stop - found[-1].start)
    return raw.decode("utf-8", "surrogateescape")


def entry(source: Source, message: Field) -> tuple[str, str]:
    """Key and value of a StringStringEntryProto."""
    found = collect(source, message, 1, 2)
    return text(source, found[1]), text(source, found[2])


def integers(source: Source, found: list[Field], most: int) -> list[int]:
    """A repeated int64, packed or not; LayoutError where there are more than ``most``."""
    values: list[int] = []
    for field in found:
        if field.wire == BYTES and field.stop - field.start <= 10 * most:
            values += varints(source, field.start, field.stop)
        elif field.wire == VARINT:
            values.append(field.value)
        else:
            raise LayoutError("a list of numbers is none, or too long")
    if len(values) > most:
        raise LayoutError("a list of numbers is too long")
    return [signed(value) for value in values]


# --- where tensors stand: (prefix, name or None for the tensor's own, message)


Place = tuple[str, str | None, Field]


def _model(source: Source) -> Iterator[Place]:
    trained = 0
    for field in fields(source, 0, source.size):
        if field.number == GRAPH:
            yield from _graph(source, field, "", 0)
        elif field.number == FUNCTION:
            found = collect(source, field, 1, 7, 11)
            prefix = _prefix(text(source, found[1]))
            yield from _nodes(source, found[7], prefix, 0)
            yield from _attributes(source, found[11], prefix, 0)
        elif field.number == TRAINING:
            found = collect(source, field, 1, 2)
            for name, graphs in (("initialization", found[1]), ("algorithm", found[2])):
                for graph in graphs:
                    yield from _graph(source, graph, f"training.{trained}.{name}.", 0)
            trained += 1


def _graph(source: Source, graph: Field, prefix: str, depth: int) -> Iterator[Place]:
    if depth > DEPTH:
        raise LayoutError("graphs are nested too deep")
    found = collect(source, graph, 1, 5, 15)
    yield from ((prefix, None, field) for field in found[5])
    for field in found[15]:
        yield from _sparse(source, field, prefix)
    yield from _nodes(source, found[1], prefix, depth)


def _nodes(source: Source, nodes: list[Field], prefix: str, depth: int) -> Iterator[Place]:
    for number, node in enumerate(nodes):
        found = collect(source, node, 2, 3, 5)
        if found[5]:
            name = text(source, found[3]) or text(source, found[2][:1]) or str(number)
            yield from _attributes(source, found[5], f"{prefix}{name}.", depth)


def _attributes(source: Source, found: list[Field], prefix: str, depth: int) -> Iterator[Place]:
    """Tensors (t, tensors), graphs (g, graphs) and sparse tensors of attributes."""
    for attribute in found:
        held = collect(source, attribute, 1, 5, 6, 10, 11, 22, 23)
        if not any(held[number] for number in (5, 6, 10, 11, 22, 23)):
            continue
        name = text(source, held[1])
        own = _prefix(prefix, name)
        yield from ((prefix, name, field) for field in held[5])
        yield from ((own, str(i), field) for i, field in enumerate(held[10]))
        for graph in held[6]:
            yield from _graph(source, graph, own, depth + 1)
        for i, graph in enumerate(held[11]):
            yield from _graph(source, graph, f"{own}{i}.", depth + 1)
        for i, field in enumerate((*held[22], *held[23])):
            yield from _sparse(source, field, f"{own}{i}." if held[23] else own)


def _sparse(source: Source, sparse: Field, prefix: str) -> Iterator[Place]:
    found = collect(source, sparse, 1, 2)
    for values in found[1]:
        yield prefix, None, values
    names = [text(source, collect(source, values, 8)[8]) for values in found[1]]
    for indices in found[2]:
        yield _prefix(prefix, *names), "indices", indices


def _prefix(*parts: str) -> str:
    """The parts as a prefix; refused where it grows past what a name may be."""
    prefix = "".join(parts) + "."
    if len(prefix) > MAX_NAME_BYTES:
        raise LayoutError("the name of a node is too long")
    return prefix


# --- what a tensor says of itself


def _tensor(
    source: Source, message: Field, prefix: str, name: str | None, taken: dict[str, int]
) -> Tensor:
    found = collect(source, message, *_TENSOR)
    own = text(source, found[8]) if name is None else name
    name = _free(prefix + own, taken)
    kind = found[2][-1].value if found[2] else 0
    shape = tuple(integers(source, found[1], MAX_RANK))
    external = None
    if found[14] and found[14][-1].value == _EXTERNAL:
        external = dict(entry(source, field) for field in found[13])
    data = None if external is not None else _data(found, kind, shape)
    return Tensor(name, DTYPES.get(kind, ""), shape, data, external)


def _data(found: dict[int, list[Field]], kind: int, shape: Shape) -> tuple[Extent, ...] | None:
    """Where the packed array stands: the raw bytes, or a list of floats that is packed."""
    held = found.keys() & _CONTENT
    if not held:
        return () if 0 in shape and kind != _STRING else None
    (number, *others) = held
    parts = found[number]
    packed = number == _RAW or kind in _PACKED.get(number, ())
    if others or not packed or any(part.wire != BYTES for part in parts):
        return None
    if number == _RAW and len(parts) > 1:
        raise LayoutError("a tensor has its raw bytes twice")
    return tuple(Extent(p.start, p.stop - p.start) for p in parts if p.stop > p.start)


def _free(name: str, taken: dict[str, int]) -> str:
    """``name``, or the first of NAME~2, NAME~3, ... that is not taken."""
    if name not in taken:
        taken[name] = 1
        return name
    while f"{name}~{taken[name] + 1}" in taken:
        taken[name] += 1
    taken[name] += 1
    return _free(f"{name}~{taken[name]}", taken)
