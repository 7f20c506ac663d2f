"""The spool and the senders of one process, from the first span to the last line at exit."""

import contextlib
import functools
import logging
import os
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from opentelemetry.metrics import MeterProvider

from callspan_exporters._accounts import Accounts
from callspan_exporters._by_call import ByCall
from callspan_exporters._credentials import credentials
from callspan_exporters._metrics import DeliveryMetrics, Figures
from callspan_exporters._outcome import OF_CALL, Destination
from callspan_exporters._sender import Sender
from callspan_exporters._settings import BatchSettings
from callspan_exporters._spool import AFTER_SHUTDOWN, DeadLetters, Limits, Spool, left_for_any
from callspan_exporters.callback import CallbackDestination

_logger = logging.getLogger(__name__)

_PATIENCE_WITH_KNOWN_DOWN_S: Final = 0.5
_PATIENCE_WITH_THREADS_S: Final = 0.1
_PATIENCE_WITH_EXPORTERS_S: Final = 0.2
_LOOK_EVERY_S: Final = 0.02


class Delivery:
    """Takes encoded spans from any thread and has them sent to every destination."""

    def __init__(
        self,
        destinations: Sequence[Destination],
        *,
        root: Path | None,
        limits: Limits,
        settings: BatchSettings,
        exit_budget_s: float,
        meter_provider: MeterProvider | None = None,
        component_type: str = "callspan_span_processor",
        talkative: bool = True,
    ) -> None:
        """Touch neither disk nor network, and start no thread.

        Args:
            destinations: where spans go.
            root: the spool's directory; None keeps spans in memory.
            limits: how much the spool may hold.
            settings: how spans are batched.
            exit_budget_s: how long exit may be held up, in seconds.
            meter_provider: of the metrics about it; by default the global one, now or later.
            component_type: what the metrics call it.
            talkative: whether to say on stderr at the end what is left.
        """
        self.spool = Spool(root, limits, [destination.identity for destination in destinations])
        self._settings = settings
        self._exit_budget_s = exit_budget_s
        self._talkative = talkative
        self._dead_letters = DeadLetters(root, limits.max_age_s)
        self._metrics = DeliveryMetrics(meter_provider, component_type)
        self._changing = threading.Lock()
        self._senders = [self._sender(destination) for destination in destinations]
        self._removed: dict[str, Sender] = {}
        self._metrics.observe(self)
        self._started = False
        self._unsent = 0
        self._shut = False
        self._all_sent = True
        self._at_shutdown: Figures | None = None
        self._process = os.getpid()
        self._begin_shutting()
        _instances.add(self)

    def append(self, resource: bytes, scope: bytes, span: bytes) -> None:
        """Store a span and return. What sends it is woken when a batch is full.

        After :meth:`shutdown` the next process with the same destination sends it, unless there is no disk to keep it.
        """
        if not self._senders:
            return
        if self._process != os.getpid():  # forked by somebody who tells nobody
            _after_fork_in_child()
        if self._shut and self.spool.root is None:
            self.spool.drop(AFTER_SHUTDOWN)
            return
        self.spool.append(resource, scope, span)
        # Not synchronised: a count that is lost costs a wake-up, which the schedule makes good.
        self._unsent += 1
        if self._unsent >= self._settings.max_export_batch_size:
            self._unsent = 0
            for sender in self._senders:
                sender.wake()
        if not self._started:
            self.start()

    def drop(self, reason: str) -> None:
        """Count a span that ended and could not be stored."""
        self.spool.drop(reason)

    def start(self) -> None:
        """Start the senders, unless they were shut down."""
        if self._shut:
            return
        self._started = True
        for sender in self._senders:
            sender.start()

    def start_for_what_is_left(self) -> None:
        """Start the senders at once where dead processes left spans for them; otherwise the first span does."""
        if not self._started and self._left_for_us():
            self.start()

    def _left_for_us(self) -> bool:
        root = self.spool.root
        try:
            return root is not None and left_for_any(root, self.spool.destinations)
        except OSError:  # no descriptors for now
            return False

    def destinations(self) -> list[Destination]:
        """Return where spans go."""
        return [sender.destination for sender in self._senders]

    def add(self, destination: Destination) -> None:
        """Have the spans that end from now on go to a further destination."""
        if any(sender.destination.identity == destination.identity for sender in self._senders):
            return
        self.spool.add_destination(destination.identity)
        sender = self._sender(destination)
        if (removed := self._removed.pop(destination.identity, None)) is not None:
            sender.follow(removed)
        self._change(add=[sender])
        if self._started:
            sender.start()

    def remove(self, destination: Destination) -> None:
        """Send nothing more to a destination. What is pending for it stays for another process that has it."""
        for sender in self._senders:
            if sender.destination.identity.startswith(destination.identity + OF_CALL):
                self.remove_account(sender.destination.identity)
        removed = [sender for sender in self._senders if sender.destination is destination]
        self._change(remove=removed)
        for sender in removed:
            sender.stop(_PATIENCE_WITH_KNOWN_DOWN_S)
            self._removed[destination.identity] = sender
        in_memory = [text for sender in removed if (text := _of(sender, sender.pending_in_memory))]
        self.spool.remove_destination(destination.identity)
        if in_memory and destination.identity not in self.spool.memory.backlogs:
            _logger.warning("%s were in memory only and are lost, for it was removed", ", ".join(in_memory))

    def replace(self, old: Destination, new: Destination) -> None:
        """Have one destination take the place of another, with all that is pending for it."""
        replaced = [sender for sender in self._senders if sender.destination is old]
        self._change(remove=replaced)
        for sender in replaced:
            sender.stop(_PATIENCE_WITH_KNOWN_DOWN_S)
        if all(sender.destination.identity != new.identity for sender in self._senders):
            self.spool.replace_destination(old.identity, new.identity)
            following = self._sender(new)
            for sender in replaced:
                following.follow(sender)
            self._change(add=[following])
        if self._started:
            self.start()

    def add_account(self, destination: Destination) -> None:
        """Send what waits for an account of calls, which no span that ends is stored for."""
        self.spool.adopt_for(destination.identity)
        sender = self._sender(destination)
        self._change(add=[sender])
        if not self._shut:
            sender.start()
            sender.wake()

    def remove_account(self, identity: str) -> None:
        """End that."""
        removed = [sender for sender in self._senders if sender.destination.identity == identity]
        self._change(remove=removed)
        self.spool.adopt_no_more_for(identity)
        for sender in removed:
            sender.stop(_PATIENCE_WITH_THREADS_S)

    def account_waits(self, identity: str) -> int:
        """Return how many spans wait for an account that is sent for."""
        return sum(sender.pending for sender in self._senders if sender.destination.identity == identity)

    def account_is_down(self, identity: str) -> bool:
        """Tell whether an account did not take what was last sent to it."""
        return any(sender.known_down for sender in self._senders if sender.destination.identity == identity)

    def _change(self, add: Sequence[Sender] = (), remove: Sequence[Sender] = ()) -> None:
        # By several threads: those who add destinations, and senders who begin to send for accounts of calls.
        with self._changing:
            self._senders = [*(sender for sender in self._senders if sender not in remove), *add]

    @property
    def figures(self) -> Figures:
        """What became of the spans of this process, as its span processor's metrics have it."""
        spool, then = self.spool, self._at_shutdown
        if then is not None:  # what waited then waits for another process, with what was stored since
            waiting = then.waiting + spool.stored - then.stored
            return Figures(spool.stored, waiting, then.expired, spool.tally.drops())
        return Figures(spool.stored, self._waiting(), spool.expired, spool.tally.drops())

    def _waiting(self) -> int:
        waiting = (sum(log.pending for log in self.spool.backlogs(name)) for name in self.spool.destinations)
        return max(waiting, default=0)

    def force_flush(self, timeout_s: float) -> bool:
        """Send what this process has stored so far.

        Returns:
            Whether every destination has acknowledged or refused all of it.
        """
        if self._shut:
            return self._all_sent and self.pending == 0
        deadline = time.monotonic() + timeout_s
        delivered = self._flush(deadline, everything=False)
        for sender in self._senders:
            left_s = max(0.0, deadline - time.monotonic())
            flush = functools.partial(sender.destination.force_flush, left_s)
            delivered = sender.ask(flush, left_s) and delivered
        return delivered

    def flush_everything(self, stop: threading.Event, deadline: float) -> bool:
        """Send what there is, also of processes that died, until that is done, or a destination does not take it.

        Args:
            stop: set by who wants no more of it.
            deadline: until when to try, on the monotonic clock.

        Returns:
            Whether every destination has acknowledged or refused all that could be had.
        """
        self.start()
        timeout_s = deadline - time.monotonic()
        flushes = [sender.flush(everything=True, timeout_s=timeout_s) for sender in self._senders]
        while time.monotonic() < deadline and not stop.is_set():
            if all(flush.done for flush in flushes):
                return all(flush.wait(0.0) for flush in flushes)
            stop.wait(_LOOK_EVERY_S)
        return False

    @property
    def delivered(self) -> dict[str, int]:
        """How many spans each destination has acknowledged to this process."""
        return {sender.destination.identity: sender.delivered for sender in self._senders}

    @property
    def reasons(self) -> dict[str, str]:
        """Why destinations do not take spans, for each that does not."""
        troubles = {sender.destination.identity: sender.troubles.reason for sender in self._senders}
        return {identity: reason for identity, reason in troubles.items() if reason}

    def flush_at_shutdown(self) -> bool:
        """Flush within the exit budget: what is spent here is not there any more at exit."""
        if self._shut:
            return self._all_sent
        started = time.monotonic()
        delivered = self._flush(started + self._exit_budget_s, everything=False, hurried=True)
        self._exit_budget_s = max(0.0, self._exit_budget_s - (time.monotonic() - started))
        return delivered

    def spend(self, seconds: float) -> None:
        """Take from the exit budget what somebody else has held up the exit for; a fifth is always left."""
        self._exit_budget_s = max(self._exit_budget_s / 5, self._exit_budget_s - seconds)

    @property
    def pending(self) -> int:
        """How many spans wait for the destination that most wait for, in what this process holds."""
        return max((sender.pending for sender in self._senders), default=0)

    def shutdown(self, timeout_s: float | None = None) -> bool:
        """Send what can be sent in time, leave the rest, say so in one line, and send nothing more.

        Args:
            timeout_s: how long that may take, in seconds; the exit budget by default.

        Returns:
            Whether every destination has acknowledged or refused all that this process has stored.
        """
        deadline = time.monotonic() + (self._exit_budget_s if timeout_s is None else timeout_s)
        if self._shutting.acquire(timeout=max(0.0, deadline - time.monotonic())):
            try:
                # Not in a signal handler that came in the middle of it, in the same thread.
                if not self._shut and not self._in_shutdown:
                    self._shut_down_unless_interrupted(deadline)
            finally:
                self._shutting.release()
        return self._shut and self._all_sent

    def _shut_down_unless_interrupted(self, deadline: float) -> None:
        began, self._in_shutdown = time.monotonic(), True
        try:
            self._shut_down(deadline)
        finally:
            self._in_shutdown = False
            self._exit_budget_s = max(0.0, self._exit_budget_s - (time.monotonic() - began))

    def _begin_shutting(self) -> None:
        self._shutting = threading.RLock()
        self._in_shutdown = False

    def _shut_down(self, deadline: float) -> None:
        if self._started or self._left_for_us():
            self._flush(deadline, everything=True, hurried=True)
            # What callbacks have ended while they were handed what was pending: spans of their own.
            rest = [sender for sender in self._senders if sender.pending and not sender.known_down]
            if any(isinstance(sender.destination, CallbackDestination) for sender in self._senders) and rest:
                self._flush(deadline, everything=True, hurried=True, senders=rest)
        self._shut = True
        self._all_sent = self.pending == 0
        self._at_shutdown = self.figures
        if self._talkative:
            self._say_what_is_kept()
        stopped: list[bool] = []
        for sender in self._senders:
            left_s = max(_PATIENCE_WITH_EXPORTERS_S, deadline - time.monotonic())
            patience_s = _PATIENCE_WITH_THREADS_S if sender.busy else left_s
            stopped.append(sender.stop(patience_s, sender.destination.shutdown))
        # A thread that is still waiting for an answer may come back to the files; the kernel lets go of them.
        if all(stopped):
            self.spool.close()

    def after_fork_in_child(self) -> None:
        """Begin anew, with nothing of the parent's."""
        self._process = os.getpid()
        self._started = False
        self._unsent = 0
        self._begin_shutting()
        self._changing = threading.Lock()
        self.spool.after_fork_in_child()
        self._senders = [sender for sender in self._senders if OF_CALL not in sender.destination.identity]
        self._removed.clear()
        for sender in self._senders:
            sender.after_fork_in_child()

    def _sender(self, destination: Destination) -> Sender:
        metrics = self._metrics.of_exporter(destination.component_type)
        by_call = ByCall(destination, credentials)
        accounts = Accounts(by_call, self.spool, self) if by_call.applies else None
        return Sender(destination, self.spool, self._settings, self._dead_letters, metrics, accounts=accounts)

    def _flush(
        self, deadline: float, *, everything: bool, hurried: bool = False, senders: Sequence[Sender] | None = None
    ) -> bool:
        flushed = self._senders if senders is None else senders
        flushes = [
            (sender, sender.flush(everything=everything, timeout_s=deadline - time.monotonic())) for sender in flushed
        ]
        delivered = True
        hurried_deadline = min(deadline, time.monotonic() + _PATIENCE_WITH_KNOWN_DOWN_S)
        for sender, flush in flushes:
            patience = hurried_deadline if hurried and sender.known_down else deadline
            delivered = flush.wait(patience) and delivered
        # Accounts of calls that it has turned out meanwhile something waits for.
        further = [sender for sender in self._senders if sender not in flushed] if senders is None else []
        if further and time.monotonic() < deadline:
            delivered = self._flush(deadline, everything=everything, hurried=hurried, senders=further) and delivered
        return delivered

    def _say_what_is_kept(self) -> None:
        kept = [text for sender in self._senders if (text := _of(sender, sender.pending - sender.pending_in_memory))]
        lost = [text for sender in self._senders if (text := _of(sender, sender.pending_in_memory))]
        parts: list[str] = []
        if kept:
            parts.append(
                f"kept {', '.join(kept)} in {self.spool.root}; the next process with the same destination sends them, "
                "`callspan show` shows them"
            )
        if lost:
            parts.append(f"could not send {', '.join(lost)}, which were in memory only and are lost")
        if parts:
            with contextlib.suppress(Exception):  # there may be no stderr any more
                sys.stderr.write(f"callspan: {'; '.join(parts)}\n")
                sys.stderr.flush()


def _of(sender: Sender, count: int) -> str:
    if count <= 0:
        return ""
    reason = f" ({sender.troubles.reason})" if sender.troubles.reason else ""
    return f"{count} {'span' if count == 1 else 'spans'} for {sender.destination.identity}{reason}"


_instances: weakref.WeakSet[Delivery] = weakref.WeakSet()
_forking = threading.local()


def _before_fork() -> None:
    # The same ones afterwards, whatever is collected meanwhile.
    _forking.instances = list(_instances)
    for delivery in _forking.instances:
        delivery.spool.before_fork()


def _after_fork_in_parent() -> None:
    for delivery in _forking.__dict__.pop("instances", []):
        delivery.spool.after_fork_in_parent()


def _after_fork_in_child() -> None:
    # Some fork without telling anybody before (uWSGI).
    instances: list[Delivery] = _forking.__dict__.pop("instances", None) or list(_instances)
    for delivery in instances:
        with contextlib.suppress(Exception):
            delivery.after_fork_in_child()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
