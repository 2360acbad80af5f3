"""Send a search's metrics to TensorBoard or W&B: one tracker a module, registered when it is imported.

- ``settings``: what a user sets of a tracker.
- ``base``: what a tracker plug-in declares.
- ``listener``: tells the chosen tracker of each finished trial.
- ``tensorboard``, ``wandb``: the trackers.
"""
