"""``@task.qwenimage``: a function returns a prompt, the task makes the image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_qwenimage._compat import (
    SET_DURING_EXECUTION,
    DecoratedOperator,
    TaskDeferred,
    context_merge,
    determine_kwargs,
    show_fields,
    task_decorator_factory,
)
from airflow_provider_qwenimage.fields import REQUEST_FIELDS, raise_invalid
from airflow_provider_qwenimage.operators.generate import QwenImageGenerateOperator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_qwenimage._compat import Context, TaskDecorator

RETURNED_FIELDS = (*REQUEST_FIELDS, "image")


class _QwenImageDecoratedOperator(DecoratedOperator, QwenImageGenerateOperator):
    """Calls the function for the prompt, then does what ``QwenImageGenerateOperator`` does."""

    custom_operator_name = "@task.qwenimage"
    overwrite_rtif_after_execution = True  # shows the prompt that the function returned under "Rendered Templates"
    template_fields: Sequence[str] = (
        *DecoratedOperator.template_fields,
        *(name for name in QwenImageGenerateOperator.template_fields if name not in DecoratedOperator.template_fields),
    )

    def __init__(self, *, python_callable: Callable[..., Any], **kwargs: Any) -> None:
        super().__init__(python_callable=python_callable, prompt=SET_DURING_EXECUTION, **kwargs)

    def execute(self, context: Context) -> Any:
        """Call the function, then submit, wait and save."""
        context_merge(context, self.op_kwargs)
        arguments = determine_kwargs(self.python_callable, self.op_args, context)
        before = {name: getattr(self, name) for name in RETURNED_FIELDS}
        self._take(self.python_callable(*self.op_args, **arguments))
        show_fields(context["ti"])
        try:
            return QwenImageGenerateOperator.execute(self, context)
        except TaskDeferred:
            # Going on, Airflow renders the fields again, and what the function returned is no template.
            for name, value in before.items():
                setattr(self, name, value)
            raise

    def restore(self, context: Context, asked: Mapping[str, Any]) -> None:
        """Take up again what the function returned: it is not called again."""
        ti = context["ti"]
        submission = ti.xcom_pull(task_ids=self.task_id, map_indexes=ti.map_index, key="submission") or {}
        for name, value in {**submission, **asked}.items():
            if name in RETURNED_FIELDS:
                setattr(self, name, value)
        show_fields(ti)
        super().restore(context, asked)

    def _take(self, returned: Any) -> None:
        """Use what the function returned: a prompt, or a dict of request fields; never rendered as a template."""
        fields = {"prompt": returned} if isinstance(returned, str) else returned
        if not isinstance(fields, Mapping) or not fields:
            raise_invalid(
                f"A @task.qwenimage function must return a prompt or a dict of request fields, not {returned!r:.80}."
            )
        if unknown := set(fields) - set(RETURNED_FIELDS):
            raise_invalid(f"These are no request fields: {', '.join(map(str, unknown))}. Fields are {RETURNED_FIELDS}.")
        if "prompt" not in fields:
            raise_invalid("The dict that a @task.qwenimage function returns needs a prompt.")
        for name, value in fields.items():
            setattr(self, name, value)
        self._never_none -= set(fields)  # what the function returns is what it means, None too


def qwenimage_task(
    python_callable: Callable[..., str | Mapping[str, Any]] | None = None, **kwargs: Any
) -> TaskDecorator:
    """Turn a function into a task that generates images; what ``@task.qwenimage`` stands for, for a typed import.

    The function returns a prompt, or a dict with any of the request's fields (``prompt``, ``image_urls`` or ``image``,
    ``aspect_ratio``, ``num_outputs``, ``prompt_optimization``, ``model_id``). It is called once per try, not again
    after a deferral.

    :param python_callable: the function.
    :param kwargs: the parameters of ``QwenImageGenerateOperator`` and of any Airflow task.
    """
    kwargs.setdefault("multiple_outputs", False)  # a "-> dict" would otherwise be taken for several XComs
    decorated: TaskDecorator = task_decorator_factory(
        python_callable=python_callable, decorated_operator_class=_QwenImageDecoratedOperator, **kwargs
    )
    return decorated
