#!/usr/bin/env python3
"""Counts of the mutants in outcomes.json files of cargo-mutants, file by file.

mutants.py [--write] OUTCOMES...   prints them, and writes them to tests/MUTANTS.md

If a mutant is in several files, the last one counts. Fails if a mutant is missed that is not listed
in equivalent.txt, or if a listed one is caught.
"""

import json
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
EQUIVALENT = HERE / "equivalent.txt"
HEAD = """# Mutants

cargo-mutants changes each function of the codec and the session in one place at a time. A mutant is caught if a quick test
or a unit test fails, or does not end. Written by `tests/quick/mutants.py --write`, which `.ci/mutants` calls.
[equivalent.txt](quick/equivalent.txt) lists mutants that behave like the original code, with the reasons. The share does not
count them.

"""
CAUGHT, ENDLESS, MISSED, LISTED = "CaughtMutant", "Timeout", "MissedMutant", "listed"


def read(paths):
    """Returns the result of each mutant that builds, by its name."""
    ends = {}
    for path in paths:
        for outcome in json.loads(Path(path).read_text())["outcomes"]:
            if outcome["scenario"] != "Baseline" and outcome["summary"] != "Unviable":
                ends[outcome["scenario"]["Mutant"]["name"]] = outcome["summary"]
    return ends


def equivalent():
    lines = EQUIVALENT.read_text().splitlines()
    return re.compile("|".join(line for line in lines if line and not line.startswith("#")) or "$^")


def row(name, ends):
    tested = ends[CAUGHT] + ends[ENDLESS] + ends[MISSED]
    share = 100 * (tested - ends[MISSED]) / max(tested, 1)
    counts = [tested + ends[LISTED], ends[CAUGHT], ends[ENDLESS], ends[LISTED], ends[MISSED]]
    return f"| {name} | " + " | ".join(map(str, counts)) + f" | {share:.1f} % |\n"


def table(ends):
    files = defaultdict(Counter)
    for name, end in ends.items():
        files[name.split(":")[0]][end] += 1
    rows = [row(f"`{name}`", counts) for name, counts in sorted(files.items())]
    head = "| file | mutants that build | caught | endless | equivalent | missed | caught |\n"
    every = row("all", sum(files.values(), Counter()))
    return head + "| --- " + "| ---: " * 6 + "|\n" + "".join(rows) + every


def main():
    ends = read(word for word in sys.argv[1:] if word != "--write")
    problems, listed = [], equivalent()
    for name, end in ends.items():
        if listed.search(name) and end == MISSED:
            ends[name] = LISTED
        elif listed.search(name):
            problems.append(f"caught, and listed in {EQUIVALENT.name}: {name}")
        elif end == MISSED:
            problems.append(f"missed: {name}")
    missed = sorted(name for name, end in ends.items() if end == MISSED)
    text = table(ends) + "".join(["\nMissed:\n\n", *(f"- `{name}`\n" for name in missed)] if missed else [])
    print(text, end="")
    if "--write" in sys.argv[1:]:
        commit = subprocess.run(
            ["git", "log", "-1", "--format=Counts of commit %h, %cs."], cwd=HERE, check=True, text=True, stdout=subprocess.PIPE
        )
        (HERE.parent / "MUTANTS.md").write_text(HEAD + commit.stdout + "\n" + text)
    if problems:
        sys.exit("\n".join(sorted(problems)))


main()
