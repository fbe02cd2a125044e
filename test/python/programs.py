"""Python programs that start at once: forks of a process that has imported what they need.

    programs.py TEST    runs a test, whose line "# preload: MODULE ..." says what that is

To import Feast takes 3 s of processor time, to import what the companion needs half a second, and the tests
start them a hundred times. So one process imports, and then forks: the test, and whatever programs this asks for.
Each is a process with arguments, environment, folder and output of its own, and ends as Python ends, or by a
signal. The process that forks has imported, and has done nothing else: no connection, no thread of ours.
"""
import gc
import json
import os
import re
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from importlib import import_module
from pathlib import Path

LARGEST_REQUEST = 128 * 1024
asking = None  # the test's end of the socket to the process that forks


# ---- in the test ----

class Program:
    """One that runs. (As subprocess.Popen, of which it has what the tests use; it is not this process' child.)"""

    def __init__(self, argv, env=None, cwd=None, stdout=None, stderr=None):
        """argv as Python's: a file, or -m and a module, and arguments. stdout, stderr: files; without the first
        one both go to a pipe, self.stdout."""
        self.returncode = None
        self.stdout = None
        if stdout is None:
            reading, writing = os.pipe()
            self.stdout, stdout = open(reading, encoding="utf-8"), open(writing, "wb")
            stderr = stdout
        self._status, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        request = {"argv": [str(each) for each in argv], "env": dict(os.environ if env is None else env),
                   "cwd": str(cwd or os.getcwd())}
        socket.send_fds(asking, [json.dumps(request).encode()], [each.fileno() for each in (stdout, stderr, theirs)])
        theirs.close()
        if self.stdout:
            stdout.close()
        self.pid = int(self._status.recv(32))

    def wait(self, timeout=None):
        if self.returncode is None:
            self._status.settimeout(timeout)
            self.returncode = int(self._status.recv(32))
        return self.returncode

    def communicate(self, timeout):
        """What it still says; it is killed if that takes longer."""
        timer = threading.Timer(timeout, self.kill)
        timer.start()
        try:
            output = self.stdout.read()
            self.wait()
        finally:
            timer.cancel()
        return output, None

    def send_signal(self, number):
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self):
        try:
            self.send_signal(signal.SIGKILL)
        except ProcessLookupError:
            pass


def run(argv, env=None, cwd=None, timeout=600):
    """To its end, as subprocess.run() with both outputs as text."""
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        program = Program(argv, env, cwd, stdout, stderr)
        try:
            program.wait(timeout)
        finally:
            program.kill()
        texts = [os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode() for file in (stdout, stderr)]
    return subprocess.CompletedProcess(argv, program.returncode, *texts)


# ---- in the process that forks ----

def preloaded(test):
    """The modules that a test's head names."""
    return [name for names in re.findall(r"^# preload: (.*)", Path(test).read_text(), re.M) for name in names.split()]


def execute(argv):
    sys.argv = list(argv)
    if argv[0] == "-m":
        sys.argv = list(argv[1:])
        runpy.run_module(argv[1], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(argv[0], run_name="__main__")
    sys.exit(0)


def become(request, stdout, stderr):
    """Turns this process, a new one, into the program."""
    for fd, number in ((stdout, 1), (stderr, 2)):
        os.dup2(fd, number)
        os.close(fd)
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    os.chdir(request["cwd"])
    execute(request["argv"])


def start(request, serving, stdout, stderr, status):
    """Forks a program, by way of a process that waits for it: tells its pid at once and its status at last."""
    if os.fork():
        return
    serving.close()
    pid = os.fork()
    if pid == 0:
        status.close()
        become(request, stdout, stderr)
    os.close(stdout)
    os.close(stderr)
    status.send(b"%d" % pid)
    try:
        status.send(b"%d" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    except BrokenPipeError:  # nobody wants to know
        pass
    os._exit(0)


def serve(serving, test):
    """Until the test ends; how it ended."""
    while True:
        message, fds, *_ = socket.recv_fds(serving, LARGEST_REQUEST, 3)
        if not message:
            return os.waitstatus_to_exitcode(os.waitpid(test, 0)[1])
        stdout, stderr, status = fds
        with socket.socket(fileno=status) as status:
            start(json.loads(message), serving, stdout, stderr, status)
        os.close(stdout)
        os.close(stderr)


def main(test):
    global asking
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in preloaded(test):
            import_module(name)
    gc.freeze()  # what all have in common stays shared
    asking, serving = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        serving.close()
        execute([test])
    asking.close()
    status = serve(serving, pid)
    if status < 0:
        os.kill(os.getpid(), -status)
    sys.exit(status)


if __name__ == "__main__":
    import programs  # by the name by which tests import it

    programs.main(sys.argv[1])
