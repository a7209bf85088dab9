"""Engines run prepared jobs somewhere: in this process, in local workers, on Ray or on Slurm."""
