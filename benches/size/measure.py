"""Reads the linked programs: flash, RAM, and the deepest stack of each call.

Started by .ci/size, which builds them: measure.py [--write] [--paths] TARGET_DIR
"""

import sys
from pathlib import Path

from elf import Program
from stack import Stacks

HERE = Path(__file__).parent
TABLE = HERE / "table.md"
README = HERE.parent.parent / "README.md"
BEGIN, END = "<!-- .ci/size --write -->", "<!-- end of .ci/size -->"

TARGETS = ("thumbv6m-none-eabi", "thumbv7em-none-eabi", "riscv32imc-unknown-none-elf")
LEVELS = ("z", "s")
PROGRAMS = ("codec-loop", "client-qos1", "client-full", "client-full-async", "device", "device-async")
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
# Growth up to this factor is accepted, because it may come from the compiler.
TOLERANCE = 1.01


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
    slot = (elf.size_of("STORAGE_AND_32_SLOTS") - storage) // 32
    inbound_id = (elf.size_of("STORAGE_AND_32_IDS") - storage) // 32
    yield "storage, without buffers, slots and ids", storage - 2 * 16 - 2 * slot - 4 * inbound_id
    yield "each in-flight slot", slot
    yield "each inbound id", inbound_id
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
    """Checks that a program without a session contains no code of the session, not even inlined."""
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
        "`src/bin`, with LTO, by chip and opt-level, without the driver of the transport. `own` is the code of program, library and `core`.",
        "`builtins` is the code that the compiler calls (memcpy, division). RAM and stack are for thumbv6m, opt-level z.",
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
    """Returns the name and the first figure of each row."""
    rows = (line.strip("| ").split(" | ") for line in lines if line.startswith("| "))
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}


def readme_section(lines):
    """Returns the lines for the README: own code at opt-level z, RAM, and the deepest stack."""
    figure = figures(lines)
    chips = [chip(target) for target in TARGETS]
    flash = (
        (f"`{program}`", *(figure[f"`{program}`, {chip}, z"] for chip in chips)) for program in PROGRAMS
    )
    stacks = {
        layer: max(size for name, size in figure.items() if name.startswith(layer + ":"))
        for layer in ("session", "blocking")
    }
    return (
        *table(("flash, opt-level z, LTO", *chips), flash),
        "",
        f"RAM on a 32-bit chip: {figure['Session']} bytes a `Session`, {figure['each in-flight slot']} each in-flight slot, "
        f"{figure['each inbound id']} each inbound id,",
        f"the buffers, and at most {stacks['session']} bytes of stack in a call of the session, {stacks['blocking']} in one of the "
        "blocking client.",
    )


def readme_with(lines):
    text = README.read_text()
    begin = text.index(BEGIN) + len(BEGIN)
    return text[:begin] + "\n\n" + "\n".join(readme_section(lines)) + "\n\n" + text[text.index(END) :]


def check_growth(lines):
    kept, now = figures(TABLE.read_text().splitlines()), figures(lines)
    if kept.keys() != now.keys():
        raise SystemExit(f"the rows differ from {TABLE.name}: .ci/size --write")
    grown = [name for name in now if now[name] > kept[name] * TOLERANCE]
    for name in grown:
        print(f"grown: {name}: {kept[name]} -> {now[name]}", file=sys.stderr)
    if grown:
        raise SystemExit("if this growth is intended: .ci/size --write")
    shrunk = [name for name in now if now[name] * TOLERANCE < kept[name]]
    if shrunk:
        print(f"{len(shrunk)} figures are smaller than in {TABLE.name}: .ci/size --write writes them")


def main(arguments):
    directory = Path(arguments[-1])
    check_layers(directory)
    lines = list(whole_table(directory, "--paths" in arguments))
    print("\n".join(lines))
    if "--write" in arguments:
        TABLE.write_text("\n".join(lines) + "\n")
        README.write_text(readme_with(lines))
    else:
        check_growth(lines)
        if README.read_text() != readme_with(TABLE.read_text().splitlines()):
            raise SystemExit("the figures in the README differ from the table: .ci/size --write")


main(sys.argv[1:])
