"""Tasks, judging of answers in a sandbox, backends, and the worker that ties them together."""
