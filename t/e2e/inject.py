# SPDX-License-Identifier: GPL-2.0-or-later
"""System calls made by a process of assayd as if somebody had taken it over:
ptrace(2) stops its first thread, which makes the call and goes on. x86-64."""
import contextlib
import ctypes
import os
import platform
import signal
import struct

POSSIBLE = platform.machine() == "x86_64" and os.geteuid() == 0
SEIZE, INTERRUPT, GETREGS, SETREGS, STEP, DETACH = 0x4206, 0x4207, 12, 13, 9, 17
WALL = 0x40000000
REGS = ("r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax "
        "rip cs eflags rsp ss fs_base gs_base ds es fs gs").split()
SYSCALL = b"\x0f\x05"
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


class Fault(Exception):
    """The call ended the process: by this signal."""


def ptrace(what, pid, addr=0, data=0):
    if libc.ptrace(what, pid, addr, data) < 0:
        raise OSError(ctypes.get_errno(), f"ptrace {what:#x}")


class Taken:
    """with Taken(pid) as p: p.call(number, arguments); bytes are put on its
    stack and passed by address. A negative result is -errno."""

    def __init__(self, pid):
        self.pid = pid

    def __enter__(self):
        ptrace(SEIZE, self.pid)
        ptrace(INTERRUPT, self.pid)
        os.waitpid(self.pid, WALL)
        self.saved = self.regs()
        self.over = False
        return self

    def __exit__(self, *_):
        if not self.over:
            self.set(self.saved)
            ptrace(DETACH, self.pid)

    def regs(self):
        room = ctypes.create_string_buffer(27 * 8)
        ptrace(GETREGS, self.pid, 0, ctypes.addressof(room))
        return dict(zip(REGS, struct.unpack("27Q", room.raw), strict=True))

    def set(self, regs):
        room = ctypes.create_string_buffer(struct.pack("27Q", *(regs[r] for r in REGS)), 27 * 8)
        ptrace(SETREGS, self.pid, 0, ctypes.addressof(room))

    def call(self, number, *args):
        at = (self.saved["rsp"] - 65536) & ~15
        out = []
        with open(f"/proc/{self.pid}/mem", "r+b", 0) as mem:
            mem.seek(self.saved["rip"] - 2)
            assert mem.read(2) == SYSCALL, "it is not in a system call"
            for a in args:
                if isinstance(a, bytes):
                    mem.seek(at)
                    mem.write(a + b"\0")
                    out.append(at)
                    at += (len(a) + 16) & ~15
                else:
                    out.append(a & (1 << 64) - 1)
        out += [0] * (6 - len(out))
        new = dict(self.saved, rip=self.saved["rip"] - 2, rax=number, orig_rax=(1 << 64) - 1)
        new.update(zip(("rdi", "rsi", "rdx", "r10", "r8", "r9"), out, strict=True))
        self.set(new)
        ptrace(STEP, self.pid)
        _, how = os.waitpid(self.pid, WALL)
        if os.WIFSTOPPED(how) and os.WSTOPSIG(how) == signal.SIGTRAP:
            result = self.regs()["rax"]
            return result - (1 << 64) if result >> 63 else result
        self.over = True
        if not os.WIFSTOPPED(how):
            raise Fault(os.WTERMSIG(how))
        with contextlib.suppress(OSError):
            ptrace(DETACH, self.pid, 0, os.WSTOPSIG(how))
        raise Fault(os.WSTOPSIG(how))
