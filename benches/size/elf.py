"""A linked program: its sections and symbols."""

import re
import struct
from collections import namedtuple

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
        """Returns the bytes of own code, and of the compiler's builtins."""
        names = (".text", ".rodata", ".data")
        total = sum(self.section(name).size for name in names)
        builtin = {
            s.address: s.size for s in self.symbols if s.section in names and BUILTIN.search(s.name)
        }
        return total - sum(builtin.values()), sum(builtin.values())

    def size_of(self, name):
        return next(s.size for s in self.symbols if s.name == "SIZE_OF_" + name)
