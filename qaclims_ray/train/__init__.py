"""3. Train a network: one loop, and one file for each training (classifier, RITC).

In: the artifact `images` and what the training names beside it, such as `pairs` and `texts`.
Out: one artifact for each network: `model.safetensors`, `config.yaml` and `metrics/`.
"""
