"""Catalogue: a picture for each row of a table.

The table is read with the common SQL provider, a function turns rows into arguments, and dynamic task mapping makes
one task per product: each with retries and a log of its own, and a file named after the product.

Any database will do. This example keeps its table in SQLite: install ``apache-airflow-providers-sqlite``, and if there
is no connection ``sqlite_default`` yet, set
``AIRFLOW_CONN_SQLITE_DEFAULT='{"conn_type": "sqlite", "host": "/tmp/qwenimage.db"}'``.
"""

from __future__ import annotations

from datetime import datetime, timezone

from airflow import DAG
from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator

from airflow_provider_qwenimage.operators import QwenImageGenerateOperator

with DAG(
    dag_id="qwenimage_catalogue_from_table",
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
            "DROP TABLE IF EXISTS qwenimage_products",
            "CREATE TABLE qwenimage_products (sku TEXT PRIMARY KEY, name TEXT, colour TEXT)",
            "INSERT INTO qwenimage_products VALUES ('T-100', 'teapot', 'green'), ('C-7', 'coffee cup', 'white')",
        ],
    )
    products = SQLExecuteQueryOperator(
        task_id="products",
        sql="SELECT sku, name, colour FROM qwenimage_products ORDER BY sku",
    )

    @dag.task
    def arguments(rows: list[tuple[str, str, str]]) -> list[dict[str, str]]:
        """Say what each product's task is given."""
        return [
            {"prompt": f"{colour} {name}, studio photograph, plain background", "file_name": f"{sku}.{{ext}}"}
            for sku, name, colour in rows
        ]

    fill >> products
    QwenImageGenerateOperator.partial(
        task_id="draw",
        aspect_ratio="3:4",
        output_path="{{ params.output_path }}",
        timeout=900,
        retries=2,
        max_active_tis_per_dag=4,
    ).expand_kwargs(arguments(products.output))
