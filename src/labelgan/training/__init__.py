"""Parts of every training: checkpoints, devices, and the processes of one training."""
