"""The buttons from a task in Airflow's UI to what it made."""

from __future__ import annotations

from typing import Any

from airflow_provider_qwenimage._compat import AIRFLOW_3, HAS_IMAGES_PAGE, BaseOperatorLink, xcom_value

RESULT_LINK_KEY = "_link_QwenImageResultLink"


class QwenImageResultLink(BaseOperatorLink):
    """Opens the first image of the result, at the service."""

    name = "Result"

    @property
    def xcom_key(self) -> str:
        """The XCom that the UI of Airflow 3 reads the link from."""
        return RESULT_LINK_KEY

    def get_link(self, operator: Any, *, ti_key: Any, **context: Any) -> str:
        """Return the link, or an empty text while there is none. Never raises.

        Airflow 3 asks the operator on the worker at each end of a run, a deferral included: looking for an XCom that
        is not there yet would log an error. Airflow 2 asks in the webserver, where only the XCom knows.
        """
        if AIRFLOW_3:
            return getattr(operator, "result_link", "")
        try:
            return str(xcom_value(RESULT_LINK_KEY, ti_key) or "")
        except Exception:
            return ""


class QwenImageImagesLink(BaseOperatorLink):
    """Opens the page with the task's images, in Airflow's own UI; 3.1 and later."""

    name = "Images"

    def get_link(self, operator: Any, *, ti_key: Any, **context: Any) -> str:
        """Return the page's address. It needs no XCom: the page itself looks for what the task has recorded."""
        from airflow_provider_qwenimage.ui.urls import images_url

        return images_url(ti_key.dag_id, ti_key.run_id, ti_key.task_id, ti_key.map_index)


RESULT_LINKS: tuple[BaseOperatorLink, ...] = (QwenImageResultLink(),)
IMAGES_LINKS: tuple[BaseOperatorLink, ...] = (QwenImageImagesLink(),) if HAS_IMAGES_PAGE else ()
SAVED_LINKS = (*RESULT_LINKS, *IMAGES_LINKS)


def publish(operator: Any, context: Any, url: str) -> None:
    """Show the link now, while the task still runs: Airflow itself would store it at its end."""
    operator.result_link = url
    if operator.do_xcom_push:
        context["ti"].xcom_push(key=RESULT_LINK_KEY, value=url)
