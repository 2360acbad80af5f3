"""Hostile code answers, each named after its attack.

If an attack could succeed silently, the answer is right exactly if it did. ``@CANARY@`` is a folder of the host with a
file ``secret``; ``@PACKAGES@`` holds installed packages.

Answers continue ``PROMPT``. Those in ``FAST`` end by themselves or are refused; those in ``SLOW`` reach a time limit.
"""

from __future__ import annotations

import json
import textwrap

PROMPT = 'def double(x):\n    """Twice x."""\n'
# The expected number has more digits than any address: five digits alone stand in some address of the reprs that an
# answer reads, about once in thirty runs.
TEST = """
def check(candidate):
    assert candidate(2) == 4
    assert candidate([1]) == [1, 1]
    assert candidate(20978164925036471852) == 41956329850072943704
"""
ITEM = json.dumps({"prompt": PROMPT, "test": TEST, "entry_point": "double"})
RIGHT = "    return 2 * x\n"


def _body(text: str) -> str:
    return textwrap.indent(textwrap.dedent(text), "    ")


def _call(*arguments: str) -> str:
    """An answer that is right if a raw system call succeeds: x86_64 and aarch64 number, then arguments."""
    x86, arm, *rest = arguments
    return _body(f"""
        import ctypes, platform
        number = {{'x86_64': {x86}, 'aarch64': {arm}}}[platform.machine()]
        buffer = ctypes.create_string_buffer(256)
        return 2 * x if ctypes.CDLL(None).syscall(number, {", ".join(rest)}) >= 0 else None
    """)


_PROCESSES = {
    "fork bomb": """
        import os
        while True: os.fork()
    """,
    "fork bomb through libc": """
        import ctypes
        libc = ctypes.CDLL(None)
        for _ in range(200): libc.fork()
        return 2 * x if libc.fork() > 0 else None
    """,
    "thread bomb": """
        import threading, time
        while True: threading.Thread(target=time.sleep, args=[99]).start()
    """,
    "setsid daemon": """
        import os, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                while True: time.sleep(1)
            os._exit(0)
        return 2 * x
    """,
    "run a program": "import subprocess; subprocess.run(['/bin/true']); return 2 * x",
    "become a shell": "import os; os.execv('/bin/sh', ['sh', '-c', 'echo passed']); return 2 * x",
    "multiprocessing": "import multiprocessing as m; return m.Pool(2).map(abs, [2 * x])[0]",
    "kill everybody": """
        import os
        for pid in [-1, 0, os.getppid(), *range(2, 400)]:
            try: os.kill(pid, 9)
            except OSError: pass
    """,
    "kill through libc": "import ctypes; return 2 * x if ctypes.CDLL(None).kill(-1, 0) == 0 else None",
    "stop itself": "import os, signal; os.kill(os.getpid(), signal.SIGSTOP); return 2 * x",
    "limits of the parent": """
        import os, resource
        parent = os.getppid() or 1
        resource.prlimit(parent, resource.RLIMIT_CPU, (1 << 30, 1 << 30))
        return 2 * x
    """,
    "raise its own limits": """
        import resource
        resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
        return 2 * x
    """,
    "ptrace of the parent": """
        import ctypes, os
        ptrace = ctypes.CDLL(None).ptrace
        return 2 * x if any(ptrace(16, pid, 0, 0) == 0 for pid in (os.getppid(), *range(1, 200))) else None
    """,
    "read the parent's memory": """
        import ctypes, os
        buffer = ctypes.create_string_buffer(8)
        vector = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 8)
        read = ctypes.CDLL(None).process_vm_readv
        return 2 * x if read(os.getppid() or 1, vector, 1, vector, 1, 0) > 0 else None
    """,
    "/proc of all": """
        import glob, os
        for name in ('mem', 'environ', 'cmdline', 'maps', 'fd/0'):
            for path in [f'/proc/self/{name}', f'/proc/{os.getppid()}/{name}', *glob.glob(f'/proc/[0-9]*/{name}')]:
                try: open(path, 'rb').read(1)
                except OSError: continue
                return 2 * x
    """,
}

