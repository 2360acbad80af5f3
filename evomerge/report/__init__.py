"""Reads a run folder back: tables, figures and the HTML report. Everything here can be rebuilt from the store."""
