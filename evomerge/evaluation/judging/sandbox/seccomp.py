"""Refuse system calls that reach out of an answer's process, by a seccomp filter.

The list names what is refused, not what is allowed: Python's library uses some 150 calls, every new libc adds others,
and a right answer must not fail on one. Calls newer than this table do not exist for the answer.
Source: man 2 seccomp; numbers: the kernel's syscall_64.tbl and asm-generic/unistd.h.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Iterable

from evomerge.evaluation.judging.sandbox.kernel import COLUMN, syscall
from evomerge.evaluation.judging.sandbox.settings import SandboxUnavailable

_NONE = -1
# Name -> number on x86_64, on aarch64; from 424 on they are the same everywhere.
_REFUSED: dict[str, tuple[int, int] | int] = {
    # Processes and threads.
    "fork": (57, _NONE), "vfork": (58, _NONE), "clone": (56, 220), "execve": (59, 221), "execveat": (322, 281),
    # Other processes: signals, memory, descriptors, scheduling.
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "pidfd_send_signal": 424, "pidfd_open": 434, "pidfd_getfd": 438,
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "process_madvise": 440, "process_mrelease": 448, "migrate_pages": (256, 238), "move_pages": (279, 239),
    "setpriority": (141, 140), "sched_setparam": (142, 118), "sched_setscheduler": (144, 119),
    "sched_setaffinity": (203, 122), "sched_setattr": (314, 274), "ioprio_set": (251, 30),
    # Network. socketpair stays: asyncio wants one, and it leads nowhere.
    "socket": (41, 198), "connect": (42, 203), "accept": (43, 202), "bind": (49, 200), "listen": (50, 201),
    "accept4": (288, 242),
    # What Landlock does not cover: mode, owner, times and attributes of files; devices; handles.
    "chmod": (90, _NONE), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": 452, "chown": (92, _NONE),
    "fchown": (93, 55), "lchown": (94, _NONE), "fchownat": (260, 54), "utime": (132, _NONE), "utimes": (235, _NONE),
    "futimesat": (261, _NONE), "utimensat": (280, 88), "setxattr": (188, 5), "lsetxattr": (189, 6),
    "fsetxattr": (190, 7), "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
    "setxattrat": 463, "removexattrat": 466, "file_setattr": 469, "mknod": (133, _NONE), "mknodat": (259, 33),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "fanotify_init": (300, 262),
    # File systems and namespaces.
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "unshare": (272, 97),
    "setns": (308, 268), "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432,
    "fspick": 433, "mount_setattr": 442, "statmount": 457, "listmount": 458, "open_tree_attr": 467,
    "quotactl": (179, 60), "quotactl_fd": 443, "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89),
    # Memory that no limit counts, and what processes could meet in.
    "memfd_create": (319, 279), "memfd_secret": 447, "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195),
    "semget": (64, 190), "semop": (65, 193), "semctl": (66, 191), "semtimedop": (220, 192), "msgget": (68, 186),
    "msgsnd": (69, 189), "msgrcv": (70, 188), "msgctl": (71, 187), "mq_open": (240, 180), "mq_unlink": (241, 181),
    # The kernel itself.
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
    "io_setup": (206, 0), "io_submit": (209, 2), "add_key": (248, 217), "request_key": (249, 218),
    "keyctl": (250, 219), "reboot": (169, 142), "syslog": (103, 116), "sethostname": (170, 161),
    "setdomainname": (171, 162), "settimeofday": (164, 170), "clock_settime": (227, 112), "adjtimex": (159, 171),
    "clock_adjtime": (305, 266), "iopl": (172, _NONE), "ioperm": (173, _NONE), "modify_ldt": (154, _NONE),
    "personality": (135, 92), "seccomp": (317, 277), "vhangup": (153, 58),
}  # fmt: skip
_NEWEST = 470
_NOTHING = 0xFFFFFFFF  # no call has this number
_CLONE3 = 435
_PRLIMIT, _PRCTL, _SECCOMP = (302, 261), (157, 167), (317, 277)
_PR_SET_PDEATHSIG = 1

_ARCHITECTURE = (0xC000003E, 0xC00000B7)  # AUDIT_ARCH_X86_64, AUDIT_ARCH_AARCH64
_ALLOW, _KILL, _REFUSE, _UNKNOWN = 0x7FFF0000, 0x80000000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
_LOAD, _JUMP_EQUAL, _JUMP_GREATER, _RETURN = 0x20, 0x15, 0x25, 0x06
_NUMBER, _ARCH, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data, little endian
_SET_MODE_FILTER = 1


def refused_numbers() -> list[int]:
    """Numbers, on this machine, of the calls that answers may not make."""
    column = _column()
    numbers = (entry if isinstance(entry, int) else entry[column] for entry in _REFUSED.values())
    return [number for number in numbers if number != _NONE]


def install(refused: Iterable[int], guard_parent: bool = True) -> None:
    """Let every system call of numbers ``refused`` fail with EPERM from now on, in this process and its children.

    Calls newer than the table become unknown; foreign calling conventions kill. Needs ``PR_SET_NO_NEW_PRIVS``.

    Args:
        guard_parent: refuse also to outlive the parent and to set limits of another process.

    Raises:
        SandboxUnavailable: the kernel has no seccomp filters or refuses them.
    """
    program = _program(refused, guard_parent)
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(code))
    syscall("seccomp", _SECCOMP, _SET_MODE_FILTER, 0, ctypes.create_string_buffer(header, len(header)))


def _program(refused: Iterable[int], guard_parent: bool) -> bytes:
    column = _column()
    lines = [
        (_LOAD, 0, 0, _ARCH),
        (_JUMP_EQUAL, 1, 0, _ARCHITECTURE[column]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        # x32 calls have numbers from 2^30 on: unknown, too.
        (_JUMP_GREATER, 0, 1, _NEWEST),
        (_RETURN, 0, 0, _UNKNOWN),
        # Unknown rather than refused: libc then falls back to clone.
        (_JUMP_EQUAL, 0, 1, _CLONE3),
        (_RETURN, 0, 0, _UNKNOWN),
    ]
    for number in refused:
        lines += [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, _REFUSE)]
    lines += [
        (_JUMP_EQUAL, 0, 3, _PRLIMIT[column] if guard_parent else _NOTHING),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_JUMP_EQUAL, 4, 0, 0),
        (_RETURN, 0, 0, _REFUSE),
        (_JUMP_EQUAL, 0, 2, _PRCTL[column] if guard_parent else _NOTHING),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_JUMP_EQUAL, 1, 0, _PR_SET_PDEATHSIG),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


def _column() -> int:
    if COLUMN is None:
        raise SandboxUnavailable("seccomp: no table of system calls for this architecture")
    return COLUMN
