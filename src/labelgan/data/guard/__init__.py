"""Keeping held-out patients apart from training: by what a case is known, who met whom, sealed manifests."""
