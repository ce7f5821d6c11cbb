"""Ethereum's hash, which the standard library does not have: its SHA-3 pads differently."""

import functools
import operator


def keccak256(data: bytes) -> bytes:
    """Keccak with 256 bits, as it was before it became SHA-3."""
    rate = 136
    padded = bytearray(data) + bytes(rate - len(data) % rate)
    padded[len(data)] ^= 0x01
    padded[-1] ^= 0x80
    lanes = [0] * 25
    for start in range(0, len(padded), rate):
        for at in range(rate // 8):
            lanes[at] ^= int.from_bytes(padded[start + 8 * at : start + 8 * at + 8], "little")
        lanes = permuted(lanes)
    return b"".join(lane.to_bytes(8, "little") for lane in lanes[:4])


def permuted(lanes: list) -> list:
    """The permutation of Keccak: 24 rounds over 25 lanes of 64 bits; lane `x + 5 * y`."""
    feedback = 1
    for _ in range(24):
        parity = [functools.reduce(operator.xor, lanes[x::5]) for x in range(5)]
        spread = [parity[x - 1] ^ rotated(parity[(x + 1) % 5], 1) for x in range(5)]
        lanes = [lane ^ spread[at % 5] for at, lane in enumerate(lanes)]
        x, y, moved = 1, 0, lanes[1]
        for step in range(24):
            x, y = y, (2 * x + 3 * y) % 5
            turn = (step + 1) * (step + 2) // 2 % 64
            moved, lanes[x + 5 * y] = lanes[x + 5 * y], rotated(moved, turn)
        for row in range(0, 25, 5):
            five = lanes[row : row + 5]
            for x in range(5):
                lanes[row + x] = five[x] ^ (~five[(x + 1) % 5] & five[(x + 2) % 5])
        for bit in range(7):
            if feedback & 1:
                lanes[0] ^= 1 << ((1 << bit) - 1)
            feedback = feedback << 1 ^ (0x171 if feedback & 0x80 else 0)
    return lanes


def rotated(lane: int, by: int) -> int:
    """64 bits, rotated to the left."""
    return (lane << by | lane >> (64 - by)) & (1 << 64) - 1
