"""Two DAGs whose tasks record images; the tests put what they need in place of the XComs."""

from __future__ import annotations

from airflow.sdk import dag, task


@task
def make(ti=None):
    ti.xcom_push(key="images", value=[])


@task
def many(number, ti=None):
    ti.xcom_push(key="images", value=[])


@dag(schedule=None)
def ui_pictures():
    make()
    many.expand(number=[0, 1])


@dag(schedule=None)
def ui_secret():
    make()


ui_pictures()
ui_secret()
