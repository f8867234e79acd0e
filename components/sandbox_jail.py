"""Run as a script by `sandbox.py`: builds the isolation, then executes one program in it.

Standard library only, because it is started by the bare interpreter. Four processes: this one makes the namespaces
and watches the clock; a helper of root's writes the user mapping; the first process of the new process namespace
builds the file system and gives up every privilege; its child is the program. Whatever step fails, nothing is run and
the reason is printed: `{"refused": …}`.

Sources: namespaces(7), user_namespaces(7), pivot_root(2), mount_setattr(2), seccomp(2), capabilities(7), prctl(2).
"""

# The paths are those of the new root; pathlib would double the time to start.
# ruff: noqa: PTH102, PTH103, PTH106, PTH108, PTH112, PTH115, PTH120, PTH123, PTH208, PTH211, S108, S606

import ctypes
import json
import os
import platform
import resource
import select
import signal
import socket
import struct
import sys
import time
from typing import Any, NoReturn

libc = ctypes.CDLL(None, use_errno=True)

NEWNS, NEWCGROUP, NEWUTS, NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
NEWUSER, NEWPID, NEWNET = 0x10000000, 0x20000000, 0x40000000
NAMESPACES = ("user", "mnt", "net", "ipc", "uts", "cgroup")
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_BIND, MS_PRIVATE = 2, 4, 8, 16384, 4096, 1 << 18
ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV, AT_RECURSIVE, MNT_DETACH = 1, 2, 4, 0x8000, 2
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_GET_SECCOMP, PR_SET_SECCOMP = 1, 4, 21, 22
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS = 24, 38, 39
INSIDE_UID, NOBODY = 1, 65534

MOUNT_SETATTR, PIVOT_ROOT = 442, {"x86_64": 155, "aarch64": 41}
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
CLONE, SOCKET = {"x86_64": 56, "aarch64": 220}, {"x86_64": 41, "aarch64": 198}
CLONE3, CLONE_THREAD, EPERM, ENOSYS = 435, 0x10000, 1, 38
BOTH = (425, 426, 427, 428, 429, 430, 431, 432, 433, 438, 442, 447)
"""io_uring, the mount calls of 2019, pidfd_getfd, mount_setattr, memfd_secret: numbered alike everywhere."""
FORBIDDEN = {
    # fork vfork ptrace process_vm_* mount umount2 pivot_root chroot unshare setns bpf perf_event_open keyctl add_key
    # request_key userfaultfd kexec* *_module reboot swap* *_handle_at memfd_create shmget msgget semget mq_open acct
    # quotactl syslog settimeofday clock_settime adjtimex clock_adjtime iopl ioperm modify_ldt vhangup fanotify_init
    "x86_64": "57 58 101 310 311 165 166 155 161 272 308 321 298 250 248 249 323 246 320 175 313 176 169 167 168 303 "
    "304 319 29 68 64 240 163 179 103 164 227 159 305 172 173 154 153 300",
    "aarch64": "117 270 271 40 39 41 51 97 268 280 241 219 217 218 282 104 294 105 273 106 142 224 225 264 265 279 194 "
    "186 190 180 89 60 116 170 112 171 266 58 262",
}


class Refused(Exception):
    """Isolation is not to be had here."""


def main() -> None:
    job = json.load(sys.stdin.buffer)
    try:
        answer = launch(job)
    except (Refused, OSError) as err:
        answer = {"refused": str(err)}
    sys.stdout.write(json.dumps(answer))


def launch(job: dict[str, Any]) -> dict[str, Any]:
    """Run the job: `program`, `stdin`, `exe`, `binds`, `links`, `hidden` (paths), `limits`."""
    if platform.machine() not in AUDIT_ARCH:
        raise Refused(f"system calls are not known on {platform.machine()}")
    out, err = os.memfd_create("stdout"), os.memfd_create("stderr")
    told, tell = os.pipe2(os.O_CLOEXEC)
    before = _namespaces()
    _own_namespaces()
    same = [name for name, number in _namespaces().items() if number == before[name]]
    if same:
        raise Refused(f"still in the namespaces of the system: {', '.join(same)}")
    deadline = time.monotonic() + job["limits"]["seconds"]
    started = time.monotonic()
    inner = os.fork()
    if inner == 0:
        os.close(told)
        _first_process(job, out, err, tell)
    os.close(tell)
    timed_out = _wait(inner, deadline)
    seconds = time.monotonic() - started
    said = os.read(told, 1 << 16).decode("utf-8", "replace")
    report: dict[str, Any] = json.loads(said) if said else {}
    if not report and not timed_out:
        raise Refused("the first process of the new namespace ended without a word")
    if "refused" in report:
        raise Refused(report["refused"])
    most = job["limits"]["output_bytes"]
    report |= {"timed_out": timed_out, "seconds": seconds, "stdout": _read(out, most), "stderr": _read(err, most)}
    return report


