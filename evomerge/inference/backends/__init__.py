"""Backends: what produces text and log-likelihoods from candidates."""
