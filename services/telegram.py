"""Posts each event to a Telegram chat by a bot.

- The request and its limits: https://core.telegram.org/bots/api#sendmessage
- Errors: https://core.telegram.org/bots/api#making-requests and #responseparameters
"""

from __future__ import annotations

import re

from services import Field, Judgement, Meaning, Payload, RateLimit, Secret, ServiceBase, ServiceOptions, listen_to
from services._addresses import BaseUrl, under
from services._bodies import fields, inner, number, text
from services._lines import told
from services._messages import message
from services._telegram_html import TELEGRAM, shown

LONGEST = 4096  # characters that are shown, without the markup; units of UTF-16, which count here, are never fewer

# The descriptions of 403 that say that no message will ever arrive there, until somebody lets the bot in again.
_SHUT_OUT = re.compile(r"blocked|kicked|deleted|deactivated|not a member")


class Service(ServiceBase):
    """
    Telegram

    Announces what happens in your product in a Telegram group, channel or chat.

    1. In Telegram, write `/newbot` to [@BotFather](https://t.me/BotFather) and answer its questions.
    2. `token` is the token that it then shows, such as `123456:ABC-DEF1234`. Whoever has it is your bot.
    3. Add the bot to the group; in a channel, make it an administrator who may post.
    4. `chat_id` is `@name` for a public channel or group. For any other, write something in it, open
       `https://api.telegram.org/bot<token>/getUpdates`, and take the number at `chat`, `id`: negative for groups.
    5. `message_thread_id` is the number of a topic, for groups that have topics. Leave it out for the general one.
    6. `url` is the address of a Bot API server of your own. Leave it out otherwise.

    New items, comments, favorites, blocks and deploys are announced, unless your subscription names other events.
    """

    class Options(ServiceOptions):
        """Which chat, and as which bot."""

        token: Secret = Field(description="The bot's token.", examples=["123456789:example-token-0123456789"])
        chat_id: int | str = Field(
            description="The chat's number, or @name of a public channel or group.",
            examples=["@acme_news", -1001234567890],
        )
        message_thread_id: int | None = Field(
            None, description="The topic's number, in groups that have topics.", examples=[7]
        )
        url: BaseUrl = Field("https://api.telegram.org", description="The address of the Bot API server.")

    # 20 a minute to a group: https://core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this
    rate = RateLimit(per_second=0.25, burst=5)

    @listen_to("*.created")
    def send(self, payload: Payload) -> None:
        """Send one message."""
        body = {
            "chat_id": self.options.chat_id,
            "text": told(message(payload), TELEGRAM, LONGEST, size=shown),
            "parse_mode": "HTML",
            "link_preview_options": {"is_disabled": True},
        }
        if self.options.message_thread_id is not None:
            body["message_thread_id"] = self.options.message_thread_id
        bot = f"bot{self.options.token.get_secret_value()}"
        self.session.post(under(self.options.url, bot, "sendMessage", safe=":"), json=body)

    def judge(self, status: int, body: bytes) -> Judgement | None:
        """Go by `ok`, `error_code` and `parameters`, which say more than the status."""
        answer = fields(body)
        if answer.get("ok") is not False:
            return None
        code, said = number(answer, "error_code") or status, text(answer, "description")
        parameters = inner(answer, "parameters")
        wait, moved = number(parameters, "retry_after"), parameters.get("migrate_to_chat_id")
        if code == 429 or wait is not None:
            return Judgement(Meaning.THROTTLED, said, wait)
        if moved is not None:  # a group became a supergroup, which happens once: the old number is of no use any more
            return Judgement(Meaning.GONE, f"{said}: chat_id is {moved} now")
        if code == 403 and _SHUT_OUT.search(said):
            return Judgement(Meaning.GONE, said)
        return Judgement(Meaning.PERMANENT if 400 <= code < 500 else Meaning.TRANSIENT, said)
