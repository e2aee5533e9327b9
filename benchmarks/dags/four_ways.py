"""The same images four ways, a DAG for each; ``benchmarks.airflow`` runs them."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import requests
from airflow.providers.http.operators.http import HttpOperator
from airflow.providers.http.sensors.http import HttpSensor
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG

from airflow_provider_qwenimage.operators import QwenImageBatchGenerateOperator, QwenImageGenerateOperator

IMAGES = int(os.environ["BENCHMARK_IMAGES"])
SERVICE = os.environ["BENCHMARK_SERVICE"]
FOLDER = os.environ["BENCHMARK_FOLDER"]
PROMPTS = [f"picture {number}" for number in range(IMAGES)]
HEADERS = {"Api-Key": "key", "Content-Type": "application/json"}
OPTIONS = {"prompt_optimization": True, "num_outputs": 1, "aspect_ratio": "16:9"}
REQUESTS = [json.dumps({"prompt": prompt, "model_id": "0-24", "options": OPTIONS}) for prompt in PROMPTS]


def draw(request: str) -> str:
    """What people write in a PythonOperator."""

    def ask(path: str, body: str) -> dict:
        return requests.post(f"{SERVICE}/api/task/{path}", data=body, headers=HEADERS, timeout=30).json()["data"]

    made = ask("create", request)
    while True:
        time.sleep(5)
        found = ask("get", json.dumps({"task_id": made["task_id"]}))
        if found["status"] == 2:
            break
    path = Path(FOLDER) / f"{made['task_id']}.jpeg"
    path.write_bytes(requests.get(found["result_urls"][0], timeout=30).content)
    return str(path)


with DAG("batch", schedule=None):
    QwenImageBatchGenerateOperator(task_id="draw", requests=PROMPTS, output_path=FOLDER, max_active=50)

with DAG("generate", schedule=None):
    QwenImageGenerateOperator.partial(task_id="draw", output_path=FOLDER, deferrable=True).expand(prompt=PROMPTS)

with DAG("python", schedule=None):
    PythonOperator.partial(task_id="draw", python_callable=draw).expand(op_args=[[each] for each in REQUESTS])

with DAG("http", schedule=None):
    create = HttpOperator.partial(
        task_id="create",
        endpoint="api/task/create",
        method="POST",
        headers=HEADERS,
        response_filter=lambda answer: json.dumps({"task_id": answer.json()["data"]["task_id"]}),
    ).expand(data=REQUESTS)
    HttpSensor.partial(
        task_id="wait",
        endpoint="api/task/get",
        method="POST",
        headers=HEADERS,
        response_check=lambda answer: answer.json()["data"]["status"] == 2,
        poke_interval=5,  # not mode="reschedule": Airflow's scheduler fails some tasks that come back so soon
    ).expand(request_params=create.output)
