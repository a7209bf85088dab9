"""The cost of a plan before it runs: from finished jobs or from a probe on this machine."""
