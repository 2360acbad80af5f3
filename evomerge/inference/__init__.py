"""Run a model: text, log-likelihoods, and how fast it serves.

In reading order:

- ``backend``: the protocol that evaluation uses.
- ``backend_settings``: what a user sets of it.
- ``backends/``: the backends; a new one is a new file there.
- ``device``: default device and dtype.
- ``chat``: chat templates.
- ``answer_text``: prompts to tokens, answers to text.
- ``probe_model``: what a model's forward pass allows.
- ``generation``: the greedy decoder.
- ``batch_rows``: rows of the batch: prefill and step.
- ``waiting_rows``: which rows share the next pass.
- ``drafts``: how an answer may go on, from known answers.
- ``kv_cache``: the key/value cache that rows live in.
- ``chosen_positions``: logits where they are wanted.
- ``prefix``: shared beginnings of prompts.
- ``attention``: attention on the CPU.
- ``next_token``: argmax and samples.
- ``deadline``: hand over answers early, stop costly ones.
- ``plain_generation``: decode with transformers' ``generate``.
- ``log_likelihood``: log-likelihoods of continuations.
- ``memory_limits``: what a backend holds at a time.
- ``learning/``: learn the weights of a merge.
- ``serving/``: latency and size of a served model.
"""
