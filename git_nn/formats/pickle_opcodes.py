"""What each pickle opcode does to the inert machine: protocols 0 to 5.

Refused: extension codes and out-of-band buffers, which mean something outside of the
pickle. Any pickle that CPython would read to its end and that keeps the limits is read the
same way here.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import Any

from git_nn.errors import LayoutError
from git_nn.formats.pickle_machine import LONG, OPCODES, BrokenPickleError, Dict, Machine, Set

_STOP = ord(".")
_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{2}|[0-7]{1,3}|[abfnrtv\\'\"])")


def run(machine: Machine) -> Any:
    """The value of the pickle.

    Raises BrokenPickleError where it is none, and LayoutError where it exceeds a limit or does
    what only a real object could answer.
    """
    try:
        for done in range(machine.budget.opcodes):
            code = machine.byte()
            if code == _STOP:
                value = machine.pop()
                machine.stopped = True
                machine.budget.opcodes -= done + 1
                return value
            _TABLE[code](machine)
    except KeyError as error:
        raise BrokenPickleError(
            f"the pickle has an unknown opcode or memo entry {error}"
        ) from error
    except IndexError as error:
        raise BrokenPickleError("the pickle takes more from its stack than is there") from error
    except UnicodeDecodeError as error:
        raise BrokenPickleError(f"the pickle has text that is none: {error}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise LayoutError(f"the pickle makes no sense: {error}") from error
    raise LayoutError(f"the pickle has more than {OPCODES} opcodes")


def _int(text: bytes) -> int | bool:
    """The text of an INT opcode, in which 00 and 01 are the bools."""
    return text == b"01" if text in {b"00", b"01"} else int(text)


def _long(machine: Machine, length: int) -> int:
    if length > LONG:
        raise LayoutError("the pickle has a number that is too long")
    return int.from_bytes(machine.take(length), "little", signed=True)


def _quoted(line: bytes) -> str:
    """The text of a STRING opcode: a Python 2 string literal."""
    text = line.decode("latin-1")
    if len(text) < 2 or text[0] != text[-1] or text[0] not in "'\"":
        raise LayoutError("the pickle has a string without quotes")
    return _ESCAPE.sub(_unescape, text[1:-1])


def _unescape(match: re.Match[str]) -> str:
    code = match[1]
    if code[0] == "x":
        return chr(int(code[1:], 16))
    if code[0] in "01234567":
        return chr(int(code, 8) & 0xFF)
    return dict(zip("abfnrtv", "\a\b\f\n\r\t\v", strict=True)).get(code, code)


def _dict(flat: list[Any]) -> Dict:
    return Dict(list(zip(flat[::2], flat[1::2], strict=True)))


def _new_object_ex(machine: Machine) -> None:
    keywords, args, function = machine.pop(), machine.pop(), machine.pop()
    machine.call(function, (args, keywords))


def _object(machine: Machine) -> None:
    function, *args = machine.pop_mark()
    machine.call(function, tuple(args))


def _instance(machine: Machine) -> None:
    module, name = machine.line().decode(), machine.line().decode()
    machine.call(machine.find(module, name), tuple(machine.pop_mark()))


def _reduce(machine: Machine) -> None:
    args, function = machine.pop(), machine.pop()
    machine.call(function, args)


def _stack_global(machine: Machine) -> None:
    name, module = machine.pop(), machine.pop()
    machine.push(machine.find(module, name))


def _tuple(count: int) -> Callable[[Machine], None]:
    def make(machine: Machine) -> None:
        machine.push(tuple(reversed([machine.pop() for _ in range(count)])))

    return make


def _set_item(machine: Machine) -> None:
    value, key = machine.pop(), machine.pop()
    machine.set_items([key, value])


def _add_items(machine: Machine) -> None:
    elements = machine.pop_mark()
    target = machine.top()
    if isinstance(target, Set):
        target.elements.extend(elements)
    else:
        machine.extend(elements)


_TABLE: dict[int, Callable[[Machine], object]] = {
    0x80: lambda m: m.byte(),  # PROTO
    0x95: lambda m: m.frame(m.number(8)),  # FRAME
    # stack and memo
    ord("("): Machine.mark,
    ord("0"): Machine.discard,
    ord("1"): Machine.pop_mark,
    ord("2"): lambda m: m.push(m.top()),
    ord("g"): lambda m: m.get(int(m.line())),
    ord("h"): lambda m: m.get(m.byte()),
    ord("j"): lambda m: m.get(m.number(4)),
    ord("p"): lambda m: m.put(int(m.line())),
    ord("q"): lambda m: m.put(m.byte()),
    ord("r"): lambda m: m.put(m.number(4)),
    0x94: Machine.memoize,
    # constants and numbers
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    ord("I"): lambda m: m.push(_int(m.line())),
    ord("J"): lambda m: m.push(int.from_bytes(m.take(4), "little", signed=True)),
    ord("K"): lambda m: m.push(m.byte()),
    ord("M"): lambda m: m.push(m.number(2)),
    ord("L"): lambda m: m.push(int(m.line().removesuffix(b"L"))),
    0x8A: lambda m: m.push(_long(m, m.byte())),
    0x8B: lambda m: m.push(_long(m, m.number(4))),
    ord("F"): lambda m: m.push(float(m.line())),
    ord("G"): lambda m: m.push(struct.unpack(">d", m.take(8))[0]),
    # bytes and text
    ord("S"): lambda m: m.push(_quoted(m.line())),
    ord("T"): lambda m: m.push(m.old_text(m.number(4))),
    ord("U"): lambda m: m.push(m.old_text(m.byte())),
    ord("B"): lambda m: m.push(m.literal(m.number(4))),
    ord("C"): lambda m: m.push(m.literal(m.byte())),
    0x8E: lambda m: m.push(m.literal(m.number(8))),  # BINBYTES8
    0x96: lambda m: m.push(m.literal(m.number(8))),  # BYTEARRAY8
    ord("V"): lambda m: m.push(m.line().decode("raw-unicode-escape")),
    ord("X"): lambda m: m.push(m.text(m.number(4))),
    0x8C: lambda m: m.push(m.text(m.byte())),  # SHORT_BINUNICODE
    0x8D: lambda m: m.push(m.text(m.number(8))),  # BINUNICODE8
    # containers
    ord(")"): lambda m: m.push(()),
    ord("t"): lambda m: m.push(tuple(m.pop_mark())),
    0x85: _tuple(1),
    0x86: _tuple(2),
    0x87: _tuple(3),
    ord("]"): lambda m: m.push([]),
    ord("l"): lambda m: m.push(m.pop_mark()),
    ord("a"): lambda m: m.extend([m.pop()]),
    ord("e"): lambda m: m.extend(m.pop_mark()),
    ord("}"): lambda m: m.push(Dict([])),
    ord("d"): lambda m: m.push(_dict(m.pop_mark())),
    ord("s"): _set_item,
    ord("u"): lambda m: m.set_items(m.pop_mark()),
    0x8F: lambda m: m.push(Set([])),  # EMPTY_SET
    0x90: _add_items,
    0x91: lambda m: m.push(Set(m.pop_mark())),  # FROZENSET
    # globals and calls
    ord("c"): lambda m: m.push(m.find(m.line().decode(), m.line().decode())),
    0x93: _stack_global,
    ord("i"): _instance,
    ord("o"): _object,
    ord("R"): _reduce,
    0x81: _reduce,  # NEWOBJ
    0x92: _new_object_ex,
    ord("b"): lambda m: m.build(),
    ord("P"): lambda m: m.persist(m.line().decode()),
    ord("Q"): lambda m: m.persist(m.pop()),
    # values from outside
    0x82: Machine.refuse,  # EXT1
    0x83: Machine.refuse,
    0x84: Machine.refuse,
    0x97: Machine.refuse,  # NEXT_BUFFER
    0x98: Machine.refuse,  # READONLY_BUFFER
}
