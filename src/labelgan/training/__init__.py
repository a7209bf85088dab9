"""What every training shares: checkpoints, devices, and the processes of one training."""
