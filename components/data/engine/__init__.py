"""A corpus of any size from raw documents to packed tokens: `run.pack_corpus`, and the blocks that it is made of."""
