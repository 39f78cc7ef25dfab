"""Which subscriptions an event goes to: product, model and action come in, subscriptions go out in file order."""

from __future__ import annotations

from collections.abc import Iterable

from consumer.subscriptions import Subscription

CACHED_ROUTES = 10_000
"""Routes kept; some hundred bytes each. Products, models and actions come from outside, so there has to be an end."""
LONGEST_CACHED_NAME = 200
"""Characters of model and action together beyond which a route is not kept, so that memory has an end as well."""


class Router:
    """The enabled subscriptions by product. Made once for a set of subscriptions and replaced with it."""

    def __init__(self, subscriptions: Iterable[Subscription]) -> None:
        self._by_id: dict[str, Subscription] = {}
        self._by_product: dict[int | None, list[tuple[int, Subscription]]] = {}
        self._routes: dict[tuple[int, str, str], tuple[Subscription, ...]] = {}
        for position, subscription in enumerate(subscriptions):
            self._by_id[subscription.id] = subscription
            if subscription.enabled:
                self._by_product.setdefault(subscription.product, []).append((position, subscription))

    def route(self, product: int, model: str, action: str) -> tuple[Subscription, ...]:
        """Return the enabled subscriptions, of this product and of all, that want such an event, in file order."""
        key = product, model, action
        route = self._routes.get(key)
        if route is None:
            route = self._matching(product, model, action)
            self._keep(key, route)
        return route

    def by_id(self, id: str) -> Subscription | None:
        """Return the subscription of this id, enabled or not; None when there is none."""
        return self._by_id.get(id)

    @property
    def enabled(self) -> list[Subscription]:
        """The subscriptions that are enabled, in file order."""
        return [subscription for subscription in self._by_id.values() if subscription.enabled]

    def _matching(self, product: int, model: str, action: str) -> tuple[Subscription, ...]:
        candidates = [*self._by_product.get(product, ()), *self._by_product.get(None, ())]
        candidates.sort(key=lambda candidate: candidate[0])
        return tuple(found for _, found in candidates if found.wants(model, action))

    def _keep(self, key: tuple[int, str, str], route: tuple[Subscription, ...]) -> None:
        if len(key[1]) + len(key[2]) > LONGEST_CACHED_NAME:
            return
        if len(self._routes) >= CACHED_ROUTES:
            self._routes.clear()
        self._routes[key] = route
