"""The command line, in reading order.

main: from words to a job, and from errors to exit codes; options: words that begin with a dash; words: settings as
Hydra's overrides; schema: all settings of all jobs; compose: Hydra; messages: Hydra's errors in one line; help.
"""
