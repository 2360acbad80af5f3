"""Measure a model as a plain server would run it.

In reading order:

- ``latency_settings``: what is measured.
- ``served_model``: load the model, or the base with adapters switched per request.
- ``latency``: time to the first and each further token.
- ``model_size``: parameters, disk and memory.
"""
