"""A line in the dashboard for each job: a call that lasts as long as the job does. Runs in an actor of its own."""

import asyncio


class Board:
    """Holds a call `job(key)` open until `end(key)` comes; the two may arrive in either order."""

    def __init__(self) -> None:
        self._ends: dict[str, asyncio.Event] = {}

    async def job(self, key: str) -> None:
        """Last until the end of the job."""
        await self._ends.setdefault(key, asyncio.Event()).wait()
        del self._ends[key]

    async def end(self, key: str) -> None:
        """Let the call for `key` return."""
        self._ends.setdefault(key, asyncio.Event()).set()
