"""The merge methods, scanned by :data:`evomerge.merging.METHODS`: adding one is adding a file.

- ``sparse_task_arithmetic``: task arithmetic, TIES, DARE, DELLA and Breadcrumbs.
- ``linear``, ``slerp``, ``nuslerp``, ``multislerp``, ``karcher``: averages of models, straight or on a sphere.
- ``model_stock``: a step from the base towards the experts' mean.
- ``sce``, ``ram``, ``ramplus_tl``: weigh entries by how experts changed them.
- ``nearswap``, ``arcee_fusion``, ``passthrough``: one expert.
- ``core_task_arithmetic``, ``core_ties``, ``core_dare``, ``core_tsv``, ``core_iso``, ``core_wudi``: on the core
  matrices of LoRA experts.
"""
