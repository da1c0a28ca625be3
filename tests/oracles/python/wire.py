"""Shared code of both Python drivers: lines of JSON, and damage."""

import json
import sys


def lines():
    """Yields the lines of standard input."""
    return (json.loads(line) for line in sys.stdin)


def write(data, sent, theirs):
    """Prints one line for `oracles compare`."""
    json.dump({"bytes": data.hex(), "sent": sent, "theirs": theirs}, sys.stdout)
    sys.stdout.write("\n")


def remaining_length(count):
    """Returns the encoded Remaining Length."""
    digits = []
    while True:
        count, digit = divmod(count, 128)
        digits.append(digit + (128 if count else 0))
        if not count:
            return bytes(digits)


def damage(random, data):
    """Overwrites, removes or inserts a few bytes. Often corrects the Remaining Length afterwards."""
    body = bytearray(data)
    interesting = [0, 1, 2, 3, 4, 0x23, 0x2B, 0x2F, 0x7F, 0x80, 0xC0, 0xED, 0xFF]
    for _ in range(random.randint(1, 3)):
        at = random.randrange(len(body) + 1)
        byte = random.choice([random.randrange(256), random.choice(interesting)])
        if random.randrange(3) == 0:
            body.insert(at, byte)
        elif random.randrange(2) and len(body) > 1:
            del body[at:at + 1]
        elif at < len(body):
            body[at] = random.choice([byte, body[at] ^ (1 << random.randrange(8))])
    if random.randrange(3) and len(body) > 1:
        end = next((at for at in range(1, len(body)) if body[at] < 128), len(body))
        rest = bytes(body[end + 1:])
        return bytes(body[:1]) + remaining_length(len(rest)) + rest
    return bytes(body)
