"""Real and synthetic slices in a training of your own: PyTorch, MONAI, TorchIO."""
