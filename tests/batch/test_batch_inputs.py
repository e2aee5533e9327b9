"""What may be asked for: sequences, JSONL, CSV; everything that is wrong is told at once, and nothing is sent."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from batch_tries import Tries
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_qwenimage._compat import AirflowFailException
from airflow_provider_qwenimage.api.errors import InvalidRequestError
from airflow_provider_qwenimage.batch.index import Index
from airflow_provider_qwenimage.batch.items import ItemMaker, name_of
from airflow_provider_qwenimage.batch.loading import SHOWN, load, rows
from airflow_provider_qwenimage.batch.rows import LONGEST_LINE, rows_in
from airflow_provider_qwenimage.emulator import Emulator
from airflow_provider_qwenimage.operators import QwenImageBatchGenerateOperator

DEFAULTS = {"aspect_ratio": "4:3", "num_outputs": 1, "prompt_optimization": True, "model_id": "0-24"}
NewTries = Callable[..., Tries]


def taken(requests: Any, **defaults: Any) -> list[dict[str, Any]]:
    """What is understood of some requests: key and request of each item."""
    with Index() as index:
        with rows(requests) as found:
            load(index, found, ItemMaker(DEFAULTS | defaults, "qwenimage_default"))
        return [{"key": result["key"], **result["request"]} for result in index.results(None)]


def written(folder: Path, name: str, content: str | bytes) -> str:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


PLAIN = {"aspect_ratio": "4:3", "num_outputs": 1, "prompt_optimization": True, "model_id": "0-24"}


def test_prompts_and_dicts_and_their_defaults():
    """A prompt is a request; what a dict does not say comes from the operator; the position is the default key."""
    found = taken(["a cat", {"prompt": "a dog", "key": "dog", "num_outputs": 3, "aspect_ratio": "9:16"}])
    assert found == [
        {"key": "0", "prompt": "a cat", **PLAIN},
        {"key": "dog", "prompt": "a dog", **PLAIN, "num_outputs": 3, "aspect_ratio": "9:16"},
    ]


def test_an_image_takes_no_default_ratio():
    """A ratio for all is for those that can have one: an input image decides the ratio of its result."""
    url = "https://example.com/in.png"
    assert taken(
        [{"prompt": "p", "image_urls": [url]}, {"prompt": "p", "image": url}, {"prompt": "p", "image": "/in.png"}]
    ) == [
        {
            "key": "0",
            "prompt": "p",
            "image_urls": [url],
            "num_outputs": 1,
            "prompt_optimization": True,
            "model_id": "0-24",
        },
        {
            "key": "1",
            "prompt": "p",
            "image_urls": [url],
            "num_outputs": 1,
            "prompt_optimization": True,
            "model_id": "0-24",
        },
        {
            "key": "2",
            "prompt": "p",
            "image": "/in.png",
            "num_outputs": 1,
            "prompt_optimization": True,
            "model_id": "0-24",
        },
    ]


def test_a_list_that_jinja_has_rendered_to_text():
    """A template renders to text unless the DAG says otherwise."""
    assert [found["prompt"] for found in taken("['a cat', {'prompt': 'a dog'}]")] == ["a cat", "a dog"]


def test_a_sequence_is_read_lazily():
    """A sequence that fetches its values is never made a list."""

    class Lazy:
        def __iter__(self) -> Iterator[str]:
            return (f"cat {number}" for number in range(5))

        def __len__(self) -> int:
            raise AssertionError("it would have to fetch all")

    assert len(taken(Lazy())) == 5


def test_json_lines(tmp_path: Path):
    """A line is a prompt or an object; blank lines and a byte order mark do no harm; the last line needs no end."""
    text = '\ufeff"a cat"\n\n{"prompt": "ein Hund", "key": 17}\r\n{"prompt": "一只猫", "num_outputs": 2}'
    found = taken(written(tmp_path, "r.jsonl", text))
    assert [(item["key"], item["prompt"], item["num_outputs"]) for item in found] == [
        ("0", "a cat", 1),
        ("17", "ein Hund", 1),
        ("2", "一只猫", 2),
    ]


def test_csv(tmp_path: Path):
    """The header names the fields, an empty cell is not given, texts become what they stand for, cells are unquoted."""
    text = (
        'key, prompt ,num_outputs,prompt_optimization\r\nA-1,"a ""big"" cat,\nsleeping",2,false\r\n\r\nA-2, dog ,,\r\n'
    )
    assert taken(written(tmp_path, "r.CSV", text)) == [
        {"key": "A-1", "prompt": 'a "big" cat,\nsleeping', **PLAIN, "num_outputs": 2, "prompt_optimization": False},
        {"key": "A-2", "prompt": " dog ", **PLAIN},
    ]


BAD_LINES = {
    '{"prompt": "x"': "is not JSON",
    "[" * 5000: "is not JSON",
    "17": "must be a prompt or an object",
    '{"prompt": " "}': "prompt must be a text that is not blank",
    '{"prompt": "x", "colour": "red"}': "is not a field",
    '{"prompt": "x", "num_outputs": 5}': "num_outputs must be a whole number from 1 to 4",
    '{"prompt": "x", "num_outputs": 1.5}': "num_outputs",
    '{"prompt": "x", "aspect_ratio": "1:1"}': "aspect_ratio must be one of",
    '{"prompt": "x", "aspect_ratio": "4:3", "image": "/a.png"}': "aspect_ratio is for text-to-image only",
    '{"prompt": "x", "image": "a.png"}': "image must be a URL or an absolute path",
    '{"prompt": "x", "image": "/a.png", "image_urls": ["https://e.com/x"]}': "two ways",
    '{"prompt": "x", "key": "good"}': "has the key 'good' of line 1",
    '{"prompt": "x", "key": "a\\nb"}': "key must be a text on one line",
    '{"prompt": "x", "key": true}': "key must be",
    json.dumps({"prompt": "x", "key": "k" * 201}): "key has 201 characters",
    '{"prompt": "\\ud800"}': "surrogate",
    json.dumps("x" * LONGEST_LINE): "is longer than",
}


def test_all_bad_lines_are_told_at_once(tmp_path: Path, tries: NewTries, service: Emulator):
    """Count, line and reason of each; nothing is sent, and Airflow does not try again."""
    lines = ['{"prompt": "x", "key": "good"}', *BAD_LINES]
    content = "\n".join(lines).encode() + b'\n"\xff\xfe"\n"a good one"\n'
    run = tries(requests=written(tmp_path, "r.jsonl", content))
    assert run.next() is None
    assert isinstance(run.error, AirflowFailException)
    assert isinstance(run.error, InvalidRequestError)
    told = str(run.error).splitlines()
    assert len(told) == len(BAD_LINES) + 2
    assert told[0].startswith(f"{len(BAD_LINES) + 1} of {len(BAD_LINES) + 3} requests can't be used, so none was sent")
    for number, (words, line) in enumerate(zip([*BAD_LINES.values(), "is not UTF-8"], told[1:], strict=True), start=2):
        assert line.startswith(f"line {number} ")
        assert words in line
    assert "no credits were spent" in str(run.error)
    assert sum(service.report()["requests"].values()) == 0


def test_only_the_first_bad_rows_are_told(tries: NewTries):
    """Ten thousand mistakes fit into a log."""
    run = tries(requests=[{"prompt": "x", "num_outputs": "{{ 9 }}"}] * 10_000)
    run.next()
    told = str(run.error).splitlines()
    assert told[0].startswith("10000 of 10000")
    assert told[SHOWN + 1] == f"… and {10_000 - SHOWN} more"
    assert len(str(run.error)) < 10_000


BAD_FILES = {
    "unknown column": ("prompt,colour\nx,red\n", "line 1 has columns that are no fields"),
    "no prompt": ("key\na\n", "line 1 has no column prompt"),
    "twice": ("prompt,prompt\na,b\n", "line 1 names a column twice"),
    "too many cells": ("prompt\na,b\n", "line 2 has 2 cells, and the header has 1"),
    "too few cells": ("prompt,key\na\n", "line 2 has 1 cells, and the header has 2"),
    "no number": ("prompt,num_outputs\na,many\n", "num_outputs must be a whole number"),
    "open quote": ('prompt\n"a\n', "unexpected end of data"),
    "UTF-16": ("prompt\na\n".encode("utf-16"), "line 1 is not UTF-8"),
    "long field": ("prompt\n" + "x" * 200_000 + "\n", "field larger than field limit"),
    "long line": ("prompt\n" + "x" * (LONGEST_LINE + 1) + "\ny\n", "line 2 is longer than"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_csv(name: str, tmp_path: Path, tries: NewTries):
    """A table that is none, or torn, is refused with the line and the reason."""
    content, words = BAD_FILES[name]
    run = tries(requests=written(tmp_path, "r.csv", content))
    run.next()
    assert isinstance(run.error, InvalidRequestError)
    assert words in str(run.error)


def test_rows_after_a_bad_one_are_read(tmp_path: Path):
    """A long line, a wrong encoding or a broken quote spoils its own row only."""
    content = b"prompt\n" + b"x" * (3 * LONGEST_LINE) + b"\n\xff\nlast\n"
    found = list(rows_in(io.BytesIO(content), "r.csv"))
    assert [(row.place, row.problem is None) for row in found] == [
        ("line 2", False),
        ("line 3", False),
        ("line 4", True),
    ]


@pytest.mark.parametrize("requests", [None, 17, {}, "a prompt", "relative.jsonl", b"bytes", "None"])
def test_what_is_no_requests(requests: Any, tries: NewTries, service: Emulator):
    """A forgotten return value upstream, or a prompt where a list is wanted, is told before anything is sent."""
    run = tries(requests="{{ x }}")
    run.arguments["requests"] = "{{ x }}"
    operator = run.operator()
    operator.requests = requests  # as Airflow renders it
    run.operator = lambda: operator  # type: ignore[method-assign]
    assert run.next() is None
    assert isinstance(run.error, InvalidRequestError)
    assert "requests must be a list" in str(run.error)


@pytest.mark.parametrize(
    "arguments",
    [
        {"requests": "a prompt"},
        {"requests": "/tmp/x.txt"},
        {"requests": ["a", {"prompt": "b", "num_outputs": 7}]},
        {"requests": ["a", {"prompt": "b", "colour": 7}]},
        {"requests": ["a", 7]},
        {"max_active": 0},
        {"max_active": True},
        {"max_active": 1001},
        {"aspect_ratio": "1:1"},
        {"num_outputs": 5},
        {"on_failure": "ignore"},
        {"on_missing_images": "ignore"},
        {"on_unknown_submit": "ignore"},
        {"file_name": "{index}.{ext}"},
        {"file_name": "{colour}.{ext}"},
        {"output_path": "relative"},
        {"manifest": "relative.jsonl"},
        {"min_credits": -1},
        {"timeout": 0},
        {"timeout": "long"},
    ],
    ids=str,
)
def test_wrong_literals_fail_when_the_dag_is_parsed(arguments: dict[str, Any]):
    """The operator itself can't be made with them."""
    with pytest.raises(InvalidRequestError):
        QwenImageBatchGenerateOperator(**{"task_id": "x", "requests": ["a"], "output_path": "/tmp/x", **arguments})


