"""Reads the log of `airflow dags test` (Airflow 3.3.2) for somebody who only wants to know how it goes."""

from __future__ import annotations

import re

# 2026-11-22T17:05:01.171911Z [info     ] Generation 4711: processing    [airflow_provider_qwenimage.hooks] loc=...
LINE = re.compile(r"^\d{4}-\S+ \[(?P<level>\w+)\s*\] (?P<text>.*?)\s+\[(?P<logger>[\w.]+)\](?: |$)")
STARTING = re.compile(r"\[DAG TEST\] starting task_id=(\S+)")
STATE = re.compile(r"Task instance state updated .* new_state=(\w+)")
ERROR = re.compile(r"^[A-Za-z_][\w.]*: .")
STATES = {"success": "done", "failed": "failed", "deferred": "waiting in the triggerer", "up_for_retry": "tried again"}
# Said by Airflow's base classes in the name of our sensor.
AIRFLOWS_OWN_WORDS = {"Success criteria met. Exiting."}


def in_plain_words(line: str) -> str | None:
    """What a line means to a newcomer; None for nothing."""
    if starting := STARTING.search(line):
        return f"  Task {starting[1]}"
    if state := STATE.search(line):
        return f"    {STATES.get(state[1], state[1])}"
    found = LINE.match(line)
    if not found or "airflow_provider_qwenimage" not in found["logger"] or found["text"] in AIRFLOWS_OWN_WORDS:
        return None
    return f"    {found['text']}"


def last_error(log: str) -> str:
    """The message of the last exception, without its traceback; the end of the log if there is none."""
    lines = log.splitlines()
    heads = [number for number, line in enumerate(lines) if ERROR.match(line)]
    if not heads:
        return "\n".join(lines[-20:])
    message = [lines[heads[-1]]]
    for line in lines[heads[-1] + 1 :]:
        if LINE.match(line):
            break
        message.append(line)
    return "\n".join(message[:20])
