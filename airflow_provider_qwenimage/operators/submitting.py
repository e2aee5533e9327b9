"""What all operators that submit have in common: the request's fields, the guard on credits, buying just once."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_provider_qwenimage._compat import BaseOperator
from airflow_provider_qwenimage.api.rules import DEFAULT_MODEL_ID
from airflow_provider_qwenimage.exceptions import airflow_errors
from airflow_provider_qwenimage.fields import (
    REQUEST_FIELDS,
    check_literals,
    is_literal,
    is_of_another_task,
    number_or_none,
    raise_invalid,
)
from airflow_provider_qwenimage.hooks import QwenImageHook
from airflow_provider_qwenimage.lineage import GenerationLineage
from airflow_provider_qwenimage.provider_info import DEFAULT_CONN_ID

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_qwenimage._compat import XComArg
    from airflow_provider_qwenimage.purchase import Purchase

SUBMIT_FIELDS = (*REQUEST_FIELDS, "min_credits", "qwenimage_conn_id")
UNKNOWN_SUBMIT = ("fail", "resubmit")


class PayingOperator(BaseOperator):
    """Base of the operators that spend credits: the connection, the guard on the balance, XComs."""

    qwenimage_conn_id: str
    min_credits: Any

    @cached_property
    def hook(self) -> QwenImageHook:
        """The hook of this operator's connection."""
        return QwenImageHook(self.qwenimage_conn_id)

    def check_credits(self) -> None:
        """Fail before anything is bought if the account has too few credits.

        :raises InsufficientCreditsError: it has less than ``min_credits``; the text tells the balance.
        """
        from airflow_provider_qwenimage.api.errors import InsufficientCreditsError

        wanted = number_or_none("min_credits", self.min_credits)
        if wanted is None:
            return
        balance = self.hook.get_credits()
        if balance < wanted:
            with airflow_errors():
                raise InsufficientCreditsError(
                    f"The account has {balance:g} credits, and min_credits asks for {wanted:g}: nothing was submitted."
                )

    def push(self, context: Any, **values: Any) -> None:
        """Push XComs, those that are not None, unless the task pushes none."""
        for key, value in values.items():
            if self.do_xcom_push and value is not None:
                context["ti"].xcom_push(key=key, value=value)


class SubmittingOperator(GenerationLineage, PayingOperator):
    """Base of the operators that submit; see ``QwenImageCreateTaskOperator`` for the parameters."""

    template_fields: Sequence[str] = SUBMIT_FIELDS
    ui_color = "#e8e4fa"
    _killed = False

    def __init__(
        self,
        *,
        prompt: str | XComArg,
        image_urls: Sequence[str] | str | XComArg | None = None,
        aspect_ratio: str | XComArg | None = None,
        num_outputs: int | str | XComArg = 1,
        prompt_optimization: bool | str | XComArg = True,
        model_id: str | XComArg = DEFAULT_MODEL_ID,
        min_credits: float | str | XComArg | None = None,
        qwenimage_conn_id: str = DEFAULT_CONN_ID,
        on_unknown_submit: str = "fail",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.prompt = prompt
        self.image_urls = image_urls
        self.aspect_ratio = aspect_ratio
        self.num_outputs = num_outputs
        self.prompt_optimization = prompt_optimization
        self.model_id = model_id
        self.min_credits = min_credits
        self.qwenimage_conn_id = qwenimage_conn_id
        self.on_unknown_submit = on_unknown_submit
        self._never_none = {"prompt", *(["image_urls"] if is_of_another_task(image_urls) else [])}
        check_literals(**self.request_fields())
        if is_literal(min_credits):
            number_or_none("min_credits", min_credits)
        if on_unknown_submit not in UNKNOWN_SUBMIT:
            raise_invalid(f"on_unknown_submit must be one of {', '.join(UNKNOWN_SUBMIT)}.")

    def on_kill(self) -> None:
        """Buy nothing any more."""
        self._killed = True
        super().on_kill()

    def request_fields(self) -> dict[str, Any]:
        """Return the request's fields as they are now."""
        return {name: getattr(self, name) for name in REQUEST_FIELDS}

    def check_not_none(self) -> None:
        """Refuse a prompt that is None, and what another task should have returned: it is not what was meant.

        A parameter of the DAG that is None leaves out what may be left out.

        :raises InvalidRequestError: it did not, as after an upstream task that returned nothing.
        """
        for name in sorted(self._never_none):
            value = getattr(self, name)
            if value is None or (isinstance(value, str) and value.strip() == "None"):
                raise_invalid(f"{name} has become None: did the task that it comes from return it?")

    def purchase(self, context: Any, fields: Mapping[str, Any], output_path: str | None = None) -> Purchase:
        """Return what this task instance buys, with the memory of its earlier tries.

        :param fields: all that makes the request another one.
        :param output_path: where Airflow before 3.3 lets us keep that memory.
        """
        from airflow_provider_qwenimage.durable import fingerprint_of, marker_of, store_for
        from airflow_provider_qwenimage.purchase import Purchase

        return Purchase(
            self.hook,
            store_for(context, output_path),
            fingerprint=fingerprint_of(fields, self.qwenimage_conn_id),
            marker=marker_of(context),
            resubmit=self.on_unknown_submit == "resubmit",
            is_killed=lambda: self._killed,
            log=self.log,
        )
