"""Reads the linked programs: their flash, what they keep in RAM, and the deepest stack below each call.

Started by .ci/size, which builds them: measure.py [--write] TARGET_DIR
"""

import re
import struct
import sys
from collections import namedtuple
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
TABLE = HERE / "table.md"
README = HERE.parent.parent / "README.md"

TARGETS = ("thumbv6m-none-eabi", "thumbv7em-none-eabi", "riscv32imc-unknown-none-elf")
LEVELS = ("z", "s")
PROGRAMS = ("codec-loop", "client-qos1", "client-full", "client-full-async")
# Own code, in bytes, by program and chip; the smaller of the two levels counts.
GOALS = {
    ("codec-loop", "thumbv6m"): 1350,
    ("codec-loop", "riscv32imc"): 1500,
    ("client-qos1", "thumbv6m"): 2650,
    ("client-full", "thumbv6m"): 3900,
    ("client-full", "riscv32imc"): 4250,
}
RAM_GOALS = {"Session": 112, "each in-flight slot": 8, "each inbound id": 2}
STACK_GOAL = 400
# A compiler's whim may cost so much before it counts as growth.
TOLERANCE = 1.01

BUILTIN = re.compile(r"compiler_builtins|^(__|mem(cpy|move|set|cmp)$|bcmp$)")

Section = namedtuple("Section", "name kind flags address offset size link")
Symbol = namedtuple("Symbol", "name address size kind section")


class Program:
    """A linked 32-bit little-endian ELF file."""

    def __init__(self, path):
        self.bytes = path.read_bytes()
        table, = struct.unpack_from("<I", self.bytes, 32)
        size, count, names = struct.unpack_from("<HHH", self.bytes, 46)
        headers = [struct.unpack_from("<10I", self.bytes, table + size * i) for i in range(count)]
        at = headers[names][4]
        self.sections = [
            Section(self.string(at + h[0]), h[1], h[2], h[3], h[4], h[5], h[6]) for h in headers
        ]
        self.symbols = list(self.read_symbols())

    def string(self, at):
        return self.bytes[at : self.bytes.index(0, at)].decode()

    def section(self, name):
        found = [s for s in self.sections if s.name == name]
        return found[0] if found else Section(name, 0, 0, 0, 0, 0, 0)

    def content(self, section):
        return self.bytes[section.offset : section.offset + section.size]

    def read_symbols(self):
        table = self.section(".symtab")
        names = self.sections[table.link].offset
        for entry in struct.iter_unpack("<IIIBBH", self.content(table)):
            name, address, size, info, _, index = entry
            section = self.sections[index].name if index < len(self.sections) else ""
            yield Symbol(self.string(names + name), address, size, info & 15, section)

    def functions(self):
        return [s for s in self.symbols if s.kind == 2 and s.size > 0 and s.section == ".text"]

    def flash(self):
        """Bytes of own code and of the compiler's builtins."""
        names = (".text", ".rodata", ".data")
        total = sum(self.section(name).size for name in names)
        builtin = {
            s.address: s.size for s in self.symbols if s.section in names and BUILTIN.search(s.name)
        }
        return total - sum(builtin.values()), sum(builtin.values())

    def size_of(self, name):
        return next(s.size for s in self.symbols if s.name == "SIZE_OF_" + name)


