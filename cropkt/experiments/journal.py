"""What a run says and leaves behind: lines on the screen and, with times, in OUT/log.txt; OUT/run.json about it.

A command's `main` keeps the journal. Whoever learns something about the run notes it; whoever opens the results folder
says where the journal is kept. Outside a command nothing is kept, and these calls do nothing.
"""

import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, TextIO

import cropkt
from cropkt.files import write_json

VOICE_HELP = """with every command:
  --quiet    only errors, warnings and failures
  --verbose  each piece of work as it ends, and the messages of Ray and MLflow
  --json     OUT/run.json's entry of this run on standard output, all else on standard error
A run writes all it says to OUT/log.txt, and what it was to OUT/run.json."""
PACKAGES = ("torch", "ray", "mlflow", "numpy", "pandas", "scikit-survival")
VERSION = 1
"""Raised when run.json changes its form."""
_ALWAYS_SAID = ("error: ", "warning: ", "failed: ")
_TERMINAL_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Voice:
    """How much is said, and whether standard output is for programs."""

    quiet: bool = False
    verbose: bool = False
    json: bool = False


class Journal:
    """The lines and facts of one run."""

    def __init__(self, command: Sequence[str], voice: Voice) -> None:
        self.voice = voice
        self.facts: dict[str, Any] = {}
        self.code: int | None = None
        self._command = list(command)
        self._started = _now()
        self._lines: list[str] = []
        self._out: Path | None = None
        self._lock = threading.Lock()

    def keep_in(self, out: Path) -> None:
        """From now on log.txt and run.json are kept in the folder `out`, which exists."""
        if self._out is None:
            self._out = out
            self._flush()
            self._write_record()

    def add(self, line: str) -> None:
        """A line for log.txt."""
        shown = _TERMINAL_CODES.sub("", line.rstrip("\r\n").rpartition("\r")[2]).rstrip()
        if shown:
            with self._lock:
                self._lines.append(f"{_now().isoformat(timespec='seconds')}  {shown}\n")
                if self._out is not None:
                    self._flush()

    def close(self) -> dict[str, Any]:
        """The run has ended with `code`; returns its entry in run.json."""
        record = self._record(_now())
        if self._out is not None:
            self._write_record(record)
        return record

    def _flush(self) -> None:
        assert self._out is not None
        with suppress(OSError), open(self._out / "log.txt", "a", encoding="utf-8") as stream:  # a full disk, e.g.
            stream.writelines(self._lines)
        self._lines.clear()

    def _record(self, ended: datetime | None) -> dict[str, Any]:
        return {
            "command": self._command,
            "started": self._started.isoformat(timespec="seconds"),
            "ended": ended.isoformat(timespec="seconds") if ended else None,
            "seconds": round((ended - self._started).total_seconds(), 1) if ended else None,
            "exit_code": self.code,
            "versions": versions(),
            "git_commit": git_commit(),
            "host": platform.node(),
            "process": os.getpid(),
            "slurm_job": os.environ.get("SLURM_JOB_ID"),
            **self.facts,
        }

    def _write_record(self, record: dict[str, Any] | None = None) -> None:
        """Put this run's entry at the end of run.json; one without an end is of a run that is at work or was killed."""
        assert self._out is not None
        entry = record or self._record(None)
        earlier = [run for run in _earlier(self._out / "run.json") if not _same_run(run, entry)]
        with suppress(OSError):
            write_json(self._out / "run.json", {"version": VERSION, "runs": [*earlier, entry]})


def _earlier(path: Path) -> list[dict[str, Any]]:
    try:
        found = json.loads(path.read_text())
        return list(found["runs"]) if found["version"] == VERSION else []
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _same_run(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(one.get(name) == other[name] for name in ("started", "host", "process"))


_CURRENT: ContextVar[Journal | None] = ContextVar("journal", default=None)


def keep_in(out: Path) -> None:
    """The run's results are in the folder `out`, which exists: keep its journal there."""
    if journal := _CURRENT.get():
        journal.keep_in(out)


def note(**facts: Any) -> None:
    """Facts about the run for run.json, e.g. study="demo"; anything JSON can hold."""
    if journal := _CURRENT.get():
        journal.facts |= facts


def voice() -> Voice:
    """How much the run is to say."""
    journal = _CURRENT.get()
    return journal.voice if journal else Voice()


class _Said:
    """A stream that passes on what is written, and gives complete lines to the journal."""

    def __init__(self, stream: TextIO, journal: Journal, *, filtered: bool) -> None:
        self._stream = stream
        self._journal = journal
        self._filtered = filtered
        self._rest = ""

    def write(self, text: str) -> int:
        """As a text stream's."""
        lines = (self._rest + text).split("\n")
        self._rest = lines.pop()
        for line in lines:
            self._journal.add(line)
            if self._filtered and line.startswith(_ALWAYS_SAID):
                self._stream.write(line + "\n")
        if not self._filtered:
            self._stream.write(text)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def journal(command: Sequence[str], asked: Voice) -> Iterator[Journal]:
    """Keep the journal of `command`, whose exit code the block sets. Prints run.json's entry at the end with --json."""
    kept = Journal(command, asked)
    token = _CURRENT.set(kept)
    out, errors = sys.stdout, sys.stderr
    try:
        with ExitStack() as said:
            shown = errors if asked.json else out
            said.enter_context(redirect_stdout(_Said(shown, kept, filtered=asked.quiet)))
            said.enter_context(redirect_stderr(_Said(errors, kept, filtered=False)))
            yield kept
    except Exception:
        kept.code = 1
        for line in traceback.format_exc().splitlines():
            kept.add(line)
        kept.close()
        raise
    else:
        record = kept.close()
        if asked.json:
            print(json.dumps(record, default=str), file=out)
    finally:
        _CURRENT.reset(token)


def _now() -> datetime:
    return datetime.now().astimezone()


@cache
def versions() -> dict[str, str]:
    """Of cropkt, Python and the packages that decide numbers."""
    found = {"cropkt": cropkt.__version__, "python": platform.python_version()}
    for name in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


@cache
def git_commit() -> str | None:
    """The commit of the clone that runs, with "+" when files differ from it; None outside a clone."""
    root = Path(cropkt.__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    try:
        commit, changed = (
            subprocess.run(
                ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10, check=True
            ).stdout.strip()
            for arguments in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+" if changed else "")
