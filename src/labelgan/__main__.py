"""``python -m labelgan``."""

from labelgan.cli.app import main

main()
