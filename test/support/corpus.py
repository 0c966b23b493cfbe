"""A real text for round trips: licences, changelogs, dictionaries and headers of installed packages.

Without its empty lines: kcat -P skips them. Empty values have cases of their own in clients_test.py.
"""

import gzip
import pathlib

FOLDERS = ("/usr/share/common-licenses", "/usr/share/dict", "/usr/share/doc", "/usr/include", "/usr/share/perl",
           "/usr/lib/python3")
NAMES = ("copyright", "changelog", "README", "NEWS")
SUFFIXES = (".h", ".hpp", ".txt", ".pm", ".pl", ".py", ".md")
LINE_BYTES_MAX = 100_000


def _is_text(path):
    return (path.name.startswith(NAMES) or path.suffix in SUFFIXES or
            path.parts[:4] in (("/", "usr", "share", "common-licenses"), ("/", "usr", "share", "dict")))


def _read(path):
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, gzip.BadGzipFile):
        return b""
    lines = [line + b"\n" for line in data.split(b"\n") if line]
    if b"\0" in data or max(map(len, lines), default=0) > LINE_BYTES_MAX:
        return b""
    return b"".join(lines)


def build(target, bytes_wanted):
    """Writes at least `bytes_wanted` bytes of whole lines to `target`; the same on each run of one machine."""
    written = 0
    with open(target, "wb") as out:
        for folder in FOLDERS:
            for path in sorted(pathlib.Path(folder).rglob("*")):
                if not (_is_text(path) and path.is_file() and not path.is_symlink()):
                    continue
                written += out.write(_read(path))
                if written >= bytes_wanted:
                    return written
    raise RuntimeError(f"only {written} bytes of text are installed, {bytes_wanted} are wanted")


def chunks(path, chunk_bytes):
    """The text in records of whole lines, each about `chunk_bytes` long."""
    with open(path, "rb") as text:
        while lines := text.readlines(chunk_bytes):
            yield b"".join(lines)
