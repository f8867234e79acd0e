import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import psutil
import pytest

from components.errors import PortTaken, ServiceDown, StackError, WorkspaceBusy
from components.service_logs import prune_run_logs, rotate
from components.settings import Settings
from components.supervisor import (
    MARKER,
    Service,
    Supervisor,
    addresses,
    claim,
    end_leftovers,
    free_port,
    is_running,
    leftovers,
    read_stack,
)

SLEEP = (sys.executable, "-Sc", "import time; time.sleep(60)")


@pytest.fixture
def settings(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("BANYAN_")]:
        monkeypatch.delenv(name)
    return Settings(BANYAN_WORKSPACE=tmp_path / "workspace")


@contextmanager
def supervised(settings, *services, on_event=lambda _: None):
    lock = claim(settings.workspace)
    supervisor = Supervisor(services, workspace=settings.workspace, lock=lock, on_event=on_event)
    supervisor.start()
    try:
        yield supervisor
    finally:
        supervisor.stop()


def web(name, port, **more):
    url = f"http://127.0.0.1:{port}"
    argv = (sys.executable, "-Sm", "http.server", str(port), "--bind", "127.0.0.1")
    return Service(name, argv, url=url, health_url=url, **more)


def until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def pid_of(settings, name):
    return next(s["pid"] for s in read_stack(settings)["services"] if s["name"] == name)


def test_addresses_come_from_the_running_stack_and_settings_win_over_it(settings):
    port = free_port(21000, host="127.0.0.1")
    with supervised(settings, web("mlflow", port)):
        assert addresses(settings).mlflow == f"http://127.0.0.1:{port}"
        elsewhere = settings.model_copy(update={"mlflow_url": "http://elsewhere:5000/"})
        assert addresses(elsewhere).mlflow == "http://elsewhere:5000"
        with pytest.raises(ServiceDown, match="gateway"):
            _ = addresses(settings).gateway


def test_addresses_without_a_stack_name_the_command_that_starts_one(settings):
    with pytest.raises(ServiceDown, match="banyan up"):
        addresses(settings)


def test_addresses_of_a_stack_that_died_are_not_given(settings):
    ended = subprocess.Popen([sys.executable, "-Sc", ""])
    ended.wait()
    settings.workspace.root.mkdir()
    settings.workspace.stack_file.write_text(json.dumps({"pid": ended.pid, "started": 0.0, "urls": {"mlflow": "x"}}))
    with pytest.raises(ServiceDown, match=str(ended.pid)):
        addresses(settings)


def test_addresses_of_a_stack_whose_process_id_now_belongs_to_another_are_not_given(settings):
    settings.workspace.root.mkdir()
    settings.workspace.stack_file.write_text(json.dumps({"pid": os.getpid(), "started": 1.0, "urls": {"mlflow": "x"}}))
    with pytest.raises(ServiceDown):
        addresses(settings)


def test_a_clock_that_is_set_does_not_make_a_running_stack_look_gone(settings, monkeypatch):
    with supervised(settings, Service("sleeper", SLEEP)):
        of_the_day = psutil.Process.create_time
        monkeypatch.setattr(psutil.Process, "create_time", lambda self: of_the_day(self) - 3600.0)
        assert is_running(read_stack(settings))


def test_a_disk_that_is_full_for_a_while_does_not_end_the_watch(settings, monkeypatch):
    heard = []
    with supervised(settings, Service("sleeper", SLEEP), on_event=heard.append) as supervisor:
        pid, write = pid_of(settings, "sleeper"), supervisor._write

        def full():
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(supervisor, "_write", full)
        os.kill(pid, signal.SIGKILL)
        until(lambda: any("No space left" in line for line in heard))
        monkeypatch.setattr(supervisor, "_write", write)
        until(lambda: pid_of(settings, "sleeper") not in (None, pid))


def test_a_workspace_that_cannot_be_written_is_said_with_what_to_do(settings, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Supervisor, "_write", full)
    said = pytest.raises(StackError, match=r"No space left on device.*free some space")
    with said, supervised(settings, Service("sleeper", SLEEP)):
        pass
    assert leftovers(settings.workspace) == []
    with claim(settings.workspace):
        pass


def test_a_service_starts_only_after_those_it_depends_on(settings, tmp_path):
    mark = tmp_path / "order"
    write = "import pathlib,sys; p=pathlib.Path(sys.argv[1]); p.open('a').write(sys.argv[2])"
    first = Service("first", (sys.executable, "-Sc", write, str(mark), "a"), one_shot=True)
    second = Service("second", (sys.executable, "-Sc", write, str(mark), "b"), one_shot=True, depends_on=("first",))
    with supervised(settings, second, first):
        assert mark.read_text() == "ab"


def test_a_killed_service_is_restarted_and_the_restart_is_counted(settings):
    with supervised(settings, Service("sleeper", SLEEP)):
        before = pid_of(settings, "sleeper")
        os.kill(before, signal.SIGKILL)
        until(lambda: pid_of(settings, "sleeper") not in (before, None))
        assert read_stack(settings)["services"][0]["restarts"] == 1


