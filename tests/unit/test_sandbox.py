"""Every promise of the sandbox, attacked. `free` runs the same attack unconfined, to show that it would work."""

import ast
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from components import sandbox
from components.errors import SandboxUnavailable
from components.sandbox import Limits, run

WHY_NOT = sandbox.why_not()
isolated = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)


def free(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    return done.stdout


@isolated
def test_a_program_gets_its_input_and_its_output_comes_back():
    ran = run("import sys; print(sys.stdin.read() + '!'); sys.stderr.write('é'); sys.exit(3)", stdin="日本")
    assert (ran.outcome, ran.exit_code, ran.stdout, ran.stderr) == ("ended", 3, "日本!\n", "é")
    assert ran.peak_bytes and ran.peak_bytes < 64 << 20


@isolated
def test_the_exit_code_of_a_failed_start_is_a_programs_own_too():
    assert [run(f"import os; os._exit({code})").exit_code for code in (1, 126)] == [1, 126]


@isolated
def test_a_server_on_this_machine_cannot_be_reached():
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=lambda: [server.accept() for _ in range(1)], daemon=True).start()
        port = server.getsockname()[1]
        attack = f"import socket; socket.create_connection(('127.0.0.1', {port}), 3); print('reached')"
        assert "PermissionError" in run(attack).stderr
        assert free(attack) == "reached\n"


@isolated
@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET", "AF_VSOCK", "AF_ALG"])
def test_no_socket_that_leads_outside_can_be_made(family: str):
    """AF_VSOCK is a virtual machine's way to its host, and no namespace holds it."""
    assert "PermissionError" in run(f"import socket; socket.socket(socket.{family}, socket.SOCK_STREAM)").stderr


@isolated
def test_nothing_outside_can_be_written(tmp_path: Path):
    tmp_path.chmod(0o777)
    target = tmp_path / "written"
    attack = (
        "import os, sys\n"
        f"for path in ({str(target)!r}, '/written', '/usr/lib/written', '/job/program', os.__file__, '/dev/written'):\n"
        "    try: open(path, 'w').write('x'); print('written', path)\n"
        "    except OSError: pass\n"
        f"os.makedirs({str(tmp_path)!r}); open({str(target)!r}, 'w').write('x')"  # its own /tmp
    )
    ran = run(attack)
    assert (ran.stdout, ran.exit_code) == ("", 0)
    assert list(tmp_path.iterdir()) == []
    assert "written" in free(f"print('written', open({str(target)!r}, 'w').write('x'))")


@isolated
def test_what_a_program_writes_in_tmp_is_gone_with_it():
    assert run("open('/tmp/kept', 'w').write('x'); print(open('kept').read())").stdout == "x\n"
    assert run("import os; print(os.listdir('/tmp'))").stdout == "[]\n"
    assert not Path("/tmp/kept").exists()


@isolated
def test_secrets_of_the_environment_and_of_files_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    secret = "sesame-5f1c"
    monkeypatch.setenv("BANYAN_SECRET_OF_TEST", secret)
    (tmp_path / "key").write_text(secret)
    (tmp_path / "key").chmod(0o644)
    look = (
        "import os, sys\n"
        "said = repr(dict(os.environ))\n"
        "for path in sys.stdin.read().split():\n"
        "    try: said += open(path, errors='replace').read()\n"
        "    except OSError: pass\n"
        "print(said)\n"
    )
    paths = [str(tmp_path / "key"), "/proc/self/environ", "/proc/1/environ", f"/proc/{os.getpid()}/environ"]
    paths += ["/etc/passwd", "/etc/hostname", str(Path.home() / ".bashrc"), "/proc/cpuinfo"]
    ran = run(look, stdin=" ".join(paths))
    assert ran.exit_code == 0
    assert set(ast.literal_eval(ran.stdout.strip())) <= {"HOME", "LANG", "LC_CTYPE", "PYTHONHASHSEED"}  # no file either
    unconfined = subprocess.run([sys.executable, "-c", look], input=paths[0], capture_output=True, text=True)
    assert unconfined.stdout.count(secret) == 2


