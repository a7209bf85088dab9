from __future__ import annotations

import re
import signal
import subprocess
import sys
import urllib.request

import pytest

from labelgan.core.errors import DataError
from labelgan.studio.serve import ADDRESS, listen


def test_ports_are_of_this_machine_alone():
    with listen(0) as taken:
        assert ADDRESS == taken.getsockname()[0] == "127.0.0.1"
        taken.listen()
        with pytest.raises(DataError, match="--port 0 takes any free one"):
            listen(taken.getsockname()[1])


def test_it_answers_and_ends_with_ctrl_c(tiny_samples):
    process = subprocess.Popen(
        [sys.executable, "-m", "labelgan", "studio", str(tiny_samples), "--port", "0", "--no-browser"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", line)
        assert found, line
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        assert b"LabelGAN studio" in opener.open(found[0], timeout=30).read()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0
    assert err.endswith("studio ended\n")
    assert "Traceback" not in out + err
