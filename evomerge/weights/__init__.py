"""Models on disk: find, read and write their tensors.

In reading order:

- ``sources``: from a name to a folder.
- ``package_artifact``: a model inside a Python package.
- ``tensor_files``: map one file of tensors.
- ``checkpoint``: a model folder as a lazy mapping.
- ``parameter_names``: what a parameter's name means.
- ``quantized``: refuse quantization codes.
- ``adapters/``: PEFT LoRA folders.
- ``task_vector``: expert minus base.
- ``tokenizers/``: tokenizers and vocabularies.
- ``stream_writer``: write a model block by block.
"""
