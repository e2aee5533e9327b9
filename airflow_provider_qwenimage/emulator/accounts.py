"""Who may call, and what it costs them."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_qwenimage.emulator.contract import Refusal
from airflow_provider_qwenimage.emulator.generations import Generation
from airflow_provider_qwenimage.emulator.options import Options


@dataclass
class Account:
    """The holder of one API key; ``reserved`` are credits that will be taken when generations complete."""

    api_key: str
    credits: int
    enabled: bool = True
    reserved: int = 0


class Accounts:
    """
    All accounts, and the rule by which credits are taken and given back.

    :param options: the first account's key and balance, ``charge`` and ``refund_failed``
    """

    def __init__(self, options: Options) -> None:
        self._at_completion = options.charge == "completion"
        self._refund_failed = options.refund_failed
        self._by_key = {options.api_key: Account(options.api_key, options.credits)}
        self.spent = 0

    def find(self, api_key: str | None) -> Account:
        """
        Find the account of a key.

        :raises Refusal: the key is missing, wrong or disabled
        """
        account = self._by_key.get(api_key or "")
        if account is None or not account.enabled:
            raise Refusal("Invalid API KEY", status=401)
        return account

    def set(self, api_key: str, credits: int, *, enabled: bool) -> None:
        """Set the balance of an account, which is made if there is none with that key."""
        account = self._by_key.setdefault(api_key, Account(api_key, credits))
        account.credits, account.enabled = credits, enabled

    def pay(self, account: Account, cost: int) -> None:
        """
        Take the credits of an order, or reserve them if they are taken at completion.

        :raises Refusal: there aren't enough that aren't reserved
        """
        if account.credits - account.reserved < cost:
            raise Refusal("Credits not enough", status=402)
        if self._at_completion:
            account.reserved += cost
        else:
            self._take(account, cost)

    def settle(self, generation: Generation) -> None:
        """Take, release or give back the credits of a generation that has ended, or was dropped before its end."""
        account = self._by_key[generation.api_key]
        if self._at_completion:
            account.reserved -= generation.cost
            if generation.state == "completed":
                self._take(account, generation.cost)
        elif self._refund_failed and generation.state == "failed":
            self._take(account, -generation.cost)

    def _take(self, account: Account, cost: int) -> None:
        account.credits -= cost
        self.spent += cost
