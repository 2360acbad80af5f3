"""Jobs: one module each, with the settings it reads (:mod:`evomerge.jobs.registry` says what a job is).

search: search for a merge and deliver the winner; merge: one recipe; evaluate: score a model; extract_lora: an adapter
of a model; latency: measure speed and memory; report: rebuild reports; methods: list the merge methods. ``steps`` holds
what they are made of.
"""
