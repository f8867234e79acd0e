"""The pictures are well-formed, link to pages, and let no text become markup."""

import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from components.ecosystem import FAMILIES, STAGES, STATES
from dashboard import pictures
from dashboard.app import PAGES
from dashboard.text import Words
from dashboard.viewmodels.ecosystem import Heart, LoopNode, LoopView
from dashboard.viewmodels.evolution import evolution


def loop(**changes: object) -> LoopView:
    nodes = tuple(
        LoopNode(stage.name, stage.page, f"{stage.page}?lang=en", stage.name, "meaning", "a line", state, state)
        for stage, state in zip(STAGES, (*STATES, "ready"), strict=True)
    )
    return replace(LoopView("the loop", nodes, Heart(2, "label", "57.3%", "note"), True), **changes)  # type: ignore[arg-type]


def parsed(markup: str) -> ET.Element:
    return ET.fromstring(markup)


def test_each_station_links_to_a_page_that_exists() -> None:
    links = [link.get("data-page") for link in parsed(pictures.loop(loop())).iter("a")]
    assert links == [stage.page for stage in STAGES]
    assert set(links) <= set(PAGES)


def test_a_state_is_told_by_class_sign_and_word() -> None:
    for link, state in zip(parsed(pictures.loop(loop())).iter("a"), (*STATES, "ready"), strict=True):
        assert f"s-{state}" in (link.get("class") or "").split()
        shown = next(span for span in link.iter("span") if span.get("class") == "s")
        assert shown.find("svg") is not None
        assert "".join(shown.itertext()) == state


def test_the_signs_of_the_states_differ() -> None:
    assert len({pictures.sign(state) for state in STATES}) == len(STATES)


def test_text_never_becomes_markup() -> None:
    evil = '<img src=x onerror="alert(1)">&'
    node = replace(loop().nodes[0], title=evil, line=evil, meaning=evil, state_text=evil, href=evil)
    markup = pictures.loop(loop(nodes=(node,), heart=Heart(1, evil, evil, evil, evil), label=evil))
    assert "<img" not in markup
    assert evil in "".join(parsed(markup).itertext())


def test_nothing_moves_while_nothing_works() -> None:
    assert "moving" in pictures.loop(loop())
    assert "moving" not in pictures.loop(loop(is_moving=False))


@pytest.mark.parametrize("growth", range(9))
def test_the_banyan_grows_a_trunk_for_each_champion(growth: int) -> None:
    picture = parsed(pictures.banyan(growth))
    trunks = [path for path in picture.iter("path") if path.get("stroke-width") == "6"]
    assert len(trunks) == (0 if growth < 2 else 1 + min(growth - 2, 5))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_both_trees_hold_every_family_inside_their_frame(language: str) -> None:
    view = evolution((), Words(language)).tree  # type: ignore[arg-type]
    trees = list(parsed(pictures.tree(view)).iter("svg"))
    assert len(trees) == 2
    for tree in trees:
        _, _, width, height = map(float, (tree.get("viewBox") or "").split())
        boxes = list(tree.iter("rect"))
        assert len(boxes) == len(FAMILIES)
        for box in boxes:
            x, y, w, h = (float(box.get(name) or "nan") for name in ("x", "y", "width", "height"))
            assert x >= 0 and x + w <= width
            assert y >= 0 and y + h <= height


def test_icons_are_drawn_in_whole_numbers_of_tenths() -> None:
    assert not re.findall(r"\d\.\d{3,}", "".join(pictures.icon(stage.name) for stage in STAGES))
