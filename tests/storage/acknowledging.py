"""A process that takes messages and says on its standard output when each is answered; then it is killed, or waits.

`python -m tests.storage.acknowledging FOLDER SYNCHRONOUS`: what `test_durable.py` watches from outside.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

from tests.pipeline import pipeline

MESSAGES = 3


async def main(folder: Path, synchronous: str) -> None:
    async with pipeline(folder) as way:
        if synchronous != "FULL":
            writer = way.database._writer  # type: ignore[attr-defined]
            await writer.connection.execute_fetchall(f"PRAGMA synchronous = {synchronous}")
        way.open()
        for number in range(MESSAGES):
            answered = await way.tell(vendor_message_id=f"m{number + 1}", text="hello")
            assert answered.status == 200
            os.write(1, f"answered {number}\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
