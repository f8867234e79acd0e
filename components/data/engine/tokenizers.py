"""The tokenizer that a corpus is packed with: one that is given, or one trained on a sample of what is kept."""

import json
import shutil
from pathlib import Path

from components.data.engine.finishing import sample_texts
from components.errors import InputFileError
from components.models.tokenizer import END
from components.recipes import Pack

_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def make_tokenizer(recipe: Pack, work: Path, *, num_parts: int, num_chars: int) -> Path:
    """The folder `work/tokenizer`, whole or not at all.

    Raises:
        InputFileError: the recipe's tokenizer is not there, or has no end token.
    """
    place = work / "tokenizer"
    if place.is_dir():
        return place
    made = work / ".tokenizer"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    if recipe.tokenizer is not None:
        if not (recipe.tokenizer / _FILES[0]).is_file():
            raise InputFileError(f"there is no {recipe.tokenizer / _FILES[0]}", "give a folder with a tokenizer.json")
        for name in _FILES:
            if (recipe.tokenizer / name).is_file():
                shutil.copyfile(recipe.tokenizer / name, made / name)
        end_of(made)
    else:
        from components.models.tokenizer import train_bpe, train_wordpiece

        assert recipe.vocab_size is not None  # the recipe's own check
        train = train_wordpiece if recipe.tokenizer_kind == "wordpiece" else train_bpe
        train(sample_texts(num_parts, recipe, work, num_chars=num_chars), recipe.vocab_size).save_pretrained(made)
    made.rename(place)
    return place


def end_of(folder: Path) -> int:
    """The id of a tokenizer's end token.

    Raises:
        InputFileError: it has none.
    """
    import tokenizers

    core = tokenizers.Tokenizer.from_file(str(folder / _FILES[0]))
    said = None
    if (folder / _FILES[1]).is_file():
        said = json.loads((folder / _FILES[1]).read_text("utf-8")).get("eos_token")
    name = said.get("content") if isinstance(said, dict) else said
    found = core.token_to_id(name or END)
    if found is None:
        raise InputFileError(f"the tokenizer in {folder} has no end token", f"name its eos_token in {_FILES[1]}")
    return int(found)
