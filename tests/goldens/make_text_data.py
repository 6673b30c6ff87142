#!/usr/bin/env python3
"""What Python's html and unicodedata know of text that .NET's invariant mode does not: the HTML 5 entities, Unicode's canonical
decompositions and compositions (normal form C), combining classes, and the usual width of narrow and wide forms.

    /usr/bin/python3 tests/goldens/make_text_data.py

One line a kind of fact: "E amp; 26", "D c5 41 30a", "C 41 30a c5", "K 30a-30a e6", "W ff01 21".
"""
import html.entities
import sys
import unicodedata as u
from pathlib import Path

OUTPUT = Path(__file__).resolve().parents[2] / "src/Espalier/Clip/text.txt"


def codes(text):
    return " ".join(f"{ord(c):x}" for c in text)


lines = [f"E {name} {codes(value)}" for name, value in sorted(html.entities.html5.items())]
classes = []
for point in range(sys.maxunicode + 1):
    c = chr(point)
    if 0xAC00 <= point < 0xD7A4 or 0xD800 <= point < 0xE000:
        continue
    whole = u.normalize("NFD", c)
    if whole != c:
        lines.append(f"D {point:x} {codes(whole)}")
        parts = u.decomposition(c).split()
        if len(parts) == 2 and u.normalize("NFC", whole) == c:
            lines.append(f"C {parts[0].lower().lstrip('0')} {parts[1].lower().lstrip('0')} {point:x}")
    kind = u.combining(c)
    if kind and classes and classes[-1][1] == point - 1 and classes[-1][2] == kind:
        classes[-1][1] = point
    elif kind:
        classes.append([point, point, kind])
    if 0xFF01 <= point < 0xFFF0 and u.normalize("NFKC", c) != c:
        lines.append(f"W {point:x} {codes(u.normalize('NFKC', c))}")
lines += [f"K {a:x}-{b:x} {k:x}" for a, b, k in classes]
OUTPUT.write_text("\n".join(lines) + "\n")
print(len(lines), "lines,", OUTPUT.stat().st_size, "bytes, Unicode", u.unidata_version)
