"""The routes: every answer is made by a method of `session.Session`; nothing here knows a path."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from importlib.resources import files
from typing import Any, cast

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from labelgan.core.errors import DataError, LabelganError
from labelgan.studio.blind import chance_words
from labelgan.studio.guard import DOCUMENT_POLICY, MOST_BODY, Guard
from labelgan.studio.images import volume_bytes
from labelgan.studio.index import Query
from labelgan.studio.live import LivePicture, mask_from_rows
from labelgan.studio.pictures import Marking
from labelgan.studio.session import Session

PAGE = 120  # slices an answer lists
MOST_PAGE = 600
_KEPT = {"cache-control": "private, max-age=86400, immutable"}  # keys are of this session alone
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}

Handler = Callable[[Request], Any]


def static_files() -> dict[str, tuple[bytes, str]]:
    """Every file of the page by its address: read once, so that no address ever becomes a path."""
    found: dict[str, tuple[bytes, str]] = {}
    root = files("labelgan.studio") / "static"
    for folder, prefix in ((root, ""), (root / "vendor", "vendor/")):
        for entry in folder.iterdir():
            ending = entry.name[entry.name.rfind(".") :]
            if entry.is_file() and ending in _TYPES:
                found[prefix + entry.name] = (entry.read_bytes(), _TYPES[ending])
    return found


def build_app(session: Session, token: str, cookie: str) -> ASGIApp:
    """The application behind its guard."""
    routes = _Routes(session)
    pages = {
        "/": routes.page,
        "/static/{name:path}": routes.static,
        "/api/overview": routes.overview,
        "/api/slices": routes.slices,
        "/api/slices/{key}": routes.detail,
        "/api/slices/{key}/picture": routes.picture,
        "/api/slices/{key}/nearest": routes.nearest,
        "/api/cases": routes.cases,
        "/api/cases/{key}/{channel}.nii.gz": routes.volume,
        "/api/reports/{key}": routes.report,
        "/api/live/{key}": routes.live_offers,
        "/api/live/{key}/sample": routes.live_sample,
        "/api/live/{key}/strip": routes.live_strip,
        "/api/blind/{key}/{trial:int}/{channel:int}": routes.blind_picture,
    }
    changes = {
        "/api/slices/{key}/decision": routes.decide,
        "/api/sources/{key}/judge": routes.judge,
        "/api/live/{key}/from-mask": routes.live_from_mask,
        "/api/blind": routes.blind_begin,
        "/api/blind/{key}/answer": routes.blind_answer,
    }
    app = Starlette(
        routes=[
            *(Route(path, _with_error_lines(handler), methods=["GET"]) for path, handler in pages.items()),
            *(Route(path, _with_error_lines(handler), methods=["POST"]) for path, handler in changes.items()),
        ]
    )
    return Guard(app, token, cookie)


def _with_error_lines(handler: Handler) -> Callable[[Request], Any]:
    """Runs a handler in a thread, and turns the errors that users may see into JSON."""

    async def endpoint(request: Request) -> Response:
        try:
            if request.method == "POST":
                body = await request.body()
                if len(body) > MOST_BODY:
                    raise DataError("request", "is too large")
                request.state.json = _object(body)
            return await run_in_threadpool(handler, request)
        except LabelganError as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        except OSError as error:
            return JSONResponse({"error": f"cannot be read: {error.strerror}"}, status_code=400)

    return endpoint


def _object(body: bytes) -> dict[str, Any]:
    import json

    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise DataError("request", "is not JSON") from None
    if not isinstance(value, dict):
        raise DataError("request", "is not a JSON object")
    return value


class _Routes:
    def __init__(self, session: Session) -> None:
        self.session = session
        self.files = static_files()

    def page(self, request: Request) -> Response:
        content, media_type = self.files["index.html"]
        return Response(content, media_type=media_type)

    def static(self, request: Request) -> Response:
        found = self.files.get(request.path_params["name"])
        if found is None:
            return Response("Not found.", status_code=404, media_type="text/plain")
        return Response(found[0], media_type=found[1], headers={"cache-control": "private, max-age=600"})

    def overview(self, request: Request) -> Response:
        return JSONResponse(self.session.overview())

    def slices(self, request: Request) -> Response:
        asked = request.query_params
        found = self.session.index.select(
            Query(
                sources=frozenset(asked.getlist("source")),
                origin=asked.get("origin", ""),
                sites=frozenset(asked.getlist("site")),
                lesion=asked.get("lesion", ""),
                least=_number(asked.get("least"), 0.0),
                most=_number(asked.get("most"), math.inf),
                decision=asked.get("decision", ""),
                flag=asked.get("flag", ""),
                case=asked.get("case", ""),
                order=asked.get("order", "cohort"),
            )
        )
        start = _whole(asked.get("start"), 0, 0, 10**9)
        count = _whole(asked.get("count"), PAGE, 1, MOST_PAGE)
        shown = [self.session.brief(entry) for entry in found[start : start + count]]
        return JSONResponse({"total": len(found), "start": start, "slices": shown})

    def detail(self, request: Request) -> Response:
        return JSONResponse(self.session.detail(self.session.slice(request.path_params["key"])))

    def picture(self, request: Request) -> Response:
        asked = request.query_params
        marking = asked.get("marking", "outline")
        if marking not in ("none", "outline", "fill"):
            raise DataError("marking", "expected none, outline or fill")
        entry = self.session.slice(request.path_params["key"])
        side = _whole(asked.get("side"), 176, 16, 1024)
        png = self.session.picture(entry, asked.get("channel", ""), side, cast(Marking, marking))
        return Response(png, media_type="image/png", headers=_KEPT)

    def nearest(self, request: Request) -> Response:
        found = self.session.nearest.find(self.session.slice(request.path_params["key"]))
        return JSONResponse(
            {
                "slice": self.session.brief(found.slice),
                "patient": found.slice.case.patient,
                "likeness": found.likeness,
                "flip": found.flip,
                "shift": list(found.shift),
                "of_training": found.of_training,
            }
        )

    def cases(self, request: Request) -> Response:
        return JSONResponse(self.session.volumes())

    def volume(self, request: Request) -> Response:
        case = self.session.case(request.path_params["key"])
        content = volume_bytes(self.session.index.images(case), request.path_params["channel"])
        return Response(content, media_type="application/gzip", headers=_KEPT)

    def report(self, request: Request) -> Response:
        content = self.session.report(request.path_params["key"])
        headers = {"content-security-policy": DOCUMENT_POLICY}
        return Response(content, media_type="text/html; charset=utf-8", headers=headers)

    def decide(self, request: Request) -> Response:
        entry = self.session.slice(request.path_params["key"])
        self.session.index.decide(entry, request.state.json.get("decision"))
        return JSONResponse(self.session.brief(entry))

    def judge(self, request: Request) -> Response:
        return JSONResponse(self.session.judge.start(self.session.source(request.path_params["key"], "synthetic")))

    def live_offers(self, request: Request) -> Response:
        return JSONResponse(self.session.live(request.path_params["key"]).offers())

    def live_sample(self, request: Request) -> Response:
        side = _whole(request.query_params.get("side"), 384, 64, 768)
        return _live_answer(self.session.live(request.path_params["key"]).sample(*_wanted(request), side))

    def live_strip(self, request: Request) -> Response:
        first, pictures = self.session.live(request.path_params["key"]).strip(*_wanted(request), 96)
        return JSONResponse({"first": first, "pictures": [_uri(picture.outlined[0]) for picture in pictures]})

    def live_from_mask(self, request: Request) -> Response:
        given = request.state.json
        run = self.session.live(request.path_params["key"])
        height, width = run.sampler.size
        mask = mask_from_rows(given.get("rows") or [], (height, width))
        return _live_answer(run.from_mask(mask, given.get("seed", 0), 384))

    def blind_begin(self, request: Request) -> Response:
        given = request.state.json
        source = self.session.source(given.get("source"), "synthetic")
        trials = given.get("trials")
        if not isinstance(trials, int):
            raise DataError("trials", "is not a whole number")
        masks, lesions = given.get("masks") is True, given.get("lesions") is True
        test = self.session.blind.begin(source, trials, masks=masks, lesions=lesions)
        return JSONResponse({"key": test.key, "trials": trials, "channels": source.manifest["channels"]})

    def blind_picture(self, request: Request) -> Response:
        test = self._test(request)
        trial, channel = request.path_params["trial"], request.path_params["channel"]
        return Response(self.session.blind.picture(test, trial, channel, 420), media_type="image/png")

    def blind_answer(self, request: Request) -> Response:
        given = request.state.json
        told = self.session.blind.answer(self._test(request), given.get("trial"), given.get("answer"))
        if told["over"]:
            told["words"] = chance_words(told["result"])
        return JSONResponse(told)

    def _test(self, request: Request) -> Any:
        test = self.session.blind.tests.get(request.path_params["key"])
        if test is None:
            raise DataError("blind test", "there is no such one")
        return test


def _wanted(request: Request) -> tuple[int, int, dict[str, float]]:
    """Seed, index and controls of a sample that is asked for."""
    asked = request.query_params
    seed, index = (_whole(asked.get(name), 0, 0, 2**31 - 1) for name in ("seed", "index"))
    return seed, index, {key[4:]: _number(value, math.nan) for key, value in asked.items() if key.startswith("set.")}


def _uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _live_answer(picture: LivePicture) -> Response:
    return JSONResponse(
        {
            "plain": [_uri(png) for png in picture.plain],
            "outlined": [_uri(png) for png in picture.outlined],
            "mask": _uri(picture.mask),
            "lesion_mm2": picture.lesion_mm2,
            "lesion_pixels": picture.lesion_pixels,
        }
    )


def _number(text: str | None, default: float) -> float:
    try:
        return float(text) if text else default
    except ValueError:
        raise DataError("request", f"{(text or '')[:40]!r} is not a number") from None


def _whole(text: str | None, default: int, least: int, most: int) -> int:
    value = _number(text, float(default))
    if not math.isfinite(value):
        raise DataError("request", "a number is not finite")
    return min(max(int(value), least), most)
