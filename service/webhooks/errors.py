"""Errors of webhooks."""

from service.errors import Conflict, NotFound


class WebhookNotFound(NotFound):
    def __init__(self) -> None:
        super().__init__("No webhook has this id. Check the id.")


class DeliveryNotFound(NotFound):
    def __init__(self) -> None:
        super().__init__("The webhook has no delivery with this id. Check the id.")


class TooManyWebhooks(Conflict):
    code, title = "too_many_webhooks", "Too many webhooks"


class WebhookInactive(Conflict):
    code, title = "webhook_inactive", "The webhook is not active"
