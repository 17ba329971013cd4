"""Inputs that are almost right: seeds with a few edits, of bytes and of what the bytes stand for.

An edit takes a source of chance and the bytes, and gives other bytes; one that does not fit (no
JSON after an earlier edit) raises, and another one is drawn.
"""

from __future__ import annotations

import io
import json
import random
import re
import sqlite3
import struct
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any
from zipfile import ZipFile, ZipInfo

import numpy as np
from numpy.typing import NDArray

Edit = Callable[[random.Random, bytes], bytes]

NUMBERS = (
    "0", "-0", "-1", "1", "1e308", "-1e308", "1e309", "5e-324", "1e-5", "NaN", "nan", "Infinity",
    "-Infinity", "inf", "1_000", "0x10", "010", "1:30", "127", "128", "255", "256", "65536",
    "2147483647", "2147483648", "4294967296", "9223372036854775807", "9223372036854775808",
    "1" + 400 * "0", 5000 * "9", "1.5", "1,5", "٣", "½", "+1", " 1", "1e", ".", "-",
)  # fmt: skip
TEXTS = (
    "", " ", "\n", "\r", "\x00", "\x1b[31m", "\u202e", "\ud800", "é", "\U0001f600", "\ufeff",
    "../x", "/etc/passwd", "<script>", "</script>", "=1+1", "{", "}", "[", "]", '"', "'", "\\", ",",
    ":", ";", "-", "x", "null", "true", "None", "~", "&a", "*a", "!!python/name:os.system", "%s",
    "{0}",
    3000 * "a", 300 * "[", 300 * "{",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 0.5, -0.5, 1e308, -1e308, 5e-324, float("nan"), float("inf"),
    float("-inf"), 2**31, 2**63, -(2**63), 10**400, [], {}, [[]], [None], {"": 0}, [1, 2, 3],
    *TEXTS, *NUMBERS[:12],
)  # fmt: skip
MAX_EDITS = 4
MAX_BYTES = 1 << 20  # what edits may make of a seed


def mutated(rng: random.Random, seeds: Sequence[bytes], edits: Sequence[Edit]) -> bytes:
    """One of the seeds with 1 to 4 edits."""
    data = rng.choice(seeds)
    for _ in range(rng.randint(1, MAX_EDITS)):
        for _ in range(5):
            try:
                changed = rng.choice(edits)(rng, data)
            except Exception:
                continue
            if len(changed) <= MAX_BYTES:
                data = changed
                break
    return data


# --- Bytes -------------------------------------------------------------------------------


def flip(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]


