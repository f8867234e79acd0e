"""Links in a run lead where a browser goes, from whichever machine the run was on."""

import json

import psutil
import pytest

from components.refs import DataRef
from components.settings import Settings
from flows import shown

VERSION = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def settings(tmp_path, monkeypatch) -> Settings:
    monkeypatch.setenv("BANYAN_WORKSPACE", str(tmp_path))
    monkeypatch.setenv("BANYAN_PREFECT_URL", "http://127.0.0.1:4200")
    return Settings()


def test_a_validation_report_is_linked_on_the_dashboard(settings):
    about = {"pid": psutil.Process().pid, "started": psutil.Process().create_time(), "services": []}
    stack = about | {"urls": {"dashboard": "http://127.0.0.1:8502"}}
    settings.workspace.stack_file.write_text(json.dumps(stack))
    said = shown.report(DataRef(version=VERSION, tables={}))
    assert said == f"[Validation report](http://127.0.0.1:8502/data?version={VERSION})"


def test_a_worker_elsewhere_links_no_file_and_no_page_of_its_own(settings):
    said = shown.report(DataRef(version=VERSION, tables={}))
    assert "dashboard" in said and "](" not in said
