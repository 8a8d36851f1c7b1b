"""Whoever logs waits for nobody: full pipes, readers that went away, and lines that are dropped but counted."""

import logging
import os
import socket
import threading
import time

from receiver.observe import LineHandler


def record(message: str = "x", *args: object) -> logging.LogRecord:
    return logging.LogRecord("receiver", logging.INFO, "", 0, message, args, None)


def test_a_full_pipe_blocks_nobody_and_the_dropped_lines_are_told():
    reader, writer = os.pipe()
    handler = LineHandler("text", writer, capacity=100)
    padding = "x " * 200
    began = time.monotonic()
    for _ in range(5000):
        handler.handle(record(padding))
    assert time.monotonic() - began < 5  # with a blocking write it would never end
    assert handler.dropped > 1000

    pieces: list[bytes] = []
    draining = threading.Thread(target=lambda: pieces.extend(iter(lambda: os.read(reader, 65_536), b"")))
    draining.start()
    handler.close(patience=10)
    os.close(writer)
    draining.join(10)
    os.close(reader)
    written = b"".join(pieces).decode().splitlines()
    notices = [int(line.rpartition("=")[2]) for line in written if " WARNING log.dropped lines=" in line]
    assert sum(notices) == handler.dropped  # more than one notice where the writer got in between
    assert len(written) - len(notices) + handler.dropped == 5000


def test_closing_does_not_wait_for_a_pipe_that_nobody_reads():
    reader, writer = os.pipe()
    handler = LineHandler("text", writer)
    for _ in range(500):
        handler.handle(record("x " * 200))
    began = time.monotonic()
    handler.close(patience=0.05)
    assert time.monotonic() - began < 5
    os.close(reader)  # lets the thread go: its write fails
    deadline = time.monotonic() + 5
    while any(thread.name == "log" for thread in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.close(writer)
    assert handler.dropped > 0


def test_a_reader_that_went_away_costs_lines_only():
    reader, writer = os.pipe()
    os.close(reader)
    handler = LineHandler("text", writer)
    handler.handle(record())
    handler.close()
    assert handler.dropped == 1
    os.close(writer)


def test_a_descriptor_that_says_try_again_is_tried_again():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    handler = LineHandler("text", ours.fileno())
    for _ in range(2000):
        handler.handle(record("x " * 200))
    data = b""
    theirs.settimeout(5)
    while data.count(b"\n") < 2000:
        data += theirs.recv(65_536)
    handler.close()
    assert handler.dropped == 0
    ours.close()
    theirs.close()


def test_a_record_that_cannot_be_formatted_is_dropped_and_counted():
    reader, writer = os.pipe()
    handler = LineHandler("text", writer)
    handler.handle(record("%d", "not a number"))
    handler.handle(record("good"))
    handler.close()
    assert handler.dropped == 1
    assert b"message=good" in os.read(reader, 65_536)
    os.close(reader)
    os.close(writer)
