"""npy: one numpy array in a file, as numpy.save writes it (NEP 1); read without numpy.

The tensor is called ``array``. The header is a Python literal, of which only the few spellings are
read that an array of numbers has; nothing is evaluated. Arrays of Python objects are pickles,
which are never read: like records, texts and dates they stay literal. An array in column-major
order has the form ``fortran`` (docs/spec-forms.md).

numpy loses the names of the types of ml_dtypes (bfloat16 is saved as ``|V2``): such an array
is ``u8``, with the bytes of an element as one more dimension.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from git_nn.errors import LayoutError
from git_nn.formats.base import Source
from git_nn.objects.layout import Extent, Layout, Payload
from git_nn.objects.tensor import Shape, check_shape, dtype_bits, is_dtype, nbytes

NAME = "npy"
VERSION = 1
SUFFIXES = (".npy",)
ABOUT = "one array of numpy"

MAGIC = b"\x93NUMPY"
TENSOR = "array"
MAX_HEADER = 65536

_USUAL = 1024  # bytes of a header that are fetched first; numpy's have 128
_FIELDS = re.compile(
    r"""\s*(?P<q>['"])(?P<key>descr|fortran_order|shape)(?P=q)\s*:\s*
    (?: (?P<p>['"])(?P<descr>[^'"\\]{1,40})(?P=p) | (?P<fortran_order>True|False)
      | \((?P<shape>[0-9L,\s]{0,1500})\) ) \s*(?:,|(?=\}))""",
    re.VERBOSE,
)
_NO_NUMBERS = re.compile(r"""\s*\{\s*['"]descr['"]\s*:\s*[\[(]""")  # records and the like
_DIM = re.compile(r"\s*([0-9]{1,19})L?\s*\Z")  # in Python 2 large numbers ended with L
_NUMBER = re.compile(r"([<>|])([fiuc])([1-9][0-9]?)\Z")
_VOID = re.compile(r"[<>|][VW]([1-9][0-9]{0,3})\Z")

First = Callable[[int], bytes]  # up to so many bytes of the start of an .npy file


@dataclass(frozen=True, slots=True)
class Array:
    """A tensor behind a header of ``start`` bytes, which calls its dtype ``descr``."""

    descr: str
    dtype: str
    shape: Shape
    fortran: bool
    start: int

    @property
    def length(self) -> int:
        return nbytes(self.dtype, self.shape)


def sniff(head: bytes) -> bool:
    return head.startswith(MAGIC)


def layout(source: Source) -> Layout:
    array = read_array(lambda limit: source.read(0, min(limit, source.size)))
    payloads: tuple[Payload, ...] = ()
    if array is not None:
        extents = (Extent(array.start, array.length),) if array.length else ()
        form = "fortran" if array.fortran else ""
        payloads = (Payload(TENSOR, array.dtype, array.shape, extents, form),)
    return Layout(NAME, VERSION, source.size, payloads)


def read_array(first: First) -> Array | None:
    """What the header at the start of ``first`` announces; None where that is no tensor.

    LayoutError where there is no header.
    """
    text, stop = _header(first)
    if _NO_NUMBERS.match(text):
        return None
    found: dict[str, str | None] = {}
    body = text.strip()
    at = 1
    while match := _FIELDS.match(body, at):
        found[match["key"]] = match[match["key"]]
        at = match.end()
    descr, fortran, shape = map(found.get, ("descr", "fortran_order", "shape"))
    if body[:1] != "{" or body[at:].strip() != "}" or None in (descr, fortran, shape):
        raise LayoutError("the header is not that of an .npy file")
    return _array(str(descr), _shape(str(shape)), fortran=fortran == "True", start=stop)


def _header(first: First) -> tuple[str, int]:
    """The text of the header, and where it ends."""
    head = first(_USUAL)
    if len(head) < 12 or not head.startswith(MAGIC) or head[6] not in (1, 2, 3) or head[7]:
        raise LayoutError("no header of an .npy file")
    width = 2 if head[6] == 1 else 4
    length = int.from_bytes(head[8 : 8 + width], "little")
    stop = 8 + width + length
    if length > MAX_HEADER:
        raise LayoutError(f"an .npy header of {length} bytes is too long")
    text = (head if stop <= len(head) else first(stop))[8 + width : stop]
    if len(text) != length:
        raise LayoutError("the .npy header is cut off")
    return text.decode("utf-8" if head[6] == 3 else "latin-1"), stop


def _shape(text: str) -> Shape:
    """What stands between the brackets of ``(3, 4)``, ``(3,)`` or ``()``."""
    dims = text.split(",")
    if not dims[-1].strip():
        dims.pop()
    elif len(dims) == 1:
        raise LayoutError("the shape in the .npy header is none")
    found = [_DIM.match(dim) for dim in dims]
    shape = tuple(int(dim[1]) for dim in found if dim)
    if len(shape) != len(dims):
        raise LayoutError("the shape in the .npy header is none")
    check_shape(shape)
    return shape


def _array(descr: str, shape: Shape, *, fortran: bool, start: int) -> Array | None:
    dtype, extra = _dtype(descr)
    if dtype is None:
        return None
    if sum(dim > 1 for dim in shape) < 2 or 0 in shape:
        fortran = False  # it is in row-major order as well
    if fortran and extra not in ((), (1,)):
        return None  # the bytes of an element stand together, its neighbours do not
    check_shape((*shape, *extra))
    return Array(descr, dtype, (*shape, *extra), fortran, start)


def _dtype(descr: str) -> tuple[str | None, Shape]:
    """A dtype for numpy's, and the dimensions that it adds to the shape."""
    if descr == "|b1":
        return "bool", ()
    lost = _VOID.match(descr)
    if lost:
        return "u8", (int(lost[1]),)
    number = _NUMBER.match(descr)
    if number is None:
        return None, ()
    order, kind, size = number[1], number[2], int(number[3])
    name = "f8_e5m2" if (kind, size) == ("f", 1) else f"{kind}{8 * size}"
    if not is_dtype(name) or (order == "|" and size > 1):
        return None, ()
    return (f"{name}be" if order == ">" and dtype_bits(name) > 8 else name), ()


def header_of(array: Array) -> bytes:
    """The header that numpy writes before a C-order array of this kind (version 1)."""
    shape = array.shape[:-1] if _VOID.match(array.descr) else array.shape
    text = f"{{'descr': {array.descr!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    body = (text + " " * (-(10 + len(text) + 1) % 64) + "\n").encode("latin-1")
    return MAGIC + b"\x01\x00" + len(body).to_bytes(2, "little") + body
