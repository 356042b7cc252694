"""`make bench` at its shortest: every row is measured, and whoever waits is told what it is at."""

import re
import sys

from tests.rigs.processes import output_of
from tests.rigs.tree import ROOT


def test_bench_measures_every_row_and_tells_how_far_it_is() -> None:
    command = [sys.executable, "-m", "benchmarks", "--rounds", "1", "--seconds", "0.02"]
    printed = output_of(command, cwd=ROOT, timeout_s=240)  # 32 programs start, each in its turn
    titles = ["one way, 16 B", "one way, 1024 B", "one way, 16384 B", "round trip, 16 B"]
    rows = re.findall(r"^(\w.*? B)  .*\d(?:/s| us) .* \d+\.\d\d \(.*\)$", printed, re.MULTILINE)
    assert rows == titles
    assert re.findall(r"^(\d+)/16 ", printed, re.MULTILINE) == [str(step) for step in range(1, 17)]
