"""Other Python processes of this program: how they are started, asked, and ended."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from .asked import Refused

ROOT = Path(__file__).resolve().parents[2]
ANSWER = 1 << 20  # bytes
TIME = 90.0  # seconds until a child is given up
AT_ONCE = 2


def command(module: str, *args: str) -> list[str]:
    """Runs a module of ours, whatever lies in the working folder."""
    return [sys.executable, "-P", "-m", module, *args]


def environment(**more: str) -> dict[str, str]:
    """Of such a process: its packages are those of this one."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **more}


class Children:
    """Asks child.py, AT_ONCE processes at most; who waits longer than TIME is refused."""

    def __init__(self) -> None:
        self.slots = asyncio.Semaphore(AT_ONCE)

    async def ask(self, do: str, **more: Any) -> dict[str, Any]:
        """The answer. Raises Refused. Whoever is no longer waited for is killed."""
        try:
            async with asyncio.timeout(TIME), self.slots:
                answer = await self._answer(json.dumps({"do": do, **more}).encode())
        except TimeoutError:
            raise Refused(f"took more than {TIME:.0f} s", 422) from None
        if "refused" in answer:
            raise Refused(str(answer["refused"]), 422)
        return answer

    async def _answer(self, text):
        process = await asyncio.create_subprocess_exec(
            *command("style.web.child"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=environment(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1"),
            start_new_session=True,  # Ctrl-C is this process's to answer
            limit=ANSWER,
        )
        try:
            process.stdin.write(text)
            process.stdin.close()
            found = b""
            while len(found) < ANSWER and (part := await process.stdout.read(ANSWER)):
                found += part
            return json.loads(found) if await process.wait() == 0 else _died(process.returncode)
        except (ValueError, ConnectionError):
            return _died("no answer")
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


def _died(code):
    return {"refused": f"could not be done within the limits of time and memory ({code})"}
