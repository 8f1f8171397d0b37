"""Progress is for a person at a terminal, and for nobody else."""

import os
import pty
import subprocess
import sys
import termios
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORK = """
from cropkt.experiments.progress import stage
with stage("transfer", 676, "pairs") as line:
    line.advance("target acc", by=338)
    line.say("warning: a slide was left out")
    line.show("target uvm")
"""


def test_a_terminal_sees_stage_count_rate_time_left_and_what_is_at_work() -> None:
    driver, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 110))
    with subprocess.Popen([sys.executable, "-c", WORK], cwd=ROOT, stderr=terminal) as process:
        os.close(terminal)
        seen = _read(driver)
    assert process.returncode == 0
    lines = [line.strip() for line in seen.replace("\r", "\n").splitlines()]
    assert any(
        line.startswith("transfer: 338/676 pairs |") and "pairs/s" in line and "left, target uvm" in line
        for line in lines
    ), lines
    assert "warning: a slide was left out" in lines
    assert max(map(len, lines)) <= 110


def test_elsewhere_only_what_is_to_be_kept_is_written() -> None:
    result = subprocess.run([sys.executable, "-c", WORK], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr) == ("", "warning: a slide was left out\n")


def _read(driver: int) -> str:
    seen = b""
    while True:
        try:
            more = os.read(driver, 65536)
        except OSError:  # how a terminal says that the other side has closed it
            break
        if not more:
            break
        seen += more
    os.close(driver)
    return seen.decode()
