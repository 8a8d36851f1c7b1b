"""Nobody reads the log: vendors are answered all the same, and the process ends when it should."""

import signal
from pathlib import Path

from tests.faults.blocked_log import lived
from tests.faults.disk_process import can, tracing
from tests.faults.power_run import Verdict, a_body


def test_a_full_log_pipe_holds_up_neither_vendors_nor_the_end(tmp_path: Path) -> None:
    bodies = [a_body(number) for number in range(1500)]  # at 80 bytes a line and more, twice what a pipe holds
    ended = lived(tmp_path / "a", bodies)
    assert ended.statuses == [200] * len(bodies)
    assert ended.stuck
    assert (ended.code, ended.verdict) == (0, Verdict("", 0))


def test_the_end_of_a_process_that_failed_does_not_wait_for_a_reader_either(tmp_path: Path) -> None:
    """The last line says why it ends. Without strace nothing fails here, and it ends by a signal as above."""
    bodies = [a_body(number) for number in range(2000)]
    traces = can("strace", "-f", "-o", "/dev/null", "true")
    fails = tracing("-o", "/dev/null", "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=60")
    ended = lived(tmp_path / "a", bodies, *(fails if traces else ()), end=None if traces else signal.SIGTERM)
    assert ended.stuck
    assert (ended.code, ended.verdict) == (1 if traces else 0, Verdict("", 0))
