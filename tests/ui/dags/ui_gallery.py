"""Images made on the emulator, for the browser: mapped, several at once, not saved, and in a DAG not for everybody."""

from __future__ import annotations

import os

from airflow.sdk import dag

from airflow_provider_qwenimage.operators import QwenImageGenerateOperator

FOLDER = os.environ.get("QWENIMAGE_TEST_FOLDER", "/tmp/qwenimage-ui")
PROMPTS = [
    "A lighthouse on a cliff at dusk, watercolour, soft light on the water",
    "ein kleines Haus im Schnee, Rauch aus dem Schornstein, Winterabend",
    "一只在竹林里的熊猫，水墨画",
    "<script>alert('not run')</script> & a \"quoted\" bicycle",
]


@dag(schedule=None)
def ui_gallery():
    QwenImageGenerateOperator.partial(task_id="from_prompts", output_path=FOLDER, aspect_ratio="16:9").expand(
        prompt=PROMPTS
    )
    QwenImageGenerateOperator(
        task_id="four_at_once", prompt="a paper crane, studio photograph", num_outputs=4, output_path=FOLDER,
        aspect_ratio="3:4",
    )  # fmt: skip
    QwenImageGenerateOperator(task_id="not_saved", prompt="a red bicycle against a white wall", aspect_ratio="4:3")


@dag(schedule=None)
def ui_vault():
    QwenImageGenerateOperator(task_id="secret_picture", prompt="the unreleased product", output_path=FOLDER)


ui_gallery()
ui_vault()
