"""The four endpoints of the service."""

from __future__ import annotations

from typing import Any

from airflow_provider_qwenimage.emulator.accounts import Account
from airflow_provider_qwenimage.emulator.contract import broken, check_create, check_get, check_pre_url, parse_json
from airflow_provider_qwenimage.emulator.gallery import Gallery
from airflow_provider_qwenimage.emulator.generations import Generation
from airflow_provider_qwenimage.emulator.state import State
from airflow_provider_qwenimage.emulator.wire import Answer, Call, json_answer

STATUS = {"processing": 1, "completed": 2, "failed": 3}


class Service:
    """Answers the calls to ``/api/task/...``; each method returns the answer to one call, or raises ``Refusal``."""

    def __init__(self, state: State, gallery: Gallery) -> None:
        self._state = state
        self._gallery = gallery

    async def create(self, call: Call) -> Answer:
        """Accept an order, and take its credits."""
        account = self._account(call)
        order = check_create(_body(call))
        source = await self._gallery.source(order.image_url, call.origin) if order.image_url else None
        generation = self._state.buy(account, order, source, call.fault)
        return _success({"task_id": generation.id, "estimated_time": self._state.options.estimated_time})

    async def get(self, call: Call) -> Answer:
        """Tell how a generation is getting on."""
        account = self._account(call)
        generation = self._state.generation(check_get(_body(call)), account=account)
        data = {"task_id": generation.id, "status": STATUS[generation.state]}
        return _success({**data, **self._result_urls(generation, call.origin)})

    async def get_credits(self, call: Call) -> Answer:
        """Tell the balance; the published sample of this answer has no ``message``."""
        account = self._account(call)
        if call.body and parse_json(call.body) != {}:
            raise broken("get_credits takes no body")
        return json_answer({"code": 1, "data": {"credits": self._state.balance(account)}})

    async def pre_url(self, call: Call) -> Answer:
        """Hand out a form to upload a picture with."""
        self._account(call)
        form = self._state.open_form(*check_pre_url(_body(call)))
        upload_url = {"url": f"{call.origin}/uploads", "fields": form.fields}
        return _success({"upload_url": upload_url, "image_url": f"{call.origin}/uploads/{form.name}"})

    def _account(self, call: Call) -> Account:
        if call.method != "POST":
            raise broken(f"The method must be POST, not {call.method}")
        account = self._state.account(call.headers.get("api-key"))
        content_type = call.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != "application/json":
            raise broken("Content-Type must be application/json")
        return account

    def _result_urls(self, generation: Generation, origin: str) -> dict[str, Any]:
        """Return the ``result_urls`` field, or nothing where it is absent."""
        form = generation.urls if generation.state == "completed" else self._state.options.pending_urls
        if form in {"all", "fewer"}:
            urls = self._gallery.result_urls(generation, origin)
            return {"result_urls": urls[: max(len(urls) - generation.urls_missing, 0)]}
        values: dict[str, dict[str, Any]] = {"absent": {}, "null": {"result_urls": None}, "empty": {"result_urls": []}}
        return values[form]


def _success(data: dict[str, Any]) -> Answer:
    return json_answer({"code": 1, "message": "success", "data": data})


def _body(call: Call) -> Any:
    if call.body is None:
        raise broken("The body must be 1 MB or less")
    return parse_json(call.body)
