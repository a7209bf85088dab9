"""The command ``labelgan studio``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labelgan.cli.options import say


def studio(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR...", help="Cohort, run, slice store, synthetic cohort, study, or a folder that holds several."
        ),
    ],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes any free one.")] = 8765,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address and open nothing.")] = False,
) -> None:
    """Look at slices, real and synthetic, accept and reject samples, sample live: a page on this machine alone.

    Ctrl-C ends it. Nothing outside the folders is opened, and nothing leaves this machine.
    """
    from labelgan.studio.serve import run_studio

    def ready(address: str) -> None:
        typer.echo(f"LabelGAN studio: {address}")
        say("Ctrl-C ends it. The address holds a token: whoever has it can see the scans.")
        if not no_browser:
            import webbrowser

            webbrowser.open(address)

    run_studio(folders, port, ready=ready)
    say("studio ended")