def uleb128(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if data[at - 1] < 0x80:
            return value, at


class Stacks:
    """Frames as the compiler sized them, along the calls in the code of an ARMv6-M program."""

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
        """What may be the address of a function that is called through a pointer."""
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
        """Functions that this one calls or ends with; all that are pointed at where it calls through a pointer."""
        begin, end = function.address & ~1, (function.address & ~1) + function.size
        for at, half, low in self.instructions(function):
            if low is not None and half >> 11 == 0b11110 and low >> 14 == 0b11 and low & 0x1000:
                yield branch_and_link(at, half, low)
            elif low is None and half >> 11 == 0b11100:
                target = at + 4 + sign((half & 0x7FF) << 1, 12)
                if not begin <= target < end:
                    yield target
            elif low is None and half & 0xFF87 == 0x4780:
                yield from self.pointed_at

    @cache
    def deepest(self, address):
        """Bytes of the deepest path from this function on, and the functions along it."""
        function = self.functions.get(address)
        if function is None:
            return 0, ()  # outside: the transport, the clock
        if address in self.path:
            raise SystemExit(f"{function.name} calls itself")
        self.path.add(address)
        deepest = max((self.deepest(a) for a in set(self.callees(function))), default=(0, ()))
        self.path.remove(address)
        return self.frame(address) + deepest[0], (function.name, *deepest[1])

    def frame(self, address):
        """As the compiler tells, or, of a builtin written in assembly, what it pushes and takes off the stack pointer."""
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


def chip(target):
    return target.split("-")[0]


def flash_rows(directory):
    for program in PROGRAMS:
        for target in TARGETS:
            for level in LEVELS:
                elf = Program(directory / f"size-{level}" / target / "release" / program)
                own, builtin = elf.flash()
                goal = GOALS.get((program, chip(target)), "")
                yield f"`{program}`, {chip(target)}, {level}", own, builtin, own + builtin, goal


def ram_rows(elf):
    storage = elf.size_of("STORAGE")
    yield "Session", elf.size_of("SESSION")
    yield "each in-flight slot", (elf.size_of("STORAGE_AND_32_SLOTS") - storage) // 32
    yield "each inbound id", (elf.size_of("STORAGE_AND_32_IDS") - storage) // 32
    yield "blocking client", elf.size_of("BLOCKING_CLIENT")
    yield "async client", elf.size_of("ASYNC_CLIENT")


def stack_rows(elf, paths):
    stacks = Stacks(elf)
    for function in sorted(elf.functions(), key=lambda s: s.name):
        layer, _, call = function.name.partition("_")
        if layer in ("session", "blocking"):
            depth, path = stacks.deepest(function.address & ~1)
            yield f"{layer}: `{call}`", depth
            if paths:
                print(depth, function.name)
                for name in path:
                    address = next(a for a, s in stacks.functions.items() if s.name == name)
                    print(f"    {stacks.frame(address):5} {name}")


def check_layers(directory):
    """What a program does not use is not in it, whichever function the compiler has put it into."""
    for target in TARGETS:
        for level in LEVELS:
            for program in PROGRAMS:
                elf = Program(directory / f"size-{level}" / target / "release" / program)
                has_session = b"src/session" in elf.bytes or b"7session" in elf.bytes
                if has_session == (program == "codec-loop"):
                    raise SystemExit(f"{program}, {chip(target)}, {level}: session code: {has_session}")


def table(headers, rows):
    yield "| " + " | ".join(headers) + " |"
    yield "| --- " + "| ---: " * (len(headers) - 1) + "|"
    for row in rows:
        yield "| " + " | ".join(str(cell) for cell in row) + " |"


def whole_table(directory, paths):
    elf = Program(directory / "size-z" / TARGETS[0] / "release" / "ram")
    yield from (
        "# Flash, RAM and stack",
        "",
        "Written by `.ci/size --write`, and checked by `.ci/size`. All in bytes. Flash is text and rodata of the programs in",
        "`src/bin`, LTO, by chip and opt-level, without the transport's driver; `own` is their code, the library's and `core`'s,",
        "`builtins` is what the compiler calls (memcpy, division). RAM and stack are for thumbv6m, opt-level z.",
        "",
    )
    yield from table(("flash", "own", "builtins", "sum", "goal, own"), flash_rows(directory))
    yield ""
    ram = ((name, size, RAM_GOALS.get(name, "")) for name, size in ram_rows(elf))
    yield from table(("RAM", "size", "goal"), ram)
    yield ""
    stack = ((call, depth, STACK_GOAL) for call, depth in stack_rows(elf, paths))
    yield from table(("deepest stack", "size", "goal"), stack)


def figures(lines):
    """The name and the first figure of each row."""
    rows = (line.strip("| ").split(" | ") for line in lines if line.startswith("| "))
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}


def check_growth(lines):
    kept, now = figures(TABLE.read_text().splitlines()), figures(lines)
    if kept.keys() != now.keys():
        raise SystemExit(f"other rows than in {TABLE.name}: .ci/size --write")
    grown = [name for name in now if now[name] > kept[name] * TOLERANCE]
    for name in grown:
        print(f"grown: {name}: {kept[name]} -> {now[name]}", file=sys.stderr)
    if grown:
        raise SystemExit("if that is meant: .ci/size --write")
    shrunk = [name for name in now if now[name] * TOLERANCE < kept[name]]
    if shrunk:
        print(f"{len(shrunk)} figures are smaller than in {TABLE.name}: .ci/size --write keeps them")


def main(arguments):
    directory = Path(arguments[-1])
    check_layers(directory)
    lines = list(whole_table(directory, "--paths" in arguments))
    print("\n".join(lines))
    if "--write" in arguments:
        TABLE.write_text("\n".join(lines) + "\n")
    else:
        check_growth(lines)


main(sys.argv[1:])
