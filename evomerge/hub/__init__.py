"""The Hugging Face hub: model cards read, models uploaded.

In reading order:

- ``settings``: what ``push_to_hub`` uploads.
- ``model_card_facts``: licence, language and hub id of base and experts.
- ``upload``: upload a model or an adapter.
"""
