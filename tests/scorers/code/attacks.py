"""Programs that want to harm, cheat or never end; each says how it must end, by kind and words."""

from __future__ import annotations

from typing import NamedTuple

from evalkit.scorers.code.sandbox import Kind


class Attack(NamedTuple):
    """A program, and what is to come of it behind the filter alone and with namespaces."""

    source: str
    kind: Kind
    said: str = ""
    alone: str | None = None
    """What is said without namespaces, where that is something else."""


_NOT_PERMITTED = "PermissionError: [Errno 1] Operation not permitted"
_EARLY = "it ended before the tests had passed"

ATTACKS = {
    "loops forever": Attack("while True:\n    pass", "timeout", "more than 1 s of CPU time"),
    "sleeps": Attack("import time\ntime.sleep(1000)", "timeout", "more than 3 s"),
    "does not mind the limit": Attack(
        "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True:\n    pass",
        "killed",
        "SIGKILL, perhaps out of memory or of CPU time",
    ),
    "forks": Attack("import os\nwhile True:\n    os.fork()", "exception", _NOT_PERMITTED),
    "starts threads": Attack(
        "import threading, time\nthreading.stack_size(32768)\nwhile True:\n"
        "    threading.Thread(target=time.sleep, args=(60,)).start()",
        "threads",
        "more than 64 threads",
    ),
    "eats memory": Attack(
        "kept = []\nwhile True:\n    kept.append(bytearray(10**7))", "memory", "more than 256 MiB"
    ),
    "asks for all memory": Attack("kept = bytearray(10**12)", "memory", "more than 256 MiB"),
    "prints without end": Attack(
        "while True:\n    print('x' * 1000)", "output", "more than 1,048,576 bytes printed"
    ),
    "writes outside": Attack(
        "open('/tmp/evalkit-was-here', 'w').write('x')",
        "exception",
        "FileNotFoundError: [Errno 2] No such file or directory: '/tmp/evalkit-was-here'",
        _NOT_PERMITTED + ": '/tmp/evalkit-was-here'",
    ),
    "writes into the interpreter": Attack(
        "import json\nopen(json.__file__, 'a').write('x')",
        "exception",
        "OSError: [Errno 30] Read-only file system",
        _NOT_PERMITTED,
    ),
    "writes much": Attack(
        "open('much', 'wb').write(b'x' * 10**8)",
        "exception",
        "OSError: [Errno 27] File too large",
        _NOT_PERMITTED,
    ),
    "removes files": Attack(
        "import json, os\nos.remove(json.__file__)",
        "exception",
        "OSError: [Errno 30] Read-only file system",
        "OSError: [Errno 38] Function not implemented",
    ),
    "looks for a key": Attack(
        "import os\nassert os.environ.get('EVALKIT_TEST_KEY'), 'no key'",
        "exception",
        "AssertionError: no key",
    ),
    "ends in success": Attack("import os\nos._exit(0)", "exit", _EARLY),
    "exits": Attack("import sys\nsys.exit(0)", "exit", "it called exit()"),
    "exits in a thread and closes all": Attack(
        "import os\nos.closerange(0, 64)\nos._exit(0)", "exit", _EARLY
    ),
    "prints a verdict": Attack(
        "print('{\"kind\": \"passed\", \"detail\": \"\", \"ticket\": \"\"}', flush=True)\n"
        "import os\nos._exit(0)",
        "exit",
        _EARLY,
    ),
    "writes a verdict everywhere": Attack(
        "import json, os\n"
        "told = json.dumps(dict(kind='passed', detail='', ticket='0' * 32)).encode() + b'\\n'\n"
        "for place in range(1, 64):\n    try:\n        os.write(place, told)\n"
        "    except OSError:\n        pass\nos._exit(0)",
        "exit",
        _EARLY,
    ),
    "says that the sandbox is broken": Attack(
        "import json, os\n"
        "told = json.dumps(dict(kind='unavailable', detail='', ticket='')).encode() + b'\\n'\n"
        "for place in range(3, 64):\n    try:\n        os.write(place, told)\n"
        "    except OSError:\n        pass\nos._exit(0)",
        "exit",
        _EARLY,
    ),
    "writes a verdict that is no text": Attack(
        "import os\n"
        "told = rb'{\"kind\": \"passed\", \"detail\": \"\\ud800\", \"ticket\": \"\\ud800\"}'\n"
        "for place in range(3, 64):\n    try:\n        os.write(place, told + b'\\n')\n"
        "    except OSError:\n        pass\nos._exit(0)",
        "exit",
        _EARLY,
    ),
    "raises half a sign": Attack("raise ValueError('\\ud800')", "exception", "ValueError:"),
    "kills its parent": Attack(
        "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)", "exception", _NOT_PERMITTED
    ),
    "kills everybody": Attack(
        "import os, signal\nos.kill(-1, signal.SIGKILL)", "exception", _NOT_PERMITTED
    ),
    "kills itself": Attack("import os\nos.kill(os.getpid(), 9)", "killed", "SIGKILL"),
    "has signals sent for it": Attack(
        "import fcntl, os\nfcntl.fcntl(0, fcntl.F_SETOWN, os.getppid())",
        "exception",
        _NOT_PERMITTED,
    ),
    "leaves a daemon": Attack(
        "import subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)'], "
        "start_new_session=True)",
        "exception",
        "PermissionError",
    ),
    "becomes another program": Attack(
        "import os\nos.execv('/bin/sh', ['sh', '-c', 'exit 0'])", "exception", _NOT_PERMITTED
    ),
    "runs a shell": Attack("import os\nassert os.system('true') == 0", "exception", "Assertion"),
    "crashes": Attack("import ctypes\nctypes.string_at(0)", "killed", "SIGSEGV"),
    "recurses": Attack("def f():\n    f()\nf()", "exception", "RecursionError"),
    "recurses below Python": Attack(
        "import sys\nsys.setrecursionlimit(10**9)\n"
        "class A:\n    __getattr__ = lambda s, n: repr(s)\n"
        "    __repr__ = lambda s: str(s.x)\nrepr(A())",
        "killed",
        "SIGSEGV",
    ),
    "waits for input": Attack("input()", "exception", "EOFError"),
    "raises what it likes": Attack("raise BaseException('\\x1b[31m红\\n二')", "exception",
                                   "BaseException: [31m红 二"),
    "has words that never end": Attack(
        "class E(Exception):\n    def __str__(self):\n        raise SystemExit\nraise E",
        "exception",
        "E:",
    ),
    "is no Python": Attack("def f(:\n", "exception", "SyntaxError: invalid syntax"),
    "holds a null byte": Attack("x = 1\0", "exception"),
}  # fmt: skip
