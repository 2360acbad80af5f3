"""The judge: a process in a sandbox that runs models' answers and gives verdicts.

``judge``            the client: hands answers over while others are generated, keeps verdicts
``judge_process``    starts the process, asks it, ends it
``judge_server``     what runs in the process
``children``         judges many cheap answers in one child of it
``zygote``           starts a process for each answer that runs as a program
``framed_messages``  messages on a pipe or socket
``sandbox``          one file a mechanism, and the levels made of them
"""
