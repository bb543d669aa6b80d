"""``recitative`` for tests without the seconds that a process takes to import PyTorch.

``command_server.py serve FD`` imports the command line once, and answers every connection to the listening socket FD
with a fork that becomes the program: with the arguments, folder, environment, cores and standard streams of the
caller, a pid of its own, signals and an exit status as any process has them. Such a caller is
``command_server.py call NAME PROGRAM ARGUMENT...``. PROGRAM is ``recitative``, or ``python3`` and a script as its first
argument. What a process reads before it begins (PYTHONIOENCODING), and what it must not import, needs a process from
its beginning.
"""

import array
import json
import os
import signal
import socket
import struct
import sys

NUMBER = struct.Struct("!I")
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STREAMS = ((0, "r", "strict"), (1, "w", "strict"), (2, "w", "backslashreplace"))


def call(name, program, arguments):
    """Let the server at the abstract address ``name`` run the program, and end as it does."""
    server = socket.socket(socket.AF_UNIX)
    server.connect(f"\0{name}")
    for number in PASSED_ON:
        signal.signal(number, lambda number, frame: server.send(bytes([number])))
    wish = json.dumps([program, arguments, os.getcwd(), dict(os.environ), list(os.sched_getaffinity(0))]).encode()
    server.sendmsg([NUMBER.pack(len(wish))], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
    server.sendall(wish)
    answer = server.recv(NUMBER.size)
    if not answer:
        sys.exit("error: the server of the tests' commands has gone")
    status = os.waitstatus_to_exitcode(NUMBER.unpack(answer)[0])
    if status < 0:
        if -status in PASSED_ON:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


def serve(listener):
    """Answer until the process that started the server is gone, which closes its end of our standard input."""
    import gc
    import select

    import torchaudio  # noqa: F401  and torch with it

    import recitative.cli.main  # noqa: F401
    from recitative import terminal

    terminal.LINE_EVERY_S = 3600  # so that a slow machine adds no lines to what commands write
    gc.freeze()  # forks leave these pages as they are
    signal.signal(signal.SIGCHLD, reap)
    while True:
        ready, _, _ = select.select([listener, 0], [], [])
        if 0 in ready:
            return
        caller, _ = listener.accept()
        if not os.fork():
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            attend(caller)
        caller.close()


def reap(number, frame):
    """Let those that have attended to a caller go; their times become the server's."""
    import contextlib

    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def attend(caller):
    """Start what a caller asks for, pass on its signals, tell it the status; does not return."""
    import contextlib
    import threading

    head, streams, _, _ = socket.recv_fds(caller, NUMBER.size, 3)
    length, wish = NUMBER.unpack(head)[0], b""
    while len(wish) < length:
        wish += caller.recv(length - len(wish))
    pid = os.fork()
    if not pid:
        caller.close()
        become(streams, *json.loads(wish))

    def pass_on():
        with contextlib.suppress(ProcessLookupError):
            while number := caller.recv(1):
                os.kill(pid, number[0])
            os.kill(pid, signal.SIGKILL)  # the caller itself was killed

    for stream in streams:
        os.close(stream)
    threading.Thread(target=pass_on, daemon=True).start()
    _, status = os.waitpid(pid, 0)
    caller.sendall(NUMBER.pack(status))
    os._exit(0)


def become(streams, program, arguments, folder, environment, cores):
    """The program, from its beginning to its end; does not return."""
    import atexit
    import threading
    import traceback

    for stream, (number, mode, errors) in zip(streams, STREAMS, strict=True):
        os.dup2(stream, number)
        os.close(stream)
        buffering = 1 if number == 2 or os.isatty(number) else -1
        opened = open(number, mode, buffering, encoding="utf-8", errors=errors, closefd=False)  # noqa: SIM115
        setattr(sys, ("stdin", "stdout", "stderr")[number], opened)
    os.chdir(folder)
    os.sched_setaffinity(0, cores)
    os.environ.clear()
    os.environ.update(environment)
    try:
        start(program, arguments)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            status = status or 120  # as Python itself says that its output went nowhere
    os._exit(status)  # taking PyTorch apart takes longer than all of this


def start(program, arguments):
    if program == "recitative":
        from recitative.cli.main import main

        sys.argv = [program, *arguments]
        main()
    else:
        import runpy

        sys.argv = arguments
        sys.path[0] = os.path.dirname(os.path.abspath(arguments[0]))
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    if sys.argv[1] == "call":
        call(sys.argv[2], sys.argv[3], sys.argv[4:])
    serve(socket.socket(fileno=int(sys.argv[2])))