def _wait(pid: int, deadline: float) -> bool:
    """True where it had to be killed; the end of a namespace's first process is the end of all in it."""
    watch = os.pidfd_open(pid)
    ready, _, _ = select.select([watch], [], [], max(0.0, deadline - time.monotonic()))
    if not ready:
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return not ready


def _read(fd: int, most: int) -> str:
    return os.pread(fd, most, 0).decode("utf-8", "replace")


# ---------------------------------------------------------------- namespaces


def _namespaces() -> dict[str, str]:
    return {name: os.readlink(f"/proc/self/ns/{name}") for name in NAMESPACES}


def _own_namespaces() -> None:
    """Into new namespaces of every kind. Root is mapped to nobody outside, and inside to a user who is not root."""
    flags = NEWUSER | NEWNS | NEWNET | NEWPID | NEWIPC | NEWUTS | NEWCGROUP
    uid, gid, me = os.getuid(), os.getgid(), os.getpid()
    if uid != 0:
        _call("unshare", libc.unshare(flags))
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{INSIDE_UID} {uid} 1")
        _write("/proc/self/gid_map", f"{INSIDE_UID} {gid} 1")
        return
    ready, done = os.pipe(), os.pipe()
    helper = os.fork()
    if helper == 0:  # only a process outside may map two users
        try:
            os.close(ready[1])
            if os.read(ready[0], 1):
                for name in ("uid_map", "gid_map"):
                    _write(f"/proc/{me}/{name}", f"0 0 1\n{INSIDE_UID} {NOBODY} 1")
                os.write(done[1], b"y")
        finally:
            os._exit(0)
    os.close(done[1])
    _call("unshare", libc.unshare(flags))
    os.write(ready[1], b"y")
    mapped = os.read(done[0], 1)
    os.waitpid(helper, 0)
    if not mapped:
        raise Refused("users could not be mapped into a new namespace")


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _call(name: str, result: int) -> int:
    if result < 0:
        raise Refused(f"{name}: {os.strerror(ctypes.get_errno())}")
    return result


# ---------------------------------------------------------------- the first process of the namespace


def _first_process(job: dict[str, Any], out: int, err: int, tell: int) -> NoReturn:
    try:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        socket.sethostname("sandbox")
        _file_system(job)
        _give_up_privileges()
        _check({path.split("/")[1] for path in [*job["binds"], *job["links"]]})
        report = _program(job, out, err)
    except (Refused, OSError) as error:
        report = {"refused": str(error)}
    os.write(tell, json.dumps(report).encode())
    os._exit(0)


