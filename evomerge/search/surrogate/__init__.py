"""The model behind the default sampler: Gaussian processes of the tasks' scores, and what they propose.

- ``unit_cube``: parameters as points.
- ``gaussian_process``: fit values with known noise, predict with gradients.
- ``acquisition``: the point with the largest expected improvement.
"""
