"""What `banyan status` and `banyan chat` say of models that are on their way."""

import pytest

from components.errors import NoChampion
from components.settings import Settings
from flows import gateway
from flows.cli_chat import _talker
from flows.status import Facts

LOADING = {"table": "talk", "state": "loading", "problem": "", "wanted_version": 4}
SERVES = {"table": "shop", "state": "ready", "wanted_version": 2, "model": "banyan-shop", "version": 2}


def test_a_champion_that_is_being_loaded_is_not_told_as_none():
    facts = Facts(True, "w", [], 0)
    facts.models = [LOADING, SERVES, {"table": "new", "state": "empty"}]
    told = [line for line in facts.lines() if line.startswith("Model")]
    assert told == [
        "Model banyan-talk: v4 does not answer yet (loading)",
        "Model banyan-shop: v2 serves (ready)",
        "Model banyan-new: no champion (empty)",
    ]


@pytest.mark.parametrize(
    ("seats", "says", "remedy"),
    [
        ([LOADING, SERVES], "talk v4 is being loaded", "try again"),
        ([SERVES | {"task": "classification"}], "nobody converses yet", "train one"),
    ],
)
def test_nobody_is_told_to_train_what_is_being_loaded(monkeypatch, tmp_path, seats, says, remedy):
    monkeypatch.setattr(gateway, "models", lambda settings: seats)
    with pytest.raises(NoChampion, match=says) as refused:
        _talker(Settings(BANYAN_WORKSPACE=tmp_path))
    assert remedy in str(refused.value)
