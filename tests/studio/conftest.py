"""A session over phantoms, their store, a tiny run and its samples; and the same behind a real server."""

from __future__ import annotations

import http.client
import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from labelgan.studio.app import build_app
from labelgan.studio.guard import cookie_name
from labelgan.studio.serve import Server, listen
from labelgan.studio.session import Session

TOKEN = "a-token-for-tests"


@pytest.fixture
def samples(tiny_samples, tmp_path) -> Path:
    """A copy of the tiny samples, to be judged."""
    return Path(shutil.copytree(tiny_samples, tmp_path / "synthetic"))


@pytest.fixture
def session(phantom_cohort, phantom_store, tiny_run, samples) -> Session:
    """Everything read."""
    made = Session([phantom_cohort, phantom_store.path, tiny_run, samples])
    made.fill()
    return made


@dataclass
class Answer:
    """Status, headers in lower case, and the body."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Visitor:
    """Asks a server as a browser would that holds its cookie."""

    def __init__(self, port: int) -> None:
        self.port, self.token = port, TOKEN
        self.cookie = f"{cookie_name(port)}={TOKEN}"

    def ask(self, path: str, method: str = "GET", body: Any = None, **headers: str | None) -> Answer:
        """One request; a header of None is left out, ``_`` in its name stands for ``-``."""
        given: dict[str, str | None] = {"Host": f"127.0.0.1:{self.port}", "Cookie": self.cookie}
        content = None
        if body is not None:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            given["Content-Type"] = "application/json"
        given |= {name.replace("_", "-").title(): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in given.items():
                if value is not None:
                    connection.putheader(name, value)
            if content is not None and "Content-Length" not in given:
                connection.putheader("Content-Length", str(len(content)))
            connection.endheaders(content)
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        """The JSON of a page that answers."""
        answer = self.ask(path)
        assert answer.status == 200, answer.body
        return answer.json()

    def post(self, path: str, value: Any) -> Any:
        """The same, of a change."""
        answer = self.ask(path, "POST", value)
        assert answer.status == 200, answer.body
        return answer.json()


@pytest.fixture
def visitor(session) -> Iterator[Visitor]:
    """A server in a thread, and somebody who may ask it."""
    taken = listen(0)
    port = taken.getsockname()[1]
    up = threading.Event()
    server = Server(build_app(session, TOKEN, cookie_name(port)), up.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]})
    thread.start()
    assert up.wait(30)
    yield Visitor(port)
    server.should_exit = True
    thread.join(30)
    taken.close()
    assert not thread.is_alive()


@pytest.fixture
def sample(session):
    """The first synthetic slice."""
    return next(entry for entry in session.index.slices.values() if entry.case.synthetic)


@pytest.fixture
def scan(session):
    """The first slice of a phantom's scan that has a lesion."""
    return next(
        entry for entry in session.index.slices.values() if entry.case.source.kind == "cohort" and (entry.load or 0) > 0
    )
