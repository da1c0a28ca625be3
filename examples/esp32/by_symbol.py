#!/usr/bin/env python3
"""Prints how much more flash one program needs than another, by symbol.

usage: by_symbol.py PROGRAM OTHER     (ELF files; needs nm and size of the GNU binutils)
"""

import collections
import re
import subprocess
import sys

# A function belongs to the first row whose pattern is found in its name.
ROWS = [
    (r"::fmt\b|fmt::", "sentences: `Display` of events and errors, `core::fmt` for them"),
    (r"TaskStorage|run_inner", "the main task: the light, and what was inlined in it"),
    (r"umqtt::client|asynch::", "the device and the client; a part is inlined in the main task"),
    (r"umqtt::session", "the session: queues, acknowledgements, timers, resume"),
    (r"umqtt::codec", "the codec"),
    (r"", "other functions: the state of the light, the LED, `core`"),
]
CONSTANTS = "strings, and other constants"


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def flash(program):
    """Returns the sizes by row. All that is no function counts as a constant."""
    sizes = collections.Counter()
    for line in output("nm", "-S", "-C", "--radix=d", program):
        fields = line.split(" ", 3)
        if len(fields) == 4 and fields[2] in "tTwW":
            title = next(title for pattern, title in ROWS if re.search(pattern, fields[3]))
            sizes[title] += int(fields[1])
    sections = (line.split() for line in output("size", "-A", program))
    total = sum(int(s[1]) for s in sections if len(s) == 3 and s[0] in (".text", ".rodata", ".data"))
    sizes[CONSTANTS] = total - sizes.total()
    return sizes


def main():
    program, other = map(flash, sys.argv[1:])
    program.subtract(other)
    print("| | bytes |\n| --- | ---: |")
    for title, size in program.most_common():
        print(f"| {title} | {size:,} |")
    print(f"| sum | {program.total():,} |")


if len(sys.argv) != 3:
    sys.exit(__doc__)
main()