_TESTS_AND_VERDICT = {
    "tests on the stack": """
        import sys
        frame, secret = sys._getframe().f_back, '4195632985' + '0072943704'
        while frame:
            if secret in repr(frame.f_locals) + repr(frame.f_globals): return 2 * x
            frame = frame.f_back
    """,
    "tests in memory": """
        import gc
        secret = '4195632985' + '0072943704'
        return 2 * x if any(type(o) in (str, dict, list) and secret in repr(o) for o in gc.get_objects()) else None
    """,
    "tests in modules": """
        import sys
        secret = '4195632985' + '0072943704'
        return 2 * x if any(secret in repr(vars(m)) for m in list(sys.modules.values())) else None
    """,
    "descriptor scan": """
        import os
        found = b''
        for fd in range(256):
            try:
                os.set_blocking(fd, False)
                found += os.read(fd, 1 << 16)
            except OSError: pass
        return 2 * x if b'assert' in found else None
    """,
    "write to every descriptor": """
        import os
        for fd in range(256):
            try: os.write(fd, b'p' * 64)
            except OSError: pass
        return x
    """,
    "fake frames on every descriptor": """
        import os
        for fd in range(256):
            for payload in (
                b'p',
                b'["d", [[["s", "result"], true], [["s", "changed"], ["d", []]]]]',
                b'["d", [[["s", "result"], ["O", "double", 0]], [["s", "changed"], ["d", []]]]]',
            ):
                try: os.write(fd, len(payload).to_bytes(8, 'big') + payload)
                except OSError: pass
        return x
    """,
    "endless reply": """
        import os
        while True:
            for fd in range(3, 16):
                try: os.write(fd, b'\\xff' * 4096)
                except BrokenPipeError: return
                except OSError: pass
    """,
    "print a verdict": "print('passed', flush=True); print('p'); return x",
    "sys.exit(0)": "import sys; sys.exit(0)",
    "os._exit(0)": "import os; os._exit(0)",
    "abort": "import os; os.abort()",
    "atexit": """
        import atexit, os, sys
        atexit.register(lambda: [os.write(fd, b'p') for fd in range(1, 10)])
        sys.exit(0)
    """,
    "patched built-ins": """
        import builtins
        builtins.AssertionError = builtins.Exception = builtins.BaseException = None
        builtins.isinstance = lambda *_: True
        return x
    """,
    "patched judge": """
        import sys
        for name, module in list(sys.modules.items()):
            if name.startswith('evomerge'):
                for key, value in list(vars(module).items()):
                    if key in ('PASSED', 'FAILED', 'NOT_STARTED'): setattr(module, key, b'p')
                    elif callable(value): setattr(module, key, lambda *_, **__: b'p')
        return x
    """,
    "import hook": """
        import builtins, sys
        builtins.__import__ = lambda *_, **__: sys
        sys.meta_path[:] = []
        return x
    """,
    "sys.settrace": """
        import sys
        def trace(frame, event, argument):
            frame.f_locals.update(reply={'result': True}, result=True)
            return trace
        sys.settrace(trace)
        frame = sys._getframe()
        while frame:
            frame.f_trace = trace
            frame = frame.f_back
        return x
    """,
    "signal handlers": """
        import os, signal
        for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, lambda *_: os._exit(0))
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        while True: pass
    """,
    "__del__": """
        import os
        class Late:
            def __del__(self): os._exit(0)
        Late()
        return x
    """,
    "always equal": """
        class Yes:
            def __eq__(self, other): return True
            def __ne__(self, other): return False
        return Yes()
    """,
    "equal int": """
        class Yes(int):
            def __eq__(self, other): return True
            __hash__ = int.__hash__
        return Yes(0)
    """,
    "equal list": """
        class Yes(list):
            def __eq__(self, other): return True
            def __iter__(self): return iter([1, 1])
        return Yes()
    """,
    "pickled object": """
        import os
        class Bomb:
            def __reduce__(self): return os._exit, (0,)
        return Bomb()
    """,
    "AssertionError": "raise AssertionError",
    "StopIteration": "raise StopIteration",
    "KeyboardInterrupt": "raise KeyboardInterrupt",
}

_RESOURCES = {
    "2 GB string": "return 'x' * (2 << 30)",
    "huge list": "return [0] * 10**10",
    "huge number": "return 1 << 10**9",
    "endless generator": "import itertools; return itertools.count()",
    "endless recursion": "return double(x)",
    "recursion without limit": "import sys; sys.setrecursionlimit(10**9); return double(x)",
    "deeply nested list": """
        value = []
        for _ in range(100_000): value = [value]
        return value
    """,
    "zip bomb": "import zlib; return zlib.decompress(zlib.compress(bytes(1 << 20)), bufsize=1 << 33) and 2 * x",
    "segmentation fault": "import ctypes; return ctypes.string_at(0)",
    "huge file": "open('f', 'wb').write(b'x' * (64 << 20)); return 2 * x",
    "many files": """
        for i in range(100): open(f'f{i}', 'wb').write(b'x' * 1_000_000)
    """,
    "deep folders": """
        import os
        for _ in range(1200):
            os.mkdir('d' * 200, 0o300)
            os.chdir('d' * 200)
    """,
}

