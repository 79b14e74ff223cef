"""onnx-data: the file beside an ONNX model that holds its tensors; the model says where.

A payload is a range that a tensor of the model takes; tensors of one range are views of the first
in natural order. Ranges that overlap in another way are none. What no tensor takes (padding to
pages) is literal.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from git_nn.errors import LayoutError
from git_nn.formats.base import Source
from git_nn.formats.onnx import payload
from git_nn.formats.onnx_walk import Tensor, tensors
from git_nn.formats.protobuf import Buffered
from git_nn.objects.layout import Extent, Layout, Payload, View
from git_nn.objects.names import natural_key
from git_nn.objects.tensor import contiguous_strides

NAME = "onnx-data"
VERSION = 1
SUFFIXES = (".onnx.data", ".onnx_data")
ABOUT = "weights that an ONNX model keeps in a file beside it"

# model.onnx.data of PyTorch, model.onnx_data of Optimum, both also in numbered parts
_DATA = re.compile(r"(?P<stem>.+?)(\.onnx)?[._]data(_[0-9]+)?", re.DOTALL)
_NUMBER = re.compile(r"[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class _Place:
    tensor: Tensor
    extent: Extent


def descriptions(name: str) -> tuple[str, ...]:
    found = _DATA.fullmatch(name)
    return (f"{found['stem']}.onnx",) if found else ()


def layout(source: Source, name: str, description: Source) -> Layout:
    places: dict[Extent, list[_Place]] = {}
    for tensor in tensors(Buffered(description)):
        if tensor.external is not None and tensor.external.get("location") == name:
            place = _Place(tensor, _extent(tensor, source.size))
            places.setdefault(place.extent, []).append(place)
    if not places:
        raise LayoutError("the model beside it has no tensor in this file")
    payloads: list[Payload] = []
    views: list[View] = []
    for extent, found in places.items():
        whole, *others = sorted(found, key=lambda place: natural_key(place.tensor.name))
        owner = _payload(whole)
        payloads.append(owner)
        for other in map(_payload, others):
            if extent.length:
                steps = contiguous_strides(other.shape)
                views.append(View(other.name, other.dtype, other.shape, owner.name, 0, steps))
            else:
                payloads.append(other)
    return Layout(NAME, VERSION, source.size, tuple(payloads), tuple(views))


def _payload(place: _Place) -> Payload:
    extents = (place.extent,) if place.extent.length else ()
    return payload(place.tensor.name, place.tensor.dtype, place.tensor.shape, extents)


def _extent(tensor: Tensor, size: int) -> Extent:
    """Where the tensor stands; without a length it is all that follows, as the library reads it."""
    assert tensor.external is not None
    offset = _number(tensor.external.get("offset", "0"))
    length = tensor.external.get("length")
    return Extent(offset, size - offset if length is None else _number(length))


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise LayoutError(f"{text[:40]!r} is no offset or length")
    return int(text)
