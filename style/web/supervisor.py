"""Keeps the runner alive: started again when it ends, in order when the program does."""

import asyncio
import contextlib
import os
import time

from .children import command, environment
from .desk import Desk

LONGEST = 30.0  # seconds before it is started again, at most
MANY = 5  # ends in a row
STEADY = 60.0  # seconds after which it counts as alive
PATIENCE = 8.0  # seconds in which it may save its run at the end
LOG_BYTES = 1 << 20


class Supervisor:
    def __init__(self, desk: Desk):
        self.desk, self.closing = desk, False
        self.process: asyncio.subprocess.Process | None = None
        self.log = desk.folder / "runner.log"
        self.ends = 0  # in a row, none of which was meant

    async def keep(self) -> None:
        """Start the runner, and again whenever it ends."""
        while not self.closing:
            begun = time.monotonic()
            with contextlib.suppress(OSError):  # no memory, no process to be had: later, perhaps
                self.process = await self._start()
                await self.process.wait()
            self.ends = 1 if time.monotonic() - begun > STEADY else self.ends + 1
            if not self.closing:
                await asyncio.sleep(min(0.2 * 2**self.ends, LONGEST))

    def trouble(self) -> str:
        """What pages are to be told, or nothing."""
        return f"The process that paints ends again and again; {self.log} says why." if self.ends >= MANY else ""

    async def close(self) -> None:
        """Let it save its run and end."""
        self.closing = True
        process = self.process
        if process is None or process.returncode is not None:
            return
        if process.stdin is not None:
            process.stdin.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), PATIENCE)
        if process.returncode is None:  # the last checkpoint is what there is
            process.kill()
            await process.wait()

    async def _start(self):
        with contextlib.suppress(OSError):
            if self.log.stat().st_size > LOG_BYTES:
                self.log.unlink()
        with open(os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as log:
            return await asyncio.create_subprocess_exec(
                *command("style.web.runner", str(self.desk.folder)),
                stdin=asyncio.subprocess.PIPE,  # its end is ours
                stdout=log,
                stderr=log,
                env=environment(),
                start_new_session=True,  # Ctrl-C is this process's to answer
            )
