"""The deepest stack of each function, from the frame sizes that the compiler reports and the calls in the code."""

import struct
from functools import cache


def uleb128(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if data[at - 1] < 0x80:
            return value, at


class Stacks:
    """The frames and calls of an ARMv6-M program."""

    def __init__(self, program):
        self.program = program
        self.text = program.section(".text")
        self.code = program.content(self.text)
        self.functions = {s.address & ~1: s for s in program.functions()}
        self.frames = dict(self.read_frames(program.content(program.section(".stack_sizes"))))
        # Data among the code begins at $d and ends at $t.
        marks = [s for s in program.symbols if s.section == ".text" and s.name[:2] in ("$t", "$d")]
        self.marks = sorted((s.address, s.name[:2] == "$t") for s in marks)
        self.pointed_at = {at for at in self.functions if at | 1 in set(self.words())}

    def read_frames(self, data):
        at = 0
        while at + 4 < len(data):
            address, = struct.unpack_from("<I", data, at)
            frame, at = uleb128(data, at + 4)
            yield address & ~1, frame

    def words(self):
        """Yields all words, which may be addresses of functions that are called through a pointer."""
        for name in (".text", ".rodata", ".data"):
            section = self.program.section(name)
            content = self.program.content(section)
            yield from (word for word, in struct.iter_unpack("<I", content[: len(content) & ~3]))

    def instructions(self, function):
        at = begin = function.address & ~1
        is_code = True
        marks = {address: code for address, code in self.marks if begin <= address < begin + function.size}
        while at < begin + function.size:
            is_code = marks.get(at, is_code)
            half, = struct.unpack_from("<H", self.code, at - self.text.address)
            wide = half >> 11 in (0b11101, 0b11110, 0b11111)
            if not is_code or not wide:
                if is_code:
                    yield at, half, None
                at += 2
                continue
            low, = struct.unpack_from("<H", self.code, at + 2 - self.text.address)
            yield at, half, low
            at += 4

    def callees(self, function):
        """Yields the functions that this one calls or jumps to. For a call through a pointer, yields all candidates."""
        begin, end = function.address & ~1, (function.address & ~1) + function.size
        for at, half, low in self.instructions(function):
            if low is not None and half >> 11 == 0b11110 and low >> 14 == 0b11 and low & 0x1000:
                yield branch_and_link(at, half, low)
            elif low is None and half >> 11 == 0b11100:
                target = at + 4 + sign((half & 0x7FF) << 1, 12)
                if not begin <= target < end:
                    yield target
            elif low is None and half & 0xFF87 == 0x4780:
                yield from self.own_pointers(function) or self.pointed_at

    def own_pointers(self, function):
        """Returns functions whose addresses are stored in the code of this one. The compiler does that for repeated calls."""
        begin = (function.address + 3 & ~3) - self.text.address
        end = (function.address & ~1) + function.size - self.text.address
        words = struct.iter_unpack("<I", self.code[begin : begin + (end - begin & ~3)])
        return {word & ~1 for word, in words if word & 1 and word & ~1 in self.functions}

    @cache
    def deepest(self, address):
        """Returns the bytes of the deepest path from this function, and the functions on it."""
        function = self.functions.get(address)
        if function is None:
            return 0, ()  # outside of the program: transport, clock
        if address in self.path:
            raise SystemExit(f"{function.name} calls itself")
        self.path.add(address)
        deepest = max((self.deepest(a) for a in set(self.callees(function))), default=(0, ()))
        self.path.remove(address)
        return self.frame(address) + deepest[0], (function.name, *deepest[1])

    def frame(self, address):
        """Returns the frame size that the compiler reports. For a builtin in assembly, adds up its pushes and subtractions."""
        if address in self.frames:
            return self.frames[address]
        frame = 0
        for _, half, low in self.instructions(self.functions[address]):
            if low is None and half >> 9 == 0b1011010:
                frame += 4 * (half & 0x1FF).bit_count()
            elif low is None and half >> 7 == 0b101100001:
                frame += 4 * (half & 0x7F)
        return frame

    path = set()


def sign(value, bits):
    return value - (1 << bits) if value >> (bits - 1) else value


def branch_and_link(at, half, low):
    s, j1, j2 = half >> 10 & 1, low >> 13 & 1, low >> 11 & 1
    i1, i2 = 1 ^ j1 ^ s, 1 ^ j2 ^ s
    offset = s << 24 | i1 << 23 | i2 << 22 | (half & 0x3FF) << 12 | (low & 0x7FF) << 1
    return at + 4 + sign(offset, 25)
