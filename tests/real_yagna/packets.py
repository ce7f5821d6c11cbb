"""How what is said on a bus is coded: the daemon's own bus and the central net speak alike.

A bus is a stream. Each packet is its length in four bytes and a protobuf message with one field,
whose number tells the kind of packet and whose value is the message of that kind. All fields of
those messages are text, bytes, or small numbers. What a call says and is answered is FlexBuffers,
mostly compressed; frames of private networks are neither.
"""

import zlib

from flatbuffers import flexbuffers

# The kinds of packets, by the number of their field.
HELLO = 1  # {1: name, 2: version, 3: id of the instance}
REGISTER, REGISTERED = 2, 3  # {1: name of a service} and {1: code, 2: message}
UNREGISTER, UNREGISTERED = 4, 5
CALL = 6  # {1: caller, 2: address, 3: id, 4: data, 5: whether no reply is wanted}
REPLY = 7  # {1: id of the call, 2: code, 3: whether more follows, 4: data}
SUBSCRIBE, SUBSCRIBED = 8, 9  # {1: topic}
UNSUBSCRIBE, UNSUBSCRIBED = 10, 11
BROADCAST, BROADCASTED = 12, 13  # {1: caller, 2: data, 3: topic}
PING, PONG = 14, 15

# The codes of replies other than success, which is 0.
BAD_REQUEST, NOT_FOUND, FAILURE = 400, 404, 500

# All that zlib compresses begins like this, and no FlexBuffers that is said here does.
COMPRESSED = b"\x78"


def packet(kind: int, content: dict) -> bytes:
    """A packet with its length before it."""
    message = encoded({kind: encoded(content)})
    return len(message).to_bytes(4, "big") + message


def packed(content, is_compressed: bool = True) -> bytes:
    """What is said in a call or a reply, in its form."""
    plain = flexbuffers.Dumps(content)
    return zlib.compress(plain) if is_compressed else plain


def unpacked(data: bytes):
    """What `packed` was given. Raises `zlib.error`, or `flexbuffers`' many errors."""
    return flexbuffers.Loads(zlib.decompress(data) if data[:1] == COMPRESSED else data)


def encoded(message: dict) -> bytes:
    """A protobuf message of fields by number: text, bytes, or whole numbers."""
    out = []
    for number, value in message.items():
        if isinstance(value, int):
            out += [varint(number << 3), varint(value)]
        else:
            data = value.encode() if isinstance(value, str) else value
            out += [varint(number << 3 | 2), varint(len(data)), data]
    return b"".join(out)


def varint(number: int) -> bytes:
    """Seven bits to a byte, the lowest first; all but the last have the eighth bit."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def fields(data: bytes) -> dict:
    """The fields of a protobuf message by number: bytes, or whole numbers."""
    found, at = {}, 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte, at = data[at], at + 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        tag = number()
        value = number()
        if tag & 7 == 2:
            value, at = data[at : at + value], at + value
        found[tag >> 3] = value
    return found
