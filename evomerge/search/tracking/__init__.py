"""A search's metrics in TensorBoard or W&B: one module each; importing it registers it."""
