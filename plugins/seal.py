"""Embeds a manifest into a component, as `cipher-hub plugin seal` does, where the program is not
built yet: seal.py COMPONENT MANIFEST OUT. The format is in docs/formats/plugin.md."""

import pathlib
import sys
import tomllib

COMPONENT = b"\0asm\x0d\0\x01\0"
NAME = b"cipher-hub:manifest"


def leb(number: int) -> bytes:
    out = bytearray()
    while True:
        low, number = number & 0x7F, number >> 7
        out.append(low | (0x80 if number else 0))
        if not number:
            return bytes(out)


def section(name: bytes, payload: bytes) -> bytes:
    content = leb(len(name)) + name + payload
    return b"\0" + leb(len(content)) + content


def main(component: str, manifest: str, out: str) -> None:
    bare = pathlib.Path(component).read_bytes()
    text = pathlib.Path(manifest).read_bytes()
    if not bare.startswith(COMPONENT):
        sys.exit(f"{component} is not a component")
    if NAME in bare:
        sys.exit(f"{component} has a manifest already")
    if len(text) > 64 * 1024:
        sys.exit(f"{manifest} is longer than 64 KiB")
    tomllib.loads(text.decode())
    pathlib.Path(out).write_bytes(bare + section(NAME, text))


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: seal.py COMPONENT MANIFEST OUT")
    main(*sys.argv[1:])
