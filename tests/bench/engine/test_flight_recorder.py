"""Samples of the flight recorder, and CPU time of processes."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.bench.engine import flight_recorder, process_cpu

SAMPLE = """
  startTime = 18:19:04.114
  sampledThread = "%s" (javaThreadId = 97)
  state = "STATE_RUNNABLE"
  stackTrace = [
    java.util.HashMap.getNode(Object) line: 568
    %s(Event) line: 79
    org.apache.flink.streaming.runtime.tasks.StreamTask.invoke() line: 90
  ]
}
"""


def test_a_sample_belongs_to_the_part_of_its_innermost_known_frame() -> None:
    task = "Source: payments -> windows (1/1)#0"
    samples = [
        SAMPLE % (task, "penstock.kernel.window.Tiles.add"),
        SAMPLE % (task, "penstock.kernel.window.Tiles.add"),
        SAMPLE % (task, "java.util.ArrayList.add"),
        SAMPLE % ("GC Thread#0", "penstock.kernel.window.Tiles.add"),
    ]
    assert flight_recorder.parts(samples) == {"windows": 2, "Flink between operators": 1}


def test_cpu_time_is_that_of_a_process_and_its_children() -> None:
    busy = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", busy], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert process_cpu.seconds(child.pid) >= 0.25
        assert process_cpu.seconds(os.getpid()) >= 0.25
        child.kill()
