"""The command line: one module a group of commands; each parses, calls one function and prints."""

from labelgan.cli.app import main

__all__ = ["main"]