def test_several_images_need_several_names(tries: NewTries, service: Emulator):
    """A file name without an index serves as long as every request asks for one image."""
    run = tries(requests=["a", {"prompt": "b", "num_outputs": 2}], file_name="{key}.{ext}")
    run.next()
    assert "2 images would get the same name" in str(run.error)
    assert sum(service.report()["requests"].values()) == 0


@given(st.lists(st.text(min_size=1, max_size=230), max_size=20, unique=True))
def test_names_of_keys_are_plain_and_differ(keys: list[str]):
    """No key leads out of the folder, and different keys have different names."""
    names = [name_of(key) for key in keys]
    assert len(set(names)) == len(names)
    assert all(name.isascii() and "/" not in name and not name.startswith((".", "-")) for name in names)
    assert all(len(name) <= 100 for name in names)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00\r"), min_size=1, max_size=30)


@given(st.lists(st.one_of(TEXTS, st.dictionaries(st.sampled_from(["prompt", "key", "num_outputs", "x"]), TEXTS))))
@settings(max_examples=200)
def test_json_lines_survive_the_way(values: list[Any]):
    """What json.dumps writes is read back, one row each, in order."""
    text = "".join(f"{json.dumps(value, ensure_ascii=False)}\n" for value in values)
    assert [row.content for row in rows_in(io.BytesIO(text.encode()), "r.jsonl")] == values


