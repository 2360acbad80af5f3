"""A recipe becomes weights: streamed to disk, written onto a live model, or as small core matrices."""