def _file_system(job: dict[str, Any]) -> None:
    """A root of our own: empty but for read-only copies of what an interpreter needs, and /tmp in memory."""
    limits = job["limits"]
    _mount("none", "/", "", MS_REC | MS_PRIVATE)
    _mount("root", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,nr_inodes=512,mode=755")  # any folder that is there
    os.mkdir("/tmp/old")
    _call("pivot_root", libc.syscall(PIVOT_ROOT[platform.machine()], b"/tmp", b"/tmp/old"))
    os.chdir("/")
    for path in job["binds"]:
        source = f"/old{path}"
        if os.path.isdir(source):
            os.makedirs(path, exist_ok=True)
        else:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))
        _mount(source, path, "", MS_BIND | MS_REC)
        _read_only(path, AT_RECURSIVE, devices=path.startswith("/dev/"))
    for link, target in job["links"].items():
        os.makedirs(os.path.dirname(link), exist_ok=True)
        os.symlink(target, link)
    for path in job["hidden"]:
        _mount("hidden", path, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=4k,nr_inodes=2,mode=555")
    os.mkdir("/tmp")
    size = f"size={limits['disk_bytes']},nr_inodes={limits['num_files']},mode=777"
    _mount("tmp", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, size)
    os.mkdir("/job")
    for name in ("program", "stdin"):
        with open(f"/job/{name}", "w", encoding="utf-8", errors="surrogatepass") as file:
            file.write(job[name])
    _call("umount of the old root", libc.umount2(b"/old", MNT_DETACH))
    os.rmdir("/old")
    _read_only("/", 0)


def _mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    arguments = (source.encode(), target.encode(), kind.encode() or None, ctypes.c_ulong(flags), options.encode())
    _call(f"mount {target}", libc.mount(*arguments))


def _read_only(path: str, flags: int, *, devices: bool = False) -> None:
    attributes = struct.pack("QQQQ", ATTR_RDONLY | ATTR_NOSUID | (0 if devices else ATTR_NODEV), 0, 0, 0)
    _call("mount_setattr", libc.syscall(MOUNT_SETATTR, -100, path.encode(), flags, attributes, len(attributes)))


def _give_up_privileges() -> None:
    with_groups = os.getuid() == 0
    for capability in range(64):
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0:
            break  # past the last one that this kernel has
    if with_groups:
        os.setgroups([])
    os.setresgid(INSIDE_UID, INSIDE_UID, INSIDE_UID)
    os.setresuid(INSIDE_UID, INSIDE_UID, INSIDE_UID)
    none = struct.pack("IIIIII", 0, 0, 0, 0, 0, 0)
    _call("capset", libc.capset(struct.pack("Ii", 0x20080522, 0), none))
    _call("no new privileges", libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # a change of user clears it


def _check(shown: set[str]) -> None:
    """What was promised, tried out. `shown`: the top folders that something was put in."""
    held = ctypes.create_string_buffer(24)
    _call("capget", libc.capget(struct.pack("Ii", 0x20080522, 0), held))
    problems = []
    if os.getpid() != 1:
        problems.append("it sees the system's processes")
    if any(held.raw) or os.getuid() != INSIDE_UID or not libc.prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0):
        problems.append("it keeps privileges")
    for path in ("/written", "/job/written"):
        try:
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
            problems.append(f"{path} can be written")
        except OSError:
            pass
    if more := set(os.listdir("/")) - shown - {"tmp", "job"}:
        problems.append(f"it sees {', '.join(sorted(more))}")
    with open("/tmp/try", "w") as file:
        file.write("x")
    os.unlink("/tmp/try")
    if problems:
        raise Refused("; ".join(problems))


# ---------------------------------------------------------------- the program


def _program(job: dict[str, Any], out: int, err: int) -> dict[str, Any]:
    """Execute it as a child, with limits and a filter of system calls; how it ended."""
    failed, fail = os.pipe2(os.O_CLOEXEC)  # execve closes it: what comes through it is a failure before
    pid = os.fork()
    if pid == 0:
        try:
            for fd, number in ((os.open("/job/stdin", os.O_RDONLY), 0), (out, 1), (err, 2)):
                os.dup2(fd, number)
            os.closerange(3, fail)
            os.closerange(fail + 1, 4096)
            os.chdir("/tmp")
            _limit(job["limits"])
            _filter()
            environment = {"HOME": "/tmp", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"}
            os.execve(job["exe"], [job["exe"], "-s", "-S", "-P", "-B", "-X", "utf8", "/job/program"], environment)
        except (Refused, OSError) as error:
            os.write(fail, str(error).encode())
        os._exit(1)
    os.close(fail)
    if why := os.read(failed, 4096):
        raise Refused(why.decode("utf-8", "replace"))
    while True:
        ended, status, used = os.wait4(-1, 0)
        if ended == pid:
            break
    signalled = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    return {"exit": os.waitstatus_to_exitcode(status), "signal": signalled, "peak_bytes": used.ru_maxrss * 1024}


def _limit(limits: dict[str, Any]) -> None:
    cpu = int(limits["seconds"]) + 1
    for what, most in (
        (resource.RLIMIT_AS, limits["memory_bytes"]),
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_FSIZE, limits["disk_bytes"]),
        (resource.RLIMIT_NOFILE, limits["num_open_files"]),
        (resource.RLIMIT_NPROC, limits["num_threads"] + 1),  # the namespace's first process counts
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
    ):
        resource.setrlimit(what, (most, most))


def _filter() -> None:
    """No new process, no socket but a local pair, nothing that reaches the kernel's wider surface.

    Virtual machines' sockets (AF_VSOCK) know no namespace, so the network namespace alone would not be enough.
    """
    machine = platform.machine()
    code = [(0x20, 0, 0, 4), (0x15, 1, 0, AUDIT_ARCH[machine]), (0x06, 0, 0, 0x80000000), (0x20, 0, 0, 0)]
    if machine == "x86_64":  # the x32 calls have numbers of their own
        code += [(0x35, 0, 1, 0x40000000), (0x06, 0, 0, 0x80000000)]
    for number in (*map(int, FORBIDDEN[machine].split()), *BOTH):
        code += [(0x15, 0, 1, number), (0x06, 0, 0, 0x50000 | EPERM)]
    code += [(0x15, 0, 1, CLONE3), (0x06, 0, 0, 0x50000 | ENOSYS)]  # the C library then uses clone, which can be read
    allow, deny = (0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, 0x50000 | EPERM)
    code += [(0x15, 0, 4, CLONE[machine]), (0x20, 0, 0, 16), (0x45, 0, 1, CLONE_THREAD), allow, deny]
    code += [(0x15, 0, 4, SOCKET[machine]), (0x20, 0, 0, 16), (0x15, 0, 1, int(socket.AF_UNIX)), allow, deny]
    code.append(allow)
    packed = b"".join(struct.pack("HBBI", *line) for line in code)
    buffer = ctypes.create_string_buffer(packed, len(packed))
    program = struct.pack("HxxxxxxP", len(code), ctypes.addressof(buffer))
    _call("seccomp", libc.prctl(PR_SET_SECCOMP, 2, program, 0, 0))
    if libc.prctl(PR_GET_SECCOMP, 0, 0, 0, 0) != 2:
        raise Refused("system calls are not filtered")


if __name__ == "__main__":
    main()
