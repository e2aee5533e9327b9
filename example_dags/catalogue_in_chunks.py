"""A whole catalogue: a table in chunks, a batch for each chunk.

One task makes the pictures of many products, so a product costs Airflow no task of its own. The chunks are mapped:
they run on as many workers as there are, and a retry or a Clear concerns one chunk. ``key`` names a product's file,
and finds it again in the manifest, the JSON lines file whose path the task returns.

At most ``max_active`` times ``max_active_tis_per_dag`` generations are bought and not yet saved. A pool bounds an
account that several DAGs share: ``airflow pools set qwenimage 16 "generations at a time"``, and ``pool="qwenimage"``
here.

The table is in SQLite, as in ``catalogue_from_table.py``, which says what that needs.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow import DAG
from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator

from airflow_provider_qwenimage.operators import QwenImageBatchGenerateOperator

ROWS_IN_A_CHUNK = 4  # some hundreds or thousands in real life

with DAG(
    dag_id="qwenimage_catalogue_in_chunks",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    doc_md=__doc__,
    params={"output_path": "file:///tmp/qwenimage"},
    default_args={"conn_id": "sqlite_default"},
    tags=["qwenimage", "example"],
) as dag:
    fill = SQLExecuteQueryOperator(
        task_id="fill",
        sql=[
            "DROP TABLE IF EXISTS qwenimage_catalogue",
            "CREATE TABLE qwenimage_catalogue (sku TEXT PRIMARY KEY, name TEXT)",
            "INSERT INTO qwenimage_catalogue VALUES ('B-1', 'blue bowl'), ('C-7', 'coffee cup'), ('J-3', 'milk jug'), "
            "('P-5', 'dinner plate'), ('S-9', 'salt cellar'), ('T-100', 'teapot')",
        ],
    )
    products = SQLExecuteQueryOperator(
        task_id="products",
        sql="SELECT sku, name FROM qwenimage_catalogue ORDER BY sku",
    )

    @dag.task
    def chunks(rows: list[tuple[str, str]]) -> list[list[dict[str, str]]]:
        """Say what each batch is to make."""
        requests = [{"key": sku, "prompt": f"{name}, studio photograph, plain background"} for sku, name in rows]
        return [requests[at : at + ROWS_IN_A_CHUNK] for at in range(0, len(requests), ROWS_IN_A_CHUNK)]

    fill >> products
    QwenImageBatchGenerateOperator.partial(
        task_id="draw",
        output_path="{{ params.output_path }}",
        file_name="{key}.{ext}",
        aspect_ratio="3:4",
        max_active=8,
        pool_slots=8,  # of the default pool; pool="..." names one of your own, for all that share the account
        timeout=900,
        retries=3,
        retry_delay=timedelta(minutes=2),
        max_active_tis_per_dag=2,
    ).expand(requests=chunks(products.output))
