"""Tokenizers, vocabularies and chat templates of merged models.

In reading order:

- ``output_tokenizer``: the merge's tokenizer.
- ``vocabulary``: embeddings in the merge's vocabulary.
- ``chat_templates``: templates by name.
"""
