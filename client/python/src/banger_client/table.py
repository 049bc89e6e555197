"""A table that is kept as it is on the server: all objects now, and a wake-up with every change.

It says how good it is: `state` is "current" only while the stream is open and the state has been told
whole. Whoever acts on a table that is not current acts on the past.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import Generic, Literal, Self

from .errors import BangerError
from .told import Bookmark, Change, Current, T, Update

State = Literal["loading", "current", "stale", "ended"]
"""Not told whole yet; as it is on the server; the connection is lost; no more will come."""


class Table(Generic[T]):
    """Fed by hand with the updates of a watch."""

    def __init__(self) -> None:
        self.rows: dict[str, T] = {}
        """All objects by id."""
        self.state: State = "loading"
        self.revision = 0
        """Everything up to this revision is in the table."""
        self.error: BangerError | None = None
        """Why it is stale, or has ended."""

    def apply(self, update: Update[T]) -> None:
        if isinstance(update, Change):
            if update.kind == "removed":
                self.rows.pop(update.object.id, None)
            else:
                self.rows[update.object.id] = update.object
            self.revision = max(self.revision, update.revision)
            # On a stream that was resumed: what was missed is on its way in order.
            if self.state == "stale":
                self._fresh()
        elif isinstance(update, Current):
            self.revision = update.revision
            self._fresh()
        elif isinstance(update, Bookmark):
            self.revision = max(self.revision, update.revision)
            self._fresh()
        else:
            self.error = update.error
            if self.state == "current":
                self.state = "stale"

    def end(self, error: BangerError | None) -> None:
        self.state = "ended"
        self.error = error

    def _fresh(self) -> None:
        self.state = "current"
        self.error = None


class NotInTime(TimeoutError):
    """What was waited for did not come; says how the table was then."""

    def __init__(self, table: "Table[T]", timeout: float) -> None:
        why = f": {table.error}" if table.error else ""
        super().__init__(f"not within {timeout} s; the table is {table.state}{why}")


def over(table: Table[T], wanted: Callable[[Table[T]], bool]) -> bool:
    """Whether waiting has an end, good or bad."""
    return table.state == "ended" or wanted(table)


class LiveTable(Generic[T]):
    """A table that a thread keeps. `wake` is called after each update, in that thread."""

    def __init__(self, updates: Iterator[Update[T]], wake: Callable[[], object] | None) -> None:
        self._table: Table[T] = Table()
        self._changed = threading.Condition()
        self._wake = wake
        self._thread = threading.Thread(target=self._follow, args=(updates,), daemon=True)
        self._thread.start()

    def _follow(self, updates: Iterator[Update[T]]) -> None:
        error: BangerError | None = None
        try:
            for update in updates:
                with self._changed:
                    self._table.apply(update)
                    self._changed.notify_all()
                if self._wake:
                    self._wake()
        except BangerError as found:
            error = found
        finally:
            with self._changed:
                self._table.end(error)
                self._changed.notify_all()
            if self._wake:
                self._wake()

    @property
    def state(self) -> State:
        with self._changed:
            return self._table.state

    @property
    def error(self) -> BangerError | None:
        with self._changed:
            return self._table.error

    def rows(self) -> dict[str, T]:
        """A copy of the table as it is now: all objects by id."""
        with self._changed:
            return dict(self._table.rows)

    def wait(self, wanted: Callable[[Table[T]], bool], timeout: float) -> dict[str, T]:
        """Waits until `wanted` holds; answers the rows as they are then.

        Raises NotInTime, or what ended the table."""
        with self._changed:
            self._changed.wait_for(lambda: over(self._table, wanted), timeout)
            if wanted(self._table):
                return dict(self._table.rows)
            raise self._table.error or NotInTime(self._table, timeout)

    def wait_current(self, timeout: float = 30) -> dict[str, T]:
        """Waits until the table is as it is on the server; answers its rows."""
        return self.wait(lambda table: table.state == "current", timeout)


class AioTable(Generic[T]):
    """A table that a task keeps, between the beginning and the end of an `async with`."""

    def __init__(self, updates: AsyncIterator[Update[T]]) -> None:
        self._updates: AsyncIterator[Update[T]] = updates
        self._table: Table[T] = Table()
        self._changed = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._follow())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self) -> None:
        error: BangerError | None = None
        try:
            async for update in self._updates:
                async with self._changed:
                    self._table.apply(update)
                    self._changed.notify_all()
        except BangerError as found:
            error = found
        finally:
            async with self._changed:
                self._table.end(error)
                self._changed.notify_all()

    @property
    def table(self) -> Table[T]:
        """The table itself; it changes whenever the loop runs."""
        return self._table

    async def wait(self, wanted: Callable[[Table[T]], bool], timeout: float) -> dict[str, T]:
        """As LiveTable.wait."""

        try:
            async with asyncio.timeout(timeout), self._changed:
                await self._changed.wait_for(lambda: over(self._table, wanted))
        except TimeoutError:
            pass
        if wanted(self._table):
            return dict(self._table.rows)
        raise self._table.error or NotInTime(self._table, timeout)

    async def changed(self) -> None:
        """Waits for the next update."""
        async with self._changed:
            await self._changed.wait()
