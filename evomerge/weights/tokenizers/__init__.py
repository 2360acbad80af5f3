"""Tokenizers, vocabularies and chat templates of merged models.

In reading order:

- ``output_tokenizer``: build the merge's tokenizer.
- ``vocabulary``: reorder embeddings to the merge's vocabulary.
- ``chat_templates``: chat templates by name.
"""
