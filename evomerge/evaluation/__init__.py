"""Evaluation: a worker holds a model and tasks, and turns a recipe into scores.

``worker``             scores one recipe or model folder after another
``worker_settings``    makes a worker's specification from plain settings
``worker_memory``      how much memory a worker takes
``task_base``          what a task is, and asking a backend for answers
``task_settings``      checks ``tasks.NAME.*``
``task_files``         finds the YAML files of tasks
``tasks``              loads tasks by name
``judged_task``        tasks whose answers a scorer judges in the sandbox
``documents``          reads rows of data files
``data``               cuts documents into search, selection and test items
``harness_task``       any task of lm-evaluation-harness
``harness_index``      finds lm-eval's tasks and loads them without its offline traps
``lm_eval_functions``  what YAML files of judged tasks call
``lm_eval_adapter``    lm-eval on our backend
``scorers``            one file or folder a scorer
``judging``            the judge's process and its sandbox
"""