@given(st.lists(st.tuples(CELLS, CELLS), max_size=10))
@settings(max_examples=200)
def test_csv_survives_the_way(values: list[tuple[str, str]]):
    """What Python's csv writes is read back, one row each, in order; blank cells are not given."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows([("prompt", "key"), *values])
    found = [row.content for row in rows_in(io.BytesIO(text.getvalue().encode()), "r.csv")]
    pairs = [{"prompt": prompt, "key": key.strip()} for prompt, key in values]
    assert found == [{name: cell for name, cell in pair.items() if cell.strip()} for pair in pairs]


@given(st.binary(max_size=300), st.sampled_from(["r.csv", "r.jsonl"]))
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_read_or_refused(content: bytes, name: str):
    """No file makes the reader itself fail."""
    with Index() as index, suppress(InvalidRequestError):
        load(index, rows_in(io.BytesIO(content), name), ItemMaker(DEFAULTS, "c"))


MEASURE = """
import resource, sys, time
from test_batch_inputs import taken_number
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
few, many = sys.argv[1:]
assert taken_number(few) == 1_000
before = peak()
assert taken_number(many) == 100_000
print(peak() - before)
"""


def taken_number(path: str) -> int:
    """Take up all requests of a file and go through what would be its manifest; return their number."""
    with Index() as index:
        with rows(path) as found:
            load(index, found, ItemMaker(DEFAULTS, "c"))
        assert sum(1 for _ in index.results(None)) == index.asked()
        return index.asked()


@pytest.mark.parametrize("name", ["r.jsonl", "r.csv"])
def test_a_hundred_thousand_rows_in_constant_memory(name: str, tmp_path: Path):
    """A hundred thousand requests (19 MB) take no more memory than a thousand, but for what SQLite keeps."""
    few, many = (big_file(tmp_path / f"{number}-{name}", number) for number in (1_000, 100_000))
    command = [sys.executable, "-c", MEASURE, few, many]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.splitlines()[-1]) < 12 * 1024  # KB


def big_file(path: Path, number: int) -> str:
    """Write requests into a JSONL or CSV file."""
    with path.open("w") as file:
        file.write("prompt,key\n" if path.suffix == ".csv" else "")
        for at in range(number):
            prompt, key = f"a picture of product {at}, " + "plain background, " * 8, f"k{at}"
            line = f'"{prompt}",{key}' if path.suffix == ".csv" else json.dumps({"prompt": prompt, "key": key})
            file.write(f"{line}\n")
    return str(path)


@pytest.mark.parametrize("given", [{"timeout": "900"}, {"timeout": None}, {"poll_interval": "5"}, {"poll_interval": 0}])
def test_times_that_are_none_fail_when_the_dag_is_parsed(given: dict[str, Any]):
    """Found when the first image is waited for, they would fail a task that has paid."""
    with pytest.raises(InvalidRequestError, match=f"{next(iter(given))} must be a number of seconds"):
        QwenImageBatchGenerateOperator(task_id="draw", requests=["a kite"], output_path="/tmp/x", **given)


KILLED = """
import json, os, sys
from pathlib import Path
from airflow_provider_qwenimage.batch.index import Index
from airflow_provider_qwenimage.batch.items import ItemMaker

maker = ItemMaker(json.loads(sys.argv[1]), "qwenimage_default")
with Index() as index:
    for number in range(20_000):  # more than is kept in memory
        index.add(number, "row", maker.make(f"picture {number}" * 20, number))
    open_files = [os.readlink(each) for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
    print(any(name.startswith(os.environ["TMPDIR"]) for name in open_files), flush=True)
    os._exit(9)
"""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system does not show what is open")
def test_a_killed_batch_leaves_no_index(tmp_path: Path):
    """It holds all prompts, and a worker's disk is not without end."""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", KILLED, json.dumps(DEFAULTS)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "True\n", done.stderr
    assert list(tmp_path.iterdir()) == []