def overwrite(rng: random.Random, data: bytes) -> bytes:
    """With numbers as they stand in binary formats."""
    form = rng.choice(["<B", "<H", "<i", "<q", "<f", "<d"])
    value: float
    if form in ("<f", "<d"):
        value = rng.choice([0.0, -1.0, float("nan"), float("inf"), 1e30])
    else:
        bits = 8 * struct.calcsize(form)
        unsigned = form in ("<B", "<H")
        top = 2**bits - 1 if unsigned else 2 ** (bits - 1) - 1
        value = rng.choice([0, 1, top, top // 2, 0 if unsigned else -1, rng.randrange(1 + top)])
    packed = struct.pack(form, value)
    at = rng.randrange(len(data))
    return data[:at] + packed + data[at + len(packed) :]


def cut(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def remove(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.choice([1, 2, 4, 8, 64]) :]


def repeat(rng: random.Random, data: bytes) -> bytes:
    at, length = rng.randrange(len(data)), rng.choice([1, 4, 16, 256])
    return data[:at] + data[at : at + length] * rng.choice([2, 3, 50]) + data[at + length :]


def insert(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(1 + len(data))
    return data[:at] + rng.randbytes(rng.choice([1, 2, 8])) + data[at:]


BYTES: tuple[Edit, ...] = (flip, flip, overwrite, overwrite, cut, remove, repeat, insert)


# --- Text --------------------------------------------------------------------------------


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def change_number(rng: random.Random, data: bytes) -> bytes:
    found = rng.choice(list(re.finditer(rb"[-+]?[0-9][0-9.]*(?:[eE][-+]?[0-9]+)?", data)))
    return data[: found.start()] + encoded(rng.choice(NUMBERS)) + data[found.end() :]


def change_word(rng: random.Random, data: bytes) -> bytes:
    words = list(re.finditer(rb"[A-Za-z_]+", data))
    word = rng.choice(words)
    new = rng.choice([encoded(rng.choice(TEXTS)), rng.choice(words)[0]])
    return data[: word.start()] + new + data[word.end() :]


def insert_text(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(1 + len(data))
    return data[:at] + encoded(rng.choice(TEXTS + NUMBERS)) + data[at:]


def change_lines(rng: random.Random, data: bytes) -> bytes:
    lines = data.split(b"\n")
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    what = rng.randrange(4)
    if what == 0:
        del lines[at]
    elif what == 1:
        lines.insert(other, lines[at])
    elif what == 2:
        lines[at], lines[other] = lines[other], lines[at]
    else:
        lines[at] = lines[at][: rng.randrange(1 + len(lines[at]))]
    return b"\n".join(lines)


def change_delimiter(rng: random.Random, data: bytes) -> bytes:
    found = rng.choice(list(re.finditer(rb"[-,:;x=|\[\]{}()\" \t\r\n]", data)))
    return (
        data[: found.start()] + rng.choice([b"", 2 * found[0], b",", b"\n"]) + data[found.end() :]
    )


TEXT: tuple[Edit, ...] = (
    change_number, change_number, change_word, insert_text, change_lines, change_lines,
    change_delimiter, flip, cut, repeat, insert,
)  # fmt: skip


# --- Documents ---------------------------------------------------------------------------


def edit_document(rng: random.Random, document: Any) -> Any:
    """One value somewhere inside is replaced, left out, doubled, or gets another's place."""
    holders = [document]
    for holder in holders:
        children = holder.values() if isinstance(holder, dict) else holder
        holders += [child for child in children if isinstance(child, dict | list) and child]
        if len(holders) > 3000:
            break
    holder = rng.choice(holders)
    if isinstance(holder, dict):
        key = rng.choice(list(holder))
        what = rng.randrange(6)
        if what == 0:
            del holder[key]
        elif what == 1:
            holder[rng.choice(TEXTS)] = holder[key]
        elif what == 2:
            holder[rng.choice(list(holder))] = holder[key]
        else:
            holder[key] = _other(rng, holder[key])
    else:
        at = rng.randrange(len(holder))
        what = rng.randrange(4)
        if what == 0:
            del holder[at]
        elif what == 1:
            holder.insert(at, holder[at])
        else:
            holder[at] = _other(rng, holder[at])
    return document


def _other(rng: random.Random, value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool) and rng.random() < 0.5:
        return rng.choice([-value, value + 1, value * 1e6, value * 1e-9, str(value), [value]])
    if isinstance(value, str) and rng.random() < 0.5:
        return rng.choice(TEXT)(rng, value.encode()).decode("utf-8", "replace")
    return rng.choice(VALUES)


def edit_json(rng: random.Random, data: bytes) -> bytes:
    return encoded(
        json.dumps(edit_document(rng, json.loads(data)), ensure_ascii=rng.random() < 0.8)
    )


JSON: tuple[Edit, ...] = (*[edit_json] * 8, change_number, insert_text, change_delimiter, flip, cut)


def edit_json_line(rng: random.Random, data: bytes) -> bytes:
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    lines[at] = edit_json(rng, lines[at])
    return b"\n".join(lines)


JSON_LINES: tuple[Edit, ...] = (*[edit_json_line] * 6, change_lines, flip, cut, insert_text)


# --- Binary formats ----------------------------------------------------------------------


def edit_tensors(rng: random.Random, data: bytes) -> bytes:
    """The header of a safetensors file, or the JSON that its metadata hold."""
    (length,) = struct.unpack_from("<Q", data)
    header, rest = json.loads(data[8 : 8 + length]), data[8 + length :]
    metadata = header.get("__metadata__") or {}
    if metadata and rng.random() < 0.5:
        name = rng.choice(list(metadata))
        metadata[name] = rng.choice(JSON)(rng, encoded(metadata[name])).decode("utf-8", "replace")
    else:
        header = edit_document(rng, header)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + rest


def edit_tensor_values(rng: random.Random, data: bytes) -> bytes:
    (length,) = struct.unpack_from("<Q", data)
    return data[: 8 + length] + overwrite(rng, data[8 + length :])


TENSORS: tuple[Edit, ...] = (*[edit_tensors] * 5, *[edit_tensor_values] * 3, *BYTES)


def edit_arrays(rng: random.Random, data: bytes) -> bytes:
    """One array of an .npz in another shape, type or value; the others are not even decoded."""
    with ZipFile(io.BytesIO(data)) as file:
        files = {name: file.read(name) for name in file.namelist()}
    name = rng.choice(list(files))
    what = rng.randrange(7)
    if what == 0:
        del files[name]
    elif what == 1:
        files[rng.choice(["x.npy", "train_y.npy", f"0{name}"])] = files[name]
    else:
        array = np.load(io.BytesIO(files[name]), allow_pickle=False)
        changed = io.BytesIO()
        np.save(changed, _other_array(rng, array, what), allow_pickle=False)
        files[name] = changed.getvalue()
    out = io.BytesIO()
    with ZipFile(out, "w") as file:
        for name, content in files.items():
            file.writestr(ZipInfo(name), content)
    return out.getvalue()


def _other_array(rng: random.Random, array: NDArray[Any], what: int) -> NDArray[Any]:
    if what == 2:
        return array.astype(rng.choice(["i1", "u8", "f2", "f8", "c16", "U3", "?", "M8[s]"]))
    if what == 3:
        return array[..., None] if rng.random() < 0.5 else array.ravel()
    if what == 4:
        return array[: rng.randrange(1 + len(array))]
    array = np.array(array)
    array.flat[rng.randrange(array.size)] = rng.choice([0, -1, 1, 127, 2**31, np.nan])
    return array


ARRAYS: tuple[Edit, ...] = (*[edit_arrays] * 6, *BYTES)


def edit_database(rng: random.Random, data: bytes) -> bytes:
    """One cell, or what a column is called, in a SQLite file."""
    with closing(sqlite3.connect(":memory:")) as db:
        db.deserialize(data)
        names = [
            name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type='table'")
        ]
        table = rng.choice(names)
        columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
        column = rng.choice(columns)
        what = rng.randrange(12)
        if what == 0:
            db.execute(f"DROP TABLE {table}")
        elif what == 1:
            db.execute(f"ALTER TABLE {table} RENAME COLUMN {column} TO other")
        elif what == 2:
            db.execute(f"DELETE FROM {table}")
        elif what == 3:
            db.execute(f"PRAGMA user_version = {rng.choice([0, 1, 2, 99, -1])}")
        else:
            old = db.execute(f"SELECT {column} FROM {table} LIMIT 1").fetchone()
            value = _other(rng, old[0] if old and isinstance(old[0], int | float | str) else 1)
            if isinstance(value, list | dict) or (isinstance(value, int) and abs(value) >= 2**63):
                value = json.dumps(value)
            every = rng.random() < 0.5
            where = "" if every else f" WHERE rowid = (SELECT MIN(rowid) FROM {table})"
            db.execute(f"UPDATE OR IGNORE {table} SET {column} = ?{where}", (value,))
        db.commit()
        return db.serialize()


DATABASE: tuple[Edit, ...] = (*[edit_database] * 6, *BYTES)


def edit_onnx(rng: random.Random, data: bytes) -> bytes:
    """One field of one message inside is changed, left out, or doubled."""
    import onnx

    model = onnx.ModelProto.FromString(data)
    messages: list[Any] = [model]
    for message in messages:
        for field, value in message.ListFields():
            if field.message_type is not None:
                messages += list(value) if field.is_repeated else [value]
    message = rng.choice(messages)
    field, value = rng.choice(message.ListFields())
    what = rng.randrange(5)
    if what == 0:
        message.ClearField(field.name)
    elif field.is_repeated and what == 1:
        del value[rng.randrange(len(value))]
    elif field.is_repeated and what == 2:
        value.append(rng.choice(value))
    elif field.message_type is None:
        if field.is_repeated:
            at = rng.randrange(len(value))
            value[at] = _scalar(rng, value[at])
        else:
            setattr(message, field.name, _scalar(rng, value))
    return bytes(model.SerializeToString())


def _scalar(rng: random.Random, value: Any) -> Any:
    if isinstance(value, str):
        return rng.choice(["", "x", "Conv", "Relu", "Add", "Reshape", "../x", value + "0"])
    if isinstance(value, bytes):
        return rng.choice(BYTES)(rng, value) if value else b"x"
    if isinstance(value, float):
        return rng.choice([0.0, -1.0, float("nan"), float("inf"), 1e30])
    return rng.choice([0, -1, 1, 2, 7, 2**31 - 1, value + 1, value * 2])


ONNX: tuple[Edit, ...] = (*[edit_onnx] * 8, *BYTES)
