"""Learn the weights of a merge, one for each layer and expert, by gradient through the core space.

In reading order:

- ``settings``: how many steps, of what size.
- ``targets``: answers that the merge has to give.
- ``tokens``: targets as tokens; a fifth of them is held back.
- ``weighted_layers``: a frozen model whose layers add the weighted parts of the experts' updates.
- ``answer_loss``: nats that a model needs for answers.
- ``learn``: the loop: Adam on the weights, stopped by targets that are held back.
"""