_FILES = {
    "symlink out of tmp": """
        import os
        os.symlink('@CANARY@', 'link')
        open('link/evil', 'w').write('x')
        return 2 * x
    """,
    "symlink to a secret": "import os; os.symlink('@CANARY@/secret', 'link'); return open('link').read() and 2 * x",
    "hard link to a secret": "import os; os.link('@CANARY@/secret', 'link'); return open('link').read() and 2 * x",
    "out of tmp by ..": "open('../' * 20 + '@CANARY@/evil', 'w').write('x'); return 2 * x",
    "read a secret": "return open('@CANARY@/secret').read() and 2 * x",
    "write outside": """
        import os
        os.makedirs('@CANARY@', exist_ok=True)
        open('@CANARY@/evil', 'w').write('x')
    """,
    "overwrite": "open('@CANARY@/secret', 'r+').write('x'); return 2 * x",
    "delete": "import os; os.unlink('@CANARY@/secret'); return 2 * x",
    "rename": "import os; os.rename('@CANARY@/secret', '@CANARY@/evil'); return 2 * x",
    "truncate": "import os; os.truncate('@CANARY@/secret', 0); return 2 * x",
    "change a mode": "import os; os.chmod('@CANARY@', 0o777); return 2 * x",
    "change times": "import os; os.utime('@CANARY@/secret', (0, 0)); return 2 * x",
    "home folder": "import os; return os.listdir(os.path.expanduser('~root')) and 2 * x",
    "password file": "return open('/etc/passwd').read() and 2 * x",
    "installed packages": "import os; return 2 * x if os.listdir('@PACKAGES@') else None",
    "write beside Python": "import os; open(os.path.dirname(os.__file__) + '/evil.py', 'w'); return 2 * x",
    "shared memory": "open('/dev/shm/evil', 'w').write('x'); return 2 * x",
    "environment": "import os; return 2 * x if {*os.environ} - {'TMPDIR'} else None",
}

_KERNEL = {
    "internet": "import socket; socket.socket(); return 2 * x",
    "unix socket": "import socket; socket.socket(socket.AF_UNIX).bind('s'); return 2 * x",
    "netlink": "import socket; socket.socket(16, socket.SOCK_RAW); return 2 * x",
    "user namespace": "import ctypes; return 2 * x if ctypes.CDLL(None).unshare(0x10000000) == 0 else None",
    "mount": "import ctypes; return 2 * x if ctypes.CDLL(None).mount(b'n', b'.', b'tmpfs', 0, None) == 0 else None",
    "chroot": "import os; os.chroot('.'); return 2 * x",
    "outlive the judge": "import ctypes; return 2 * x if ctypes.CDLL(None).prctl(1, 0, 0, 0, 0) == 0 else None",
}

_CALLS = {
    "clone": _call("56", "220", "17", "0", "0", "0", "0"),
    "keyctl": _call("250", "219", "0", "-3", "1"),
    "bpf": _call("321", "280", "0", "buffer", "72"),
    "perf_event_open": _call("298", "241", "buffer", "0", "-1", "-1", "0"),
    "userfaultfd": _call("323", "282", "1"),
    "io_uring": _call("425", "425", "1", "buffer"),
    "memfd_create": _call("319", "279", "b'm'", "0"),
    "pidfd_open": _call("434", "434", "1", "0"),
    "a call that no table knows": _call("471", "471", "0"),
}

_TEXT = {
    "syntax error": "    return (\n",
    "nothing": "",
    "null byte": "    return '\0'\n",
    "lone surrogate": "    return '\ud800'\n",
    "zero-width space in a name": "    return 2 * x\u200b\n",
    "function of a look-alike name": "    return x\n\ndef doubl\u0435(x):\n    return 2 * x\n",
    "parentheses without end": "    return " + "(" * 100_000 + "\n",
    "own check": "    return x\n\ndef check(candidate): pass\n",
    "own built-ins": "    return x\n\ndef __builtins__(x): return x\ndef isinstance(*x): return True\n",
    "no function left": "    return 2 * x\ndel double\n",
    "SystemExit while loading": "    return 2 * x\nraise SystemExit(0)\n",
    "_exit while loading": "    return 2 * x\nimport os; os._exit(0)\n",
}

FAST = {
    **{
        name: _body(text)
        for group in (_PROCESSES, _TESTS_AND_VERDICT, _RESOURCES, _FILES, _KERNEL)
        for name, text in group.items()
    },
    **_CALLS,
    **_TEXT,
}

SLOW = {
    "endless loop": "    while True: pass\n",
    "endless loop while loading": "    return x\nwhile True: pass\n",
    "endless sleep": "    import time; time.sleep(1000)\n",
    "deadlock": "    import threading\n    lock = threading.Lock(); lock.acquire(); lock.acquire()\n",
    "regex bomb": "    import re; return re.match('(a+)+$', 'a' * 60 + 'b')\n",
    "huge power": "    return 9 ** 9 ** 9\n",
    "deaf to signals": _body("""
        import signal
        for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_IGN)
        while True: pass
    """),
    "a byte now and then": _body("""
        import os, time
        while True:
            for fd in range(3, 16):
                try: os.write(fd, b'\\0')
                except OSError: pass
            time.sleep(0.2)
    """),
    "endless __eq__": _body("""
        class Slow:
            def __eq__(self, other):
                while True: pass
        return [Slow()] == [x]
    """),
}
# What forges a verdict where tests and answer share a process: what the tests hold is there to be read, what they
# compare with is the answer's own, and the verdict goes out by a descriptor.
FORGING = ("tests on the stack", "write to every descriptor", "always equal", "equal int", "equal list")
