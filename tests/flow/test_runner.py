"""Flow runs that are forked from a process which has imported everything."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows import runner
from flows.engine import RUNNER

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere each run imports for itself")

SERVING = """
import os, sys, time
from pathlib import Path
from flows import runner
runner.run = lambda: exec(os.environ["PREFECT_DO"], {"os": os, "sys": sys, "time": time})
if len(sys.argv) > 2:
    runner.sources = lambda: {line: (0, 0) for line in Path(sys.argv[2]).read_text().split()}
runner.Runner._anew = lambda self, worker: os._exit(7)
serving = runner.Runner(Path(sys.argv[1]))
worker = os.fork()
if worker == 0:
    serving.close()
    time.sleep(60)
    os._exit(0)
made = serving.serve(worker)
sys.exit(made.run() if isinstance(made, runner.Asked) else made)
"""
"""A runner whose runs do what PREFECT_DO says, instead of Prefect's engine."""


@pytest.fixture
def serve(tmp_path):
    made = []

    def start(*more):
        path = tmp_path / "socket"
        env = {**os.environ, RUNNER: str(path)}
        made.append(subprocess.Popen([sys.executable, "-c", SERVING, str(path), *map(str, more)], env=env))
        deadline = time.monotonic() + 60
        while not path.exists():
            assert time.monotonic() < deadline and made[-1].poll() is None
            time.sleep(0.02)
        return env

    yield start
    for process in made:
        process.kill()
        process.wait()


ASKING = "import sys; from flows import engine; code = engine.ask(); print('cold' if code is None else code)"


def ask(env, do, **more):
    return subprocess.Popen(
        [sys.executable, "-c", ASKING], env={**env, "PREFECT_DO": do, **more}, stdout=subprocess.PIPE, text=True
    )


def said(process):
    return process.communicate(timeout=60)[0].strip()


def test_a_forked_run_has_the_environment_and_the_folder_of_who_asked_and_its_exit_code(serve, tmp_path):
    env = serve()
    do = "import pathlib; pathlib.Path(os.environ['PREFECT_FILE']).write_text(os.getcwd()); sys.exit(3)"
    assert said(ask(env, do, PREFECT_FILE=str(tmp_path / "told"))) == "3"
    assert (tmp_path / "told").read_text() == str(Path.cwd())
    assert said(ask(env, "sys.exit(40 + len(sys.argv))")) == "41", "the runner's own arguments are not the run's"
    assert said(ask(env, "os.kill(os.getpid(), 9)")) == str(-signal.SIGKILL), "one that says nothing was killed"


def test_a_run_dies_with_the_process_that_prefect_knows_and_hears_its_signals(serve, tmp_path):
    env = serve()
    pid_file = tmp_path / "pid"
    do = f"open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    asking = ask(env, do)
    deadline = time.monotonic() + 60
    while not (pid_file.exists() and pid_file.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    pid = int(pid_file.read_text())
    asking.kill()
    while Path(f"/proc/{pid}").exists() and "zombie" not in Path(f"/proc/{pid}/status").read_text():
        assert time.monotonic() < deadline, "the run outlived who asked for it"
        time.sleep(0.02)
    heard = tmp_path / "heard"
    do = f"import signal; signal.signal(15, lambda *_: sys.exit(5)); open({str(heard)!r}, 'w'); time.sleep(60)"
    polite = ask(env, do)
    while not heard.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.3)  # who asked is told of the fork before the run begins, and has only to read it
    polite.send_signal(signal.SIGTERM)
    assert said(polite) == "5"


def test_where_the_environment_or_the_sources_differ_the_run_imports_for_itself(serve, tmp_path):
    listed = tmp_path / "sources"
    listed.write_text("a.py")
    env = serve(listed)
    assert said(ask(env, "pass")) == "0"
    assert said(ask(env, "pass", OMP_NUM_THREADS="7")) == "cold"
    listed.write_text("a.py b.py")
    assert said(ask(env, "pass")) == "cold"
    assert said(ask(env, "pass")) == "cold", (
        "and no runner listens any more, for this one ended instead of starting anew"
    )


def test_the_sources_are_every_file_of_ours_and_a_written_one_is_seen(tmp_path, monkeypatch):
    package = tmp_path / "grown"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(runner, "ROOTS", ("grown",))
    before = runner.sources()
    (package / "one.py").write_text("x = 1")
    after = runner.sources()
    assert set(after) - set(before) == {str(package / "one.py")}
    (package / "one.py").write_text("x = 22")
    assert runner.sources() != after
