#!/usr/bin/python3
"""TensorBoard event files with nothing but the protobuf wire format and CRC-32C, independent of the C# writer.

    events.py            writes the golden of tests/Espalier.Tests/Formats/EventFileTests.cs
    events.py FILE ...   parses event files, checks every checksum and prints their scalars
"""
import pathlib, struct, sys


def masked_crc(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out + bytes([value]))


def text(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def event(wall_time, step, rest):
    body = b"\x09" + struct.pack("<d", wall_time) + b"\x10" + varint(step) + rest
    length = struct.pack("<Q", len(body))
    return length + struct.pack("<I", masked_crc(length)) + body + struct.pack("<I", masked_crc(body))


def scalars(wall_time, step, **values):
    summary = b"".join(text(1, text(1, tag.encode()) + b"\x15" + struct.pack("<f", value)) for tag, value in values.items())
    return event(wall_time, step, text(5, summary))


def fields(data):
    at = 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        key = number()
        kind = key & 7
        if kind == 0:
            value = number()
        else:
            size = {1: 8, 5: 4}.get(kind) or number()
            value, at = data[at:at + size], at + size
            assert len(value) == size, "truncated field"
        yield key >> 3, value


def parse(path):
    data, at = pathlib.Path(path).read_bytes(), 0
    while at < len(data):
        length, crc = struct.unpack_from("<QI", data, at)
        assert crc == masked_crc(data[at:at + 8]), f"length checksum at {at}"
        body = data[at + 12:at + 12 + length]
        assert struct.unpack_from("<I", data, at + 12 + length)[0] == masked_crc(body), f"record checksum at {at}"
        at += 16 + length
        found = dict(fields(body))
        wall_time = struct.unpack("<d", found[1])[0]
        if 3 in found:
            print(f"version {found[3].decode()} at {wall_time}")
        for _, value in fields(found.get(5, b"")):
            value = dict(fields(value))
            print(f"{value[1].decode()} step {found.get(2, 0)} = {struct.unpack('<f', value[2])[0]:.9g} at {wall_time}")


if len(sys.argv) > 1:
    for name in sys.argv[1:]:
        parse(name)
else:
    target = pathlib.Path(__file__).parent.parent / "Espalier.Tests/Goldens/Formats/events.out.tfevents.1700000000.host"
    target.write_bytes(event(1700000000.0, 0, text(3, b"brain.Event:2")) + scalars(1700000000.5, 1, loss=1.5)
                       + scalars(1700000001.5, 2, loss=-0.25, lr=1e-3))
    parse(target)
