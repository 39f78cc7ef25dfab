"""Side threads: one call after the other, and a process that ends without them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from threading import Event, current_thread

import pytest

from consumer.sidethread import SideThread, aside, started

PATIENCE = 20.0  # seconds
LEAVING = """
import asyncio, threading
from consumer.sidethread import SideThread, aside

async def main():
    thread, begun = SideThread("stuck"), threading.Semaphore(0)
    def hang():
        begun.release()
        threading.Event().wait()
    tasks = [asyncio.create_task(thread.do(hang)), asyncio.create_task(aside(hang))]
    await asyncio.to_thread(lambda: [begun.acquire() for _ in tasks])
    for task in tasks:
        task.cancel()
    thread.close()

asyncio.run(main())
print("ended")
"""


def test_calls_are_made_one_after_the_other_on_one_thread() -> None:
    async def play() -> list[tuple[int, str]]:
        thread = SideThread("side")
        answers = [thread.do(lambda n=n: (n, current_thread().name)) for n in range(20)]
        try:
            return await asyncio.gather(*answers)
        finally:
            thread.close()

    assert asyncio.run(play()) == [(n, "side") for n in range(20)]


def test_what_a_call_raises_is_raised_by_who_waits_and_the_next_is_made() -> None:
    async def play() -> int:
        thread = SideThread("side")
        with pytest.raises(ZeroDivisionError):
            await thread.do(divmod, 1, 0)
        with pytest.raises(ZeroDivisionError):
            await aside(divmod, 1, 0)
        assert await aside(int, "21") == 21
        return await thread.do(int, "42", base=10)

    assert asyncio.run(play()) == 42


def test_who_gives_up_waiting_is_not_called_any_more() -> None:
    async def play() -> list[str]:
        thread, made, go_on = SideThread("side"), list[str](), Event()
        first = asyncio.create_task(thread.do(go_on.wait, PATIENCE))
        second = asyncio.create_task(thread.do(made.append, "second"))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.sleep(0)
        go_on.set()
        assert await first
        await thread.do(made.append, "third")
        return made

    assert asyncio.run(play()) == ["third"]


def test_after_its_end_nothing_is_called_not_even_what_waited() -> None:
    async def play() -> list[str]:
        thread, made, begun, go_on = SideThread("side"), list[str](), Event(), Event()

        def hold() -> None:
            begun.set()
            assert go_on.wait(PATIENCE)
            made.append("first")

        first = asyncio.create_task(thread.do(hold))
        second = asyncio.create_task(thread.do(made.append, "second"))
        assert await aside(begun.wait, PATIENCE)
        thread.close()
        go_on.set()
        await first
        with pytest.raises(RuntimeError, match="the thread side makes no further calls"):
            await thread.do(made.append, "third")
        second.cancel()
        return made

    assert asyncio.run(play()) == ["first"]


def test_a_call_on_a_thread_of_its_own_can_be_waited_for_within_bounds() -> None:
    go_on = Event()
    future = started("own", go_on.wait, PATIENCE)
    with pytest.raises(TimeoutError):
        future.result(0.01)
    go_on.set()
    assert future.result(PATIENCE)


def test_a_process_ends_without_those_that_do_not_return() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LEAVING], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended\n", "")
