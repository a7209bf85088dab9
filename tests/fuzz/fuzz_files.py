"""Spoils sound files: bytes and lengths of all, and by format the fields or values that readers trust."""

from __future__ import annotations

import copy
import gzip
import json
import struct
import tomllib
from typing import Any

import numpy as np
import tomli_w

_VALUES = ("null", "-1", "0", "1e999", "NaN", '"../x"', "[]", "{}", "9" * 400, '"' + "x" * 70_000 + '"', "[" * 2000)
_VALUES += ("true", '""', "1e300", '"\\u0000"', "[[1]]", '{"a": 1}')
# What may stand in the place of a value of JSON or TOML; anything that lies deeper is lost.
_ODD: tuple[Any, ...] = (-1, 0, 1, 2, 10**9, 2**63, 1.5, -0.5, 1e300, float("inf"), float("nan"), True, "", "0", "../x")
_ODD += ("a" * 300, "\x00", "é", [], [[]], [1, "a"], {}, {"a": 1}, {"": []}, [{}], ["FLAIR"] * 9)
_DIMS = (0, 1, -1, 2, 7, 255, 32767, -32768)
_TYPES = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1024, 1280, 1536, 1792, 2048, 2304)
_FLOATS = (0.0, -1.0, 1e30, float("nan"), float("inf"), 1e-30)
_FLOAT_FIELDS = (76, 80, 108, 112, 116, 256, 280, 296, 312)  # pixdim, vox_offset, scl_*, quaternion, srow_*


def mutated(content: bytes, form: str, random: np.random.Generator) -> bytes:
    """Spoils a sound file in one to five places; half of those that are not NIfTI stay well-formed.

    Args:
        content: the sound file; a NIfTI is not packed.
        form: ``nifti``, ``json``, ``toml`` or ``safetensors``.
        random: where the choices come from.
    """
    if form != "nifti" and random.random() < 0.5:
        return _other_values(content, form, random)
    packed = form == "nifti" and random.random() < 0.5
    spoilt = bytearray(content)
    for _ in range(int(random.integers(1, 6))):
        of_fields = random.random() < 0.5
        spoilt = _spoil_fields(spoilt, form, random) if of_fields else _spoil_bytes(spoilt, random)
    if not packed:
        return bytes(spoilt)
    wrapped = bytearray(gzip.compress(bytes(spoilt), 1))
    return bytes(_spoil_bytes(wrapped, random) if random.random() < 0.3 else wrapped)


def _spoil_bytes(content: bytearray, random: np.random.Generator) -> bytearray:
    if not content:
        return content
    place, length = int(random.integers(len(content))), int(random.integers(1, 64))
    way = int(random.integers(5))
    if way == 0:
        content[place] ^= 1 << int(random.integers(8))
    elif way == 1:
        content[place : place + length] = random.bytes(length)
    elif way == 2:
        del content[place:]
    elif way == 3:
        content[place:place] = content[max(0, place - length) : place]
    else:
        content[place : place + length] = bytes(length)
    return content


def _spoil_fields(content: bytearray, form: str, random: np.random.Generator) -> bytearray:
    if form == "nifti":
        return _spoil_nifti(content, random)
    if form == "safetensors":
        return _spoil_safetensors(content, random)
    return _spoil_text(content, random)


def _spoil_nifti(content: bytearray, random: np.random.Generator) -> bytearray:
    if len(content) < 348:
        return content
    way = int(random.integers(4))
    if way == 0:  # dim
        struct.pack_into("<h", content, 40 + 2 * int(random.integers(8)), int(random.choice(_DIMS)))
    elif way == 1:  # datatype and bitpix
        struct.pack_into("<h", content, 70 + 2 * int(random.integers(2)), int(random.choice(_TYPES)))
    else:
        place = _FLOAT_FIELDS[int(random.integers(len(_FLOAT_FIELDS)))]
        struct.pack_into("<f", content, place, _FLOATS[int(random.integers(len(_FLOATS)))])
    return content


def _spoil_safetensors(content: bytearray, random: np.random.Generator) -> bytearray:
    if len(content) < 16:
        return content
    (length,) = struct.unpack_from("<Q", content)
    if random.random() < 0.3:
        struct.pack_into("<Q", content, 0, int(random.choice((0, 1, 2**31, 2**62))))
    elif 8 + length <= len(content):
        header = _spoil_text(content[8 : 8 + length], random)
        return bytearray(struct.pack("<Q", len(header))) + header + content[8 + length :]
    return content


def _spoil_text(content: bytearray, random: np.random.Generator) -> bytearray:
    """Puts another value in the place of one of the text's: most are sound JSON or TOML, and none is what belongs."""
    starts = [place for place, byte in enumerate(content) if byte in b":=,"]
    if not starts:
        return content
    start = starts[int(random.integers(len(starts)))] + 1
    end = next((place for place in range(start, len(content)) if content[place] in b",}]\n"), len(content))
    content[start:end] = b" " + _VALUES[int(random.integers(len(_VALUES)))].encode()
    return content


def _other_values(content: bytes, form: str, random: np.random.Generator) -> bytes:
    """Well-formed content with one or two other values, or without them, or with one key more."""
    begin, end = 0, len(content)
    if form == "safetensors":
        begin, end = 8, 8 + struct.unpack_from("<Q", content)[0]
    text = content[begin:end]
    tree = tomllib.loads(text.decode()) if form == "toml" else json.loads(text)
    for _ in range(int(random.integers(1, 3))):
        _change(tree, random)
    if form == "toml":
        return tomli_w.dumps(tree).encode()
    told = json.dumps(tree).encode()
    return told if form == "json" else struct.pack("<Q", len(told)) + told + content[end:]


def _change(tree: Any, random: np.random.Generator) -> None:
    places = list(_places(tree))
    if not places:
        return
    node, key = places[int(random.integers(len(places)))]
    way = int(random.integers(8))
    if way == 0:
        del node[key]
    elif way == 1 and isinstance(node, dict):
        node[f"{key}_"] = copy.deepcopy(node[key])
    elif way == 2 and isinstance(node, list):
        node.append(copy.deepcopy(node[key]))
    else:
        node[key] = copy.deepcopy(_ODD[int(random.integers(len(_ODD)))])


def _places(tree: Any) -> Any:
    """Every (container, key or index) of a tree."""
    keys = list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    for key in keys:
        yield tree, key
        yield from _places(tree[key])
