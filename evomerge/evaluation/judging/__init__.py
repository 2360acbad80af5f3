"""Judge answers: a process in a sandbox runs what models wrote and gives verdicts.

In reading order:

- ``judge``: the client: hand answers over while others are generated, keep verdicts.
- ``judge_process``: start the process, ask it, end it.
- ``judge_server``: what runs in the process.
- ``children``: judge many cheap answers in one child of it.
- ``zygote``: start a process for each answer that runs as a program.
- ``framed_messages``: messages on a pipe or socket.
- ``sandbox/``: one file a mechanism, and the levels made of them.
"""
