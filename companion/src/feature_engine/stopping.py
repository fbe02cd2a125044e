"""SIGINT and SIGTERM.

Work runs in a thread of its own, and the main thread does nothing but wait for it and take signals, so
that neither a long statement nor a library's own handling of Ctrl-C comes in between. It waits at a socket
that each signal writes to: in Thread.join() one that comes just before the wait would go unheard. The first signal
asks the work to stop at the next point where everything is whole; the second one cancels the statement
that is running; the third one kills, as the default does.
"""

import select
import signal
import socket
import threading


class Aborted(Exception):
    """Raised in the work when a second signal has come."""


class Stop:
    def __init__(self, say=lambda text: None):
        self.signal = None
        self.say = say
        self._asked = threading.Event()
        self._aborted = threading.Event()
        self._cancel = None

    def asked(self):
        return self._asked.is_set()

    def wait(self, seconds):
        """Sleeps; true when it was asked to stop meanwhile."""
        return self._asked.wait(seconds)

    def check(self):
        """For the inside of a piece of work, where only a second signal ends it."""
        if self._aborted.is_set():
            raise Aborted()

    def cancels(self, function):
        """What to call, from another thread, to end the statement that is running; None: nothing is."""
        self._cancel = function

    def run(self, work):
        """Calls work() in a thread of its own; returns what it returns or raises what it raises."""
        outcome = {}
        wakeups, waker = socket.socketpair()
        for end in (wakeups, waker):
            end.setblocking(False)

        def body():
            try:
                outcome["value"] = work()
            except BaseException as error:  # handed over to the main thread
                outcome["error"] = error
            finally:
                waker.send(b"\0")

        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        threading.Thread(target=body, name="work", daemon=True).start()
        while not outcome:
            select.select([wakeups], [], [])
            wakeups.recv(64)
        if "error" in outcome:
            raise outcome["error"]
        return outcome["value"]

    def _on_signal(self, number, frame):
        self.signal = number
        if not self._asked.is_set():
            self._asked.set()
            self.say("stopping after the current file (again: at once)")
            return
        self._aborted.set()
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_DFL)
        if self._cancel:
            self._cancel()
