from __future__ import annotations

import asyncio
import http.client

import pytest

from labelgan.studio.guard import DOCUMENT_POLICY, HEADERS, MOST_BODY, POLICY, Guard, cookie_name, new_token

COOKIE = "labelgan-studio-1"


def ask(path="/", method="GET", query="", **headers):
    """Status, headers and body that a guarded application answers; it says 200 to all that comes through."""
    sent = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/x")]})
        await send({"type": "http.response.body", "body": b"inside"})

    async def send(message):
        sent.append(message)

    given = {"host": "127.0.0.1:1", "cookie": f"{COOKIE}=secret"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in given.items() if value is not None],
    }
    asyncio.run(Guard(app, "secret", COOKIE)(scope, None, send))  # type: ignore[arg-type]
    head = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], head, sent[1]["body"]


def test_the_cookie_opens_and_nothing_else():
    assert ask()[0] == 200
    for cookie in (None, "", "labelgan-studio-1=wrong", "labelgan-studio-2=secret", "other=1; x", "labelgan-studio-1"):
        status, _, body = ask(cookie=cookie)
        assert status == 403
        assert b"token" in body
    assert ask(cookie=f"other=1; {COOKIE}=secret")[0] == 200


def test_the_token_in_the_address_becomes_a_cookie_and_goes():
    status, headers, _ = ask(query="token=secret", cookie=None)
    assert (status, headers["location"]) == (303, "/")
    assert headers["set-cookie"] == f"{COOKIE}=secret; Path=/; HttpOnly; SameSite=Strict"


@pytest.mark.parametrize(("path", "query"), [("/", "token=wrong"), ("/", "token="), ("/api/overview", "token=secret")])
def test_a_wrong_token_or_place_opens_nothing(path, query):
    assert ask(path, query=query, cookie=None)[0] == 403


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8765", "LOCALHOST", "127.0.0.1:1"])
def test_this_machine_goes_by_its_names(host):
    assert ask(host=host)[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:1", "127.0.0.1.evil.example", "", None, "[::1]:1", ":1"]
)
def test_another_name_is_refused_before_the_token_is_looked_at(host):
    status, headers, _ = ask(host=host, query="token=secret")
    assert status == 421
    assert "set-cookie" not in headers


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("DELETE", {}, 405),
        ("PUT", {}, 405),
        ("GET", {"sec_fetch_site": "cross-site", "sec_fetch_mode": "no-cors"}, 403),
        ("GET", {"sec_fetch_site": "same-site", "sec_fetch_mode": "cors"}, 403),
        ("GET", {"sec_fetch_site": "same-origin", "sec_fetch_mode": "cors"}, 200),
        ("GET", {"sec_fetch_site": "none", "sec_fetch_mode": "navigate"}, 200),
        ("POST", {"content_type": "application/json", "content_length": "2"}, 200),
        ("POST", {"content_type": "application/json; charset=utf-8", "content_length": "2"}, 200),
        ("POST", {"content_type": "text/plain", "content_length": "2"}, 415),
        ("POST", {"content_type": "application/json"}, 413),
        ("POST", {"content_type": "application/json", "content_length": str(MOST_BODY + 1)}, 413),
        ("POST", {"content_type": "application/json", "content_length": "2", "origin": "http://127.0.0.1:1"}, 200),
        ("POST", {"content_type": "application/json", "content_length": "2", "origin": "http://127.0.0.1:2"}, 403),
        ("POST", {"content_type": "application/json", "content_length": "2", "origin": "null"}, 403),
        ("POST", {"content_type": "application/json", "content_length": "2", "sec_fetch_site": "cross-site",
                  "sec_fetch_mode": "cors"}, 403),
    ],
)  # fmt: skip
def test_other_origins_and_methods_are_refused(method, headers, status):
    assert ask(method=method, **headers)[0] == status


def test_every_answer_carries_the_headers():
    answers = (ask(), ask(cookie=None), ask(host="evil"), ask(query="token=secret"), ask(method="PUT"))
    for _, headers, _ in answers:
        for name, value in HEADERS.items():
            assert headers[name] == value


def test_the_policy_allows_no_script_but_its_own():
    rules = {name: value for name, _, value in (rule.partition(" ") for rule in POLICY.split("; "))}
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    assert "unsafe" not in POLICY
    assert "http" not in POLICY
    # a sealed report may style itself and run nothing
    assert DOCUMENT_POLICY.startswith("sandbox; default-src 'none'; img-src data:")
    assert "script" not in DOCUMENT_POLICY


def test_tokens_are_long_and_never_the_same():
    tokens = {new_token() for _ in range(50)}
    assert len(tokens) == 50
    assert all(len(token) >= 43 for token in tokens)  # 256 bits
    assert cookie_name(1) != cookie_name(2)


def test_web_sockets_are_closed():
    sent = []

    async def send(message):
        sent.append(message)

    async def app(scope, receive, send):
        raise AssertionError

    asyncio.run(Guard(app, "secret", COOKIE)({"type": "websocket"}, None, send))  # type: ignore[arg-type]
    assert sent == [{"type": "websocket.close", "code": 1008}]


def test_a_real_server_says_the_same(visitor):
    answer = visitor.ask("/")
    assert answer.status == 200
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "server" not in answer.headers
    assert visitor.ask("/", cookie=None).status == 403
    assert visitor.ask("/", host="evil.example").status == 421
    assert visitor.ask("/static/main.js", cookie=None).status == 403


def test_it_listens_on_this_machine_alone(visitor):
    import socket

    name = socket.gethostbyname(socket.gethostname())
    if not name.startswith("127."):
        with pytest.raises(OSError, match="refused"):
            http.client.HTTPConnection(name, visitor.port, timeout=5).request("GET", "/")
