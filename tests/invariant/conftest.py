"""Small trainings, exact to the bit."""

from tests.small_trainings import (  # noqa: F401  fixtures
    classify,
    one_thread,
    read_corpus,
    small_bert,
    small_data,
    small_llama,
    write_lines,
)
