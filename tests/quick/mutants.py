#!/usr/bin/env python3
"""Counts of the mutants in outcomes.json files of cargo-mutants, file by file.

mutants.py [--write] OUTCOMES...   prints them, or keeps them in tests/MUTANTS.md
"""

import json
import sys
from collections import Counter, defaultdict
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
HEAD = """# Mutants

Each function of the codec and the session, changed in one place at a time: whether a test
notices. Written by `.ci/mutants --write`; those that are equivalent to the code as it
stands are listed with their reasons in [equivalent.txt](quick/equivalent.txt), and do not count.

"""


def read(paths):
    """For each file, how many mutants came to which end."""
    counts = defaultdict(Counter)
    for path in paths:
        for outcome in json.loads(Path(path).read_text())["outcomes"]:
            if outcome["scenario"] != "Baseline":
                counts[outcome["scenario"]["Mutant"]["file"]][outcome["summary"]] += 1
    return counts


def row(name, ends):
    caught, late, missed = (ends[end] for end in ("CaughtMutant", "Timeout", "MissedMutant"))
    count = caught + late + missed
    share = 100 * (caught + late) / max(count, 1)
    return f"| {name} | {count} | {caught} | {late} | {missed} | {share:.1f} % |\n"


def table(counts):
    rows = [row(f"`{name}`", ends) for name, ends in sorted(counts.items())]
    head = "| file | mutants that build | caught | caught by never ending | missed | caught of all |\n"
    every = row("all", sum(counts.values(), Counter()))
    return head + "| --- | ---: | ---: | ---: | ---: | ---: |\n" + "".join(rows) + every


def main():
    paths = [word for word in sys.argv[1:] if word != "--write"]
    text = table(read(paths))
    print(text, end="")
    if "--write" in sys.argv[1:]:
        (TESTS / "MUTANTS.md").write_text(HEAD + text)


main()
