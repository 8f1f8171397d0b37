"""Text files of a study, read within bounds: only files, only text, only as large as such a file may be."""

import codecs
import os
import stat
from pathlib import Path

UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
PACKED = {
    b"PK\x03\x04": (
        "is a zip archive or a spreadsheet",
        "unpack it, or save the sheet as CSV (UTF-8), and name that file",
    ),
    b"\x1f\x8b": ("is packed by gzip", "unpack it and name the file in it"),
    b"BZh": ("is packed by bzip2", "unpack it and name the file in it"),
    b"\xfd7zXZ": ("is packed by xz", "unpack it and name the file in it"),
}
"""Beginnings of files that hold no text, and what they are; MCAT's tables, for one, are published as .csv.zip."""


class TextFileError(Exception):
    """A file that is there and cannot be read as the text it should be: `reason`, and what `to_do`."""

    def __init__(self, reason: str, to_do: str) -> None:
        super().__init__(f"{reason}; {to_do}")
        self.reason = reason
        self.to_do = to_do


def read_text(path: Path, *, most_bytes: int) -> str:
    """The text in `path`, in UTF-8, or in UTF-16 where its byte order mark says so; without that mark.

    Raises FileNotFoundError where there is nothing, TextFileError for what is no readable text of at most
    `most_bytes`. A named pipe, a device and a folder are refused without being opened.
    """
    check_regular_file(path, most_bytes=most_bytes)
    try:
        content = path.read_bytes()
        text = content.decode("utf-16" if content.startswith(UTF16_MARKS) else "utf-8-sig")
    except OSError as error:
        raise TextFileError(f"cannot be read ({error.strerror})", "make the file readable") from error
    except UnicodeDecodeError as error:
        if packed := next((told for start, told in PACKED.items() if content.startswith(start)), None):
            raise TextFileError(*packed) from error
        reason = f"is not text in {error.encoding.upper()} (byte {error.start + 1})"
        raise TextFileError(reason, "save it as text, or CSV, in UTF-8") from error
    if "\0" in text:
        reason = f"holds a NUL byte (line {text[: text.index(chr(0))].count(chr(10)) + 1})"
        raise TextFileError(reason, "it is damaged or no text; save it as text in UTF-8")
    return text


def check_regular_file(path: Path, *, most_bytes: int) -> None:
    """Raise FileNotFoundError where nothing is, TextFileError where `path` is no file or too large a one."""
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(error.errno, error.strerror, str(path)) from error
    except (OSError, ValueError) as error:
        raise TextFileError(f"cannot be looked at ({getattr(error, 'strerror', error)})", "mend the path") from error
    if not stat.S_ISREG(found.st_mode):
        raise TextFileError(f"is {_kind(found.st_mode)}, not a file", "put a file there, or mend the path")
    if found.st_size > most_bytes:
        reason = f"holds {_shown(found.st_size)}; at most {_shown(most_bytes)} are read"
        raise TextFileError(reason, "this seems to be another file; mend the path, or keep only what is needed")


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def _shown(size: int) -> str:
    return f"{size / 1e6:.0f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"