def test_a_service_that_cannot_start_stops_the_stack_and_shows_its_log(settings):
    broken = Service("broken", (sys.executable, "-Sc", "raise SystemExit('no such table: runs')"))
    slow = Service("unready", SLEEP, health_url="http://127.0.0.1:9/", depends_on=())
    with pytest.raises(ServiceDown, match="no such table: runs"), supervised(settings, slow, broken):
        pass
    assert leftovers(settings.workspace) == []
    claim(settings.workspace).release()  # the workspace was given back


def test_a_service_that_keeps_dying_is_given_up_and_said(settings, monkeypatch):
    monkeypatch.setattr("components.supervisor.MAX_RESTARTS", 1)
    said = []
    with supervised(settings, Service("sleeper", SLEEP), on_event=said.append):
        for _ in range(2):
            until(lambda: pid_of(settings, "sleeper") is not None)
            os.kill(pid_of(settings, "sleeper"), signal.SIGKILL)
            until(lambda: pid_of(settings, "sleeper") is None)
        until(lambda: any("given up" in line for line in said))
        assert read_stack(settings)["services"][0]["state"] == "failed"


def test_a_second_stack_on_one_workspace_is_refused_and_told_who_runs_the_first(settings):
    with supervised(settings, Service("sleeper", SLEEP)), pytest.raises(WorkspaceBusy, match=str(os.getpid())):
        claim(settings.workspace)


def test_the_claim_on_a_workspace_dies_with_its_process(settings):
    code = (
        "import sys, time; from pathlib import Path; from components.settings import Workspace;"
        "from components.supervisor import claim; lock = claim(Workspace(Path(sys.argv[1])));"
        "print('claimed', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, settings.workspace.root], stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"claimed\n"
    with pytest.raises(WorkspaceBusy):
        claim(settings.workspace)
    holder.kill()
    holder.wait()
    claim(settings.workspace).release()


def test_stopping_leaves_no_process_not_even_a_grandchild_in_a_session_of_its_own(settings):
    code = "import subprocess,sys,time; subprocess.Popen([sys.executable,'-Sc','import time; time.sleep(60)'],"
    code += "start_new_session=True); time.sleep(60)"
    with supervised(settings, Service("parent", (sys.executable, "-Sc", code))):
        until(lambda: len(leftovers(settings.workspace)) == 2)
    assert leftovers(settings.workspace) == []
    assert not settings.workspace.stack_file.exists()


def test_leftovers_of_a_killed_stack_are_found_by_their_marker_and_those_of_another_are_left_alone(settings):
    ours = subprocess.Popen(SLEEP, env={**os.environ, MARKER: str(settings.workspace.root)})
    other = subprocess.Popen(SLEEP, env={**os.environ, MARKER: "/somewhere/else"})
    try:
        until(lambda: leftovers(settings.workspace) == [psutil.Process(ours.pid)])
        assert end_leftovers(settings.workspace) == 1
        assert ours.wait(5) is not None
        assert other.poll() is None
    finally:
        ours.kill(), other.kill()
        ours.wait(), other.wait()


def test_a_taken_port_gives_the_next_free_one():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = holder.getsockname()[1]
        assert free_port(taken, host="127.0.0.1") > taken
        with pytest.raises(PortTaken, match=str(taken)):
            free_port(taken, host="127.0.0.1", attempts=1)


def test_two_services_that_wish_for_the_same_port_get_two():
    first = free_port(22000, host="127.0.0.1")
    assert free_port(first, host="127.0.0.1", taken=[first]) > first


def test_a_log_that_grows_too_large_is_set_aside_while_its_service_writes_on(tmp_path):
    log = tmp_path / "service.log"
    with log.open("ab", buffering=0) as written:
        for number in range(5):
            written.write(f"line {number}".encode() * 20)
            assert rotate(log, largest_bytes=100)
            assert not rotate(log, largest_bytes=100), "it is small again"
        written.write(b"after")
    assert log.read_bytes() == b"after", "the service's next line stands at the beginning"
    kept = {path.name: path.read_bytes()[:6] for path in tmp_path.iterdir() if path != log}
    assert kept == {"service.1.log": b"line 4", "service.2.log": b"line 3", "service.3.log": b"line 2"}


def test_a_log_that_cannot_be_copied_is_not_cut(tmp_path):
    log = tmp_path / "service.log"
    log.write_bytes(b"x" * 200)
    (tmp_path / "service.rotating").mkdir()  # as a full disk does, copying fails
    assert not rotate(log, largest_bytes=100)
    assert log.stat().st_size == 200


def test_logs_of_runs_that_are_long_over_are_deleted(settings):
    folder = settings.workspace.logs / "runs"
    folder.mkdir(parents=True)
    for name, days in (("old", 31), ("new", 1)):
        (folder / f"{name}.log").write_text("a line")
        os.utime(folder / f"{name}.log", (time.time() - days * 86_400,) * 2)
    assert prune_run_logs(settings.workspace) == 1
    assert [path.name for path in folder.iterdir()] == ["new.log"]
