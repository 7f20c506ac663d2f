"""Telling callbacks: those that block are waited for, the others run after the call."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from typing import Any

from opentelemetry.trace import Tracer

from callspan import semconv
from callspan._callbacks import leaving, running
from callspan._callbacks.callback import Callback
from callspan._callbacks.execution import Execution, run, run_async
from callspan._callbacks.job import Job
from callspan._callbacks.moment import Moment
from callspan._guard import guarded
from callspan._invocation import deactivate, outside_with


class Told:
    """The callbacks that are told of one moment.

    What runs elsewhere runs in a copy of the caller's context, with the span current, and outside of the call: an LLM
    call made in a callback is a call of its own.

    Attributes:
        blocking: those whose run is waited for and which have yet to be.
    """

    __slots__ = ("_asynchronous", "_background", "_moment", "_tracer", "blocking")

    def __init__(self, moment: Moment, tracer: Tracer, *, router_call: bool, asynchronous: bool) -> None:
        self.blocking, self._background = moment.told(router_call=router_call)
        self._moment = moment
        self._tracer = tracer
        self._asynchronous = asynchronous

    def start_background(self) -> None:
        """Have those run that are not waited for."""
        for callback in self._background:
            self._start(callback, on_loop=self._asynchronous)

    def leave(self) -> None:
        """Have the blocking ones run without waiting, where nobody can wait: a stream was dropped."""
        while self.blocking:
            self._start(self.blocking.pop(0), on_loop=self._asynchronous)

    def run_what_does_not_await(self) -> None:
        """Run those of the blocking ones that can be run here, where nothing can be awaited."""
        here = [callback for callback in self.blocking if not callback.awaits]
        self.blocking = [callback for callback in self.blocking if callback.awaits]
        for callback in here:
            self._wait_for(callback)

    def wait(self) -> None:
        """Run the blocking ones, one after another, and wait for each."""
        try:
            while self.blocking:
                self._wait_for(self.blocking.pop(0))
        finally:
            self.leave()

    async def wait_async(self) -> None:
        """Run the blocking ones, one after another, and await each. Who is cancelled meanwhile leaves them running."""
        try:
            while self.blocking:
                await self._await(self.blocking.pop(0))
        finally:
            self.leave()

    def _wait_for(self, callback: Callback) -> None:
        if not callback.awaits and callback.timeout is None:
            self._run_here(callback)
            return
        job = self._start(callback, on_loop=False)
        # An asynchronous one is held to its timeout where it runs; a thread cannot be.
        if job is not None and not job.wait(None if callback.awaits else callback.timeout):
            self._overran(callback)

    async def _await(self, callback: Callback) -> None:
        job = self._start(callback, on_loop=True)
        if job is None:
            return
        try:
            async with asyncio.timeout(None if callback.awaits else callback.timeout):
                await job.joined()
        except TimeoutError:
            self._overran(callback)

    def _overran(self, callback: Callback) -> None:
        execution = self._execution(callback)
        execution.failed(semconv.CALLBACK_TIMEOUT)
        execution.end(duration=callback.timeout)

    @guarded
    def _start(self, callback: Callback, *, on_loop: bool) -> Job | None:
        leaving.be_ready()
        record, context = self._moment.record, contextvars.copy_context()
        loop = running.running_loop()

        async def work_async() -> None:
            await self._run_async(callback, callback.function, record)

        def work() -> None:
            self._run_here(callback)

        job = Job(callback.name, work_async if callback.awaits else work, context, awaits=callback.awaits)
        if callback.awaits and not on_loop and loop is not None and running.is_own_loop(loop):
            running.start_apart(callback, job)  # our loop, which would otherwise run it, is about to wait for it
        else:
            running.start(callback, job, loop if on_loop else None)
        return job

    def _run_here(self, callback: Callback) -> None:
        execution = self._execution(callback)
        inside = outside_with(execution.begin(self._tracer))
        try:
            rest = run(execution, callback.function, self._moment.record)
            if rest is not None:
                self._run_rest(execution, callback, rest)
        finally:
            execution.end()
            deactivate(inside)

    def _run_rest(self, execution: Execution, callback: Callback, rest: Awaitable[Any]) -> None:
        """Await what a function returned that did not look like a coroutine function."""

        async def work() -> None:
            await run_async(execution, lambda _: rest, None, callback.timeout)

        if running.running_loop() is None:
            running.run_here(work())
            return
        job = Job(callback.name, work, contextvars.copy_context(), awaits=True)
        running.start_apart(job, job)
        job.wait(None)

    async def _run_async(self, callback: Callback, function: Callable[[Any], Any], record: object) -> None:
        execution = self._execution(callback)
        # In the context of this run alone: there is nothing to return to.
        outside_with(execution.begin(self._tracer))
        try:
            await run_async(execution, function, record, callback.timeout)
        finally:
            execution.end()

    def _execution(self, callback: Callback) -> Execution:
        return Execution(callback.name, self._moment.hook, callback.delivery, self._moment.span)
