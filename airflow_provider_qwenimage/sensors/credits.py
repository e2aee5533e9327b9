"""Waits for a balance."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_provider_qwenimage._compat import BaseSensorOperator, PokeReturnValue
from airflow_provider_qwenimage.fields import number_or_none, raise_invalid
from airflow_provider_qwenimage.hooks import QwenImageHook
from airflow_provider_qwenimage.provider_info import DEFAULT_CONN_ID

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_qwenimage._compat import Context, XComArg


class QwenImageCreditsSensor(BaseSensorOperator):
    """Waits until the account has at least ``min_credits``, and returns the balance in credits. Asking costs nothing.

    :param min_credits: the balance to wait for, in credits.
    :param qwenimage_conn_id: id of the connection.
    :raises AuthenticationError: the API key is wrong; an ``AirflowFailException``.
    """

    template_fields: Sequence[str] = ("min_credits", "qwenimage_conn_id")
    ui_color = "#e8e4fa"

    def __init__(
        self,
        *,
        min_credits: float | str | XComArg,
        qwenimage_conn_id: str = DEFAULT_CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.min_credits = min_credits
        self.qwenimage_conn_id = qwenimage_conn_id

    @cached_property
    def hook(self) -> QwenImageHook:
        """The hook of this sensor's connection."""
        return QwenImageHook(self.qwenimage_conn_id)

    def poke(self, context: Context) -> PokeReturnValue:
        """Ask once. A question that fails but may work later is logged and counts as "not yet"."""
        from airflow_provider_qwenimage.api.errors import TransientError

        wanted = number_or_none("min_credits", self.min_credits)
        if wanted is None:
            raise_invalid("min_credits is empty: the sensor needs a balance to wait for.")
        try:
            balance = self.hook.get_credits()
        except TransientError as error:
            self.log.warning("The balance could not be read, going on: %s", error.message)
            return PokeReturnValue(is_done=False)
        self.log.info("The account has %g credits, %g are waited for", balance, wanted)
        return PokeReturnValue(is_done=balance >= wanted, xcom_value=balance)
