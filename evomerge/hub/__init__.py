"""The Hugging Face hub: model cards read, models uploaded.

In reading order:

- ``settings``: what a user sets.
- ``model_card_facts``: licence, language and hub id of base and experts.
- ``upload``: upload a model or an adapter.
"""