@isolated
def test_the_file_system_holds_the_interpreter_and_nothing_of_the_users():
    walk = (
        "import os\n"
        "for folder, folders, files in os.walk('/'):\n"
        "    if folder.startswith(('/usr/lib', '/lib', os.path.dirname(os.__file__))): folders.clear(); continue\n"
        "    for name in files: print(os.path.join(folder, name))\n"
    )
    library = Path(os.__file__).parent.parent
    allowed = {sandbox._interpreter(), "/etc/ld.so.cache", "/job/program", "/job/stdin"}
    found = {path for path in run(walk).stdout.split() if not path.startswith((str(library), "/dev/"))}
    assert found <= allowed
    assert sandbox._interpreter() in found


@isolated
def test_installed_packages_are_not_there():
    assert "ModuleNotFoundError" in run("import numpy").stderr


@isolated
@pytest.mark.parametrize(
    "attack",
    [
        "import os\nwhile True: os.fork()",
        "import subprocess; subprocess.run(['/bin/true'])",
        "import multiprocessing as m; p = m.Process(target=print); p.start()",
        "import os; os.posix_spawn('/bin/true', ['true'], {})",
        "import ctypes; n = ctypes.CDLL(None, use_errno=True).syscall(57); assert n < 0; raise PermissionError",
    ],
    ids=["fork", "subprocess", "multiprocessing", "posix_spawn", "the system call"],
)
def test_a_fork_bomb_does_not_get_its_second_process(attack: str):
    ran = run(attack)
    assert ran.outcome == "ended"
    assert "PermissionError" in ran.stderr


@isolated
def test_threads_are_limited():
    attack = (
        "import threading, time\n"
        "n = 0\n"
        "try:\n"
        "    while n < 100: threading.Thread(target=time.sleep, args=(60,), daemon=True).start(); n += 1\n"
        "finally: print(n, flush=True)\n"
    )
    started = int(run(attack, limits=Limits(num_threads=8, seconds=3)).stdout)
    assert 1 <= started < 8


@isolated
@pytest.mark.parametrize(
    "attack",
    [
        "b = bytearray(1 << 30)",
        "b = []\nwhile True: b.append(bytearray(1 << 20))",
        "import mmap; mmap.mmap(-1, 1 << 30)",
        "import os; os.memfd_create('x')",
        "open('/tmp/big', 'wb').write(bytes(64 << 20))",
        "for n in range(40): open(f'/tmp/{n}', 'wb').write(bytes(1 << 20))",
    ],
    ids=["at once", "bit by bit", "mapped", "a file in memory", "one file in tmp", "many files in tmp"],
)
def test_memory_is_limited(attack: str):
    ran = run(attack)
    assert ran.outcome == "killed" or any(
        word in ran.stderr for word in ("MemoryError", "Cannot allocate", "PermissionError", "No space", "too large")
    )
    assert (ran.peak_bytes or 0) < 300 << 20
    assert run("b = bytearray(100 << 20); print(len(b))").stdout  # within the limit it can be had


@isolated
def test_the_number_of_files_is_limited():
    assert "No space" in run("for n in range(1000): open(f'/tmp/{n}', 'w').close()").stderr
    assert "Too many open files" in run("x = [open('/dev/null') for n in range(1000)]").stderr


@isolated
@pytest.mark.parametrize(
    "attack",
    [
        "while True: pass",
        "import time; time.sleep(60)",
        "import signal, time\nfor n in (1, 2, 15, 24): signal.signal(n, signal.SIG_IGN)\nwhile True: time.sleep(1)",
    ],
    ids=["busy", "asleep", "deaf"],
)
def test_time_is_limited_and_nothing_is_left_running(attack: str):
    ran = run(attack, limits=Limits(seconds=0.5))
    assert (ran.outcome, ran.exit_code) == ("timed out", None)
    assert 0.5 <= ran.seconds < 30
    assert left() == []


