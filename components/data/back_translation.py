"""More training rows: a text in another language and back, by registered translation models.

Sennrich, Haddow and Birch, ACL 2016 (arXiv:1511.06709); to say a text in other words: Yu et al., ICLR 2018.
Which rows it is done to is a function of (seed, row id); the models answer without chance.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from components.data.asking import Asked, AskedModels
from components.data.cleaning import Row, clean_code, kept
from components.data.privacy import mask
from components.data.splits import unit
from components.data.tables import BACK_TRANSLATED, content_id
from components.recipes import BackTranslation

_TAG = re.compile(r"\[[A-Z]+_\d+\]")


def back_translated(rows: Sequence[Row], recipe: BackTranslation, *, seed: int, models: AskedModels) -> list[Row]:
    """New rows of split train, with answer and group of the training rows that they are made of.

    What comes back as it was, as another row's text, empty, or without what had been masked makes no row.

    Raises:
        RecipeError: there is no such model, or no registry.
    """
    there = models.get(recipe.there, task="translation", what="back_translation, there")
    back = models.get(recipe.back, task="translation", what="back_translation, back")
    good = kept(rows)
    chosen = [row for row in good if row.split == "train" and unit(seed, f"back/{row.id}") < recipe.share]
    texts = translated([row.text for row in chosen], there, language=recipe.there_language)
    texts = translated(texts, back, language=recipe.back_language)
    seen = {row.id for row in good}
    made = []
    for row, text in zip(chosen, map(clean_code, texts), strict=True):
        new_id = content_id(text)
        same_tags = sorted(_TAG.findall(text)) == sorted(_TAG.findall(row.text))
        if not text.strip() or new_id in seen or not same_tags or mask(text) != text:
            continue
        seen.add(new_id)
        made.append(replace(row, text=text, id=new_id, origin=BACK_TRANSLATED, more=dict(row.more)))
    return made


def translated(texts: Sequence[str], model: Asked, *, language: str | None) -> list[str]:
    """Each text line by line, since a translation is of one line; blank lines stay."""
    lines = [text.split("\n") for text in texts]
    mark = f">>{language}<< " if language else ""
    said = iter(model([mark + line for some in lines for line in some if line.strip()]))
    return ["\n".join(next(said) if line.strip() else line for line in some) for some in lines]
