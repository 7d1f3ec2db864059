"""The collector's settings are the process's, so they are looked at in a process of their own."""

import subprocess
import sys

PROGRAM = """
import gc
from gateway.server import tune_garbage_collector
tune_garbage_collector()
class Cycle:
    def __init__(self):
        self.itself = self
alive = len(gc.get_objects())
for _ in range(200_000):
    Cycle()
print(gc.get_freeze_count() > 1000, gc.isenabled(), len(gc.get_objects()) - alive < 50_000)
"""


def test_start_is_frozen_and_cycles_are_still_collected() -> None:
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["True", "True", "True"]
