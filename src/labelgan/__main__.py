"""``python -m labelgan``."""

from labelgan.cli import main

main()