def left() -> list[int]:
    return [p.pid for p in psutil.process_iter(["cmdline"]) if "/job/program" in (p.info["cmdline"] or [])]


def said(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it has just ended
        return ""


@isolated
def test_a_killed_launcher_takes_its_program_with_it():
    found: list[str] = []

    def ask() -> None:
        try:
            run("import time; time.sleep(30)", limits=Limits(seconds=30))
        except SandboxUnavailable as err:
            found.append(str(err))

    asked = threading.Thread(target=ask)
    asked.start()
    me = psutil.Process()
    programs: list[psutil.Process] = []
    while not programs:
        programs = [p for p in me.children(recursive=True) if "/job/program" in said(p)]
    [launcher] = [p for p in me.children() if "sandbox_jail" in said(p)]
    launcher.kill()
    asked.join(10)
    psutil.wait_procs(programs, timeout=5)
    assert left() == []
    assert "its launcher ended with -9" in found[0]


@isolated
def test_output_is_limited():
    ran = run("while True: print('x' * 1000)", limits=Limits(output_bytes=2000))
    assert "File too large" in ran.stderr
    assert len(ran.stdout) == 2000


@isolated
@pytest.mark.parametrize(("name", "number"), [("unshare", 272), ("mount", 165), ("ptrace", 101), ("bpf", 321)])
def test_the_calls_that_would_undo_the_isolation_are_refused(name: str, number: int):
    if os.uname().machine != "x86_64":
        pytest.skip("the numbers are of x86-64")
    attack = f"import ctypes, os; c = ctypes.CDLL(None, use_errno=True); r = c.syscall({number}, 0x10000000, 0, 0, 0); "
    ran = run(attack + "print(r, ctypes.get_errno())")
    assert ran.stdout == "-1 1\n"


@isolated
def test_processes_of_the_machine_are_neither_seen_nor_signalled():
    attack = f"import os\nprint(os.getpid(), os.getppid())\nos.kill({os.getpid()}, 9)"
    ran = run(attack)
    assert ran.stdout == "2 1\n"
    assert "ProcessLookupError" in ran.stderr
    assert run("import os; os.kill(1, 9); print('it lives on')").stdout == "it lives on\n"


@pytest.mark.skipif(not shutil.which("unshare") or bool(WHY_NOT), reason="needs user namespaces to take them away")
def test_where_namespaces_are_not_to_be_had_nothing_runs(tmp_path: Path):
    """Within a user namespace that may make no other: as in a container whose profile forbids it."""
    check = "from components import sandbox; print(sandbox.why_not())"
    shell = 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$0" -c "$1"'
    root = Path(sandbox.__file__).parents[1]
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "sh", "-c", shell, sys.executable, check],
        cwd=root, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "code was not run: unshare: No space left on device" in done.stdout
    assert "no way to run the code without" in done.stdout


def test_a_step_that_fails_means_that_nothing_runs(monkeypatch: pytest.MonkeyPatch):
    binds, links, hidden = sandbox._visible()
    monkeypatch.setattr(sandbox, "_visible", lambda: ([*binds, "/not/there"], links, hidden))
    with pytest.raises(SandboxUnavailable, match="code was not run"):
        run("print('ran')")


def test_another_system_than_linux_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(SandboxUnavailable, match="not run on darwin"):
        run("print('ran')")


@isolated
def test_a_user_who_is_not_root_gets_the_same(tmp_path: Path):
    if os.getuid() != 0 or not shutil.which("unshare"):
        pytest.skip("every other test here is that test")
    check = (
        "from components import sandbox; print(sandbox.why_not(), sandbox.run('import os; print(os.getuid())').stdout)"
    )
    done = subprocess.run(
        ["unshare", "--user", "--map-user=1000", "--map-group=1000", sys.executable, "-c", check],
        cwd=Path(sandbox.__file__).parents[1], capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.strip() == "1"
