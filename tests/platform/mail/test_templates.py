"""What emails say, and their transports."""

import asyncio
import email
import html
import re
import stat
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from jinja2 import UndefinedError
from pydantic import SecretStr
from structlog.testing import capture_logs

from service.accounts.emails import ACTIONS, token_values
from service.container.worker import EMAILS
from service.platform.config import Settings
from service.platform.mail.rendering import Message, Renderer
from service.platform.mail.transports import (
    Files,
    Nowhere,
    Outcome,
    Smtp,
    Transport,
    Undelivered,
    to_mime,
    transport_for,
)
from tests.helpers.mailbox import text_of
from tests.helpers.smtp import Certificate, Inbox, certificate, serving

SHOP = "The Shop <shop@shop.example>"
MARIA = "maria@shop.example"
TOKEN = "kG2l9q0Vd3mYt7Wc5xR8sB1nZ4pJ6hF0aEuTiLoXyQw"
ID = "reset_password.0123456789abcdef"
ORDER: dict[str, Any] = {
    "id": 17, "placed_on": "22 November 2026", "shipping": "express", "subtotal": "54.00",
    "discount": "27.00", "shipping_fee": "12.50", "total": "39.50", "currency": "USD",
    "tracking": "1Z 999", "refund": "will be", "customer_name": "Maria Anders", "reference": "PO 4711",
    "cancel_reason": "Ordered twice", "link": None, "ship_to": ["Maria Anders", "Obere Str. 57", "DE"],
    "lines": [
        {"quantity": 3, "name": "Chai", "unit_price": "18.00", "discount_pct": "50.00", "line_total": "27.00"}
    ],
}  # fmt: skip
VALUES: dict[str, Any] = {
    "name": "Till", "hint": "tp_1234", "order": ORDER,
}  # fmt: skip
KINDS = sorted(kind for each in EMAILS for kind in each.composers)
Logs = list[Any]
HEADERS = {
    "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type",
}  # fmt: skip


def rendered(settings: Settings, kind: str, to: str = MARIA, **values: Any) -> Message:
    """An email of this kind; with its token, if it has one."""
    renderer = Renderer(settings, [each.package for each in EMAILS])
    token = token_values(kind, TOKEN) if kind in ACTIONS else {}
    return renderer.render(kind, to, ID, {**token, **values})


@pytest.fixture
def message(settings: Settings) -> Message:
    return rendered(settings, "reset_password")


@pytest.fixture(scope="session")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def trusted(secured: Certificate, monkeypatch: pytest.MonkeyPatch) -> Certificate:
    monkeypatch.setenv("SSL_CERT_FILE", str(secured.file))
    return secured


async def sent(transport: Transport, message: Message) -> tuple[Outcome | tuple[str, bool], Logs]:
    """The outcome, or why it was not delivered and whether to retry; and the log lines."""
    outcome: Outcome | tuple[str, bool]
    with capture_logs() as logs:
        try:
            outcome = await transport.deliver(message)
        except Undelivered as fault:
            outcome = str(fault), fault.passing
    for line in (*logs, outcome):
        assert MARIA not in repr(line)
        assert TOKEN not in repr(line)
    # The application of the other tests goes on beside this one.
    return outcome, [line for line in logs if line["event"].startswith("mail")]


def words(markup: str) -> str:
    """Those that a reader of the HTML sees, with one space between them."""
    body = markup.partition("<body>")[2]
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split())


class TestLetters:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("url", ["https://shop.example", None])
    def test_each_kind_is_complete_and_says_the_same_in_both_forms(
        self, settings: Settings, kind: str, url: str | None
    ) -> None:
        message = rendered(settings.model_copy(update={"public_url": url}), kind, **VALUES)
        assert (message.kind, message.to, message.message_id) == (kind, MARIA, ID)
        assert "$" not in message.subject + message.text + message.html
        assert "{" not in re.sub(r'\{"token".*\}', "", message.subject + message.text)
        assert (TOKEN in message.text) == (TOKEN in message.html) == (kind in ACTIONS)
        seen = words(message.html)
        for paragraph in message.text.split("\n\n"):
            for line in paragraph.splitlines():
                shown = line.rpartition(": ")[0] if "each" in line else line
                assert " ".join(shown.replace(":", " ").split()) in seen.replace(":", " ").replace("  ", " ")

    @pytest.mark.parametrize("kind", KINDS)
    def test_it_loads_nothing_and_can_be_read_aloud(self, settings: Settings, kind: str) -> None:
        """No picture reports when it is read; headings, cells and the language have names."""
        there = settings.model_copy(update={"public_url": "https://shop.example"})
        message = rendered(there, kind, **VALUES)
        for word in ("<img", "<link", "<script", "src=", "url(", "@import"):
            assert word not in message.html
        assert '<html lang="en">' in message.html
        assert f"<title>{message.subject}</title>" in message.html
        assert f"<h1>{message.subject}</h1>" in message.html
        assert message.html.count("<th") == message.html.count("<th scope=") + message.html.count("<thead>")
        assert all(
            link.startswith("https://shop.example") for link in re.findall('href="(.*?)"', message.html)
        )

    def test_an_orders_amounts_are_exact_to_the_cent(self, settings: Settings) -> None:
        text = rendered(settings, "order_placed", **VALUES).text
        assert text == (
            "Dear Maria Anders,\n\n"
            "Thank you for your order. We write again when it is on its way.\n\n"
            "Your order 17, placed on 22 November 2026\n\n"
            "3 x Chai\n18.00 each, less 50.00 %: 27.00 USD\n\n"
            "Goods: 54.00 USD\nDiscount: -27.00 USD\nShipping (express): 12.50 USD\nTotal: 39.50 USD\n\n"
            "Your reference: PO 4711\n\n"
            "It goes to:\nMaria Anders\nObere Str. 57\nDE\n\n"
            "Tradepost\n"
        )

    def test_what_is_not_known_leaves_no_gap(self, settings: Settings) -> None:
        bare = ORDER | dict.fromkeys(("discount", "customer_name", "reference", "ship_to", "tracking"))
        text = rendered(settings, "order_shipped", **VALUES | {"order": bare}).text
        assert text.startswith("Your order has left us.\n\nYour order 17, placed on 22 November 2026\n\n3 x")
        assert text.endswith(
            "Goods: 54.00 USD\nShipping (express): 12.50 USD\nTotal: 39.50 USD\n\nTradepost\n"
        )
        assert "None" not in text

    def test_a_value_that_is_missing_is_a_fault(self, settings: Settings) -> None:
        with pytest.raises(UndefinedError):
            rendered(settings, "api_key_created", name="Till")

    def test_without_an_address_of_the_shop_it_has_the_call(self, message: Message) -> None:
        body = f'{{"token": "{TOKEN}", "new_password": "..."}}'
        assert f"POST /api/v1/auth/password-reset/confirm\n{body}" in message.text
        assert "http" not in message.text

    @pytest.mark.parametrize(
        ("kind", "page"),
        [
            ("reset_password", "/reset-password"),
            ("verify_email", "/verify-email"),
            ("change_email", "/verify-email"),
        ],
    )
    def test_with_an_address_of_the_shop_it_has_a_link(
        self, settings: Settings, kind: str, page: str
    ) -> None:
        there = settings.model_copy(update={"public_url": "https://shop.example/at"})
        message = rendered(there, kind)
        link = f"https://shop.example/at{page}?token={TOKEN}"
        assert f"\n\n{link}\n\n" in message.text
        assert f'<a href="{link}">{link}</a>' in message.html
        assert "POST" not in message.text

    def test_what_is_filled_in_cannot_be_markup(self, settings: Settings) -> None:
        shop = settings.model_copy(update={"seller": "Tea & Sons\nLondon"})
        name = "<img src=x onerror='alert(1)'>\r\n\r\n{{ shop }}$shop"
        message = rendered(shop, "api_key_created", name=name, hint="tp_1234")
        assert "\"<img src=x onerror='alert(1)'> {{ shop }}$shop\" (tp_1234...)" in message.text
        assert "for Tea & Sons," in message.text
        assert "<img" not in message.html
        assert "Tea &amp; Sons" in message.html
        assert html.unescape(message.html).count(name.split("\r", maxsplit=1)[0]) == 1

    @pytest.mark.parametrize("field", ["customer_name", "reference", "cancel_reason", "tracking", "currency"])
    def test_nothing_of_an_order_can(self, settings: Settings, field: str) -> None:
        """Neither markup, nor another line that looks like the shop's, nor messages from right to left."""
        bad = "</p><a href='https://evil.example'>Pay</a>\r\nBcc: eve@shop.example\u202e\u2028x"
        for kind in ("order_placed", "order_shipped", "order_cancelled"):
            message = rendered(settings, kind, **VALUES | {"order": ORDER | {field: bad}})
            assert "<a " not in message.html
            assert not {"\u202e", "\u2028", "\r"} & set(message.html + message.text + message.subject)
            assert "\nBcc" not in message.text
            assert set(to_mime(message, SHOP).keys()) == HEADERS

    def test_names_of_items_and_addresses_cannot_either(self, settings: Settings) -> None:
        bad = "<b>\nTotal: 0.00 USD"
        order = ORDER | {"ship_to": [bad], "lines": [{**ORDER["lines"][0], "name": bad}]}
        message = rendered(settings, "order_placed", **VALUES | {"order": order})
        assert "<b>" not in message.html
        assert [line for line in message.text.splitlines() if line.startswith("Total")] == [
            "Total: 39.50 USD"
        ]

    def test_a_seller_without_a_name_is_the_shop(self, settings: Settings) -> None:
        message = rendered(settings.model_copy(update={"seller": " "}), "password_changed")
        assert "your account at the shop has" in message.text


class TestMessages:
    def test_has_both_forms_and_the_headers_of_automatic_mail(self, message: Message) -> None:
        mime = to_mime(message, SHOP)
        assert {name: mime[name] for name in ("From", "To", "Subject", "Auto-Submitted")} == {
            "From": SHOP,
            "To": MARIA,
            "Subject": "Reset your password",
            "Auto-Submitted": "auto-generated",
        }
        assert mime["Message-ID"] == f"<{ID}@shop.example>"
        assert mime["Date"].datetime.utcoffset().total_seconds() == 0
        assert mime.get_content_type() == "multipart/alternative"
        assert [part.get_content_type() for part in mime.iter_parts()] == ["text/plain", "text/html"]
        assert text_of(mime).replace("\r\n", "\n") == message.text

    def test_lines_that_no_server_takes_are_folded_on_the_way(self, settings: Settings) -> None:
        name = '"' * 200
        order = ORDER | {"customer_name": name, "ship_to": [name]}
        message = rendered(settings, "order_placed", **VALUES | {"order": order})
        assert max(map(len, message.html.splitlines())) > 998
        content = to_mime(message, SHOP).as_bytes()
        assert max(map(len, content.splitlines())) <= 998
        read = email.message_from_bytes(content, policy=default).get_body(("html",))
        assert read is not None
        assert read.get_content().replace("\r\n", "\n") == message.html

    @pytest.mark.parametrize(
        "to",
        [
            "maria@shop.example\r\nBcc: eve@shop.example",
            "maria@shop.example\nX: y",
            "maria@shop.example, eve@shop.example",
            "Maria <maria@shop.example>",
            "maria@shop.example eve@shop.example",
            "maria",
            "",
        ],
    )
    def test_an_address_can_be_nothing_else(self, settings: Settings, to: str) -> None:
        with pytest.raises(Undelivered) as refusal:
            to_mime(rendered(settings, "password_changed", to), SHOP)
        assert (str(refusal.value), refusal.value.passing) == ("not an address", False)

    def test_a_domain_of_another_script_is_sent_to_in_ascii(self, settings: Settings) -> None:
        message = rendered(settings, "password_changed", "maria@bücher.example")
        assert to_mime(message, SHOP)["To"] == "maria@xn--bcher-kva.example"

    def test_other_scripts_arrive(self, settings: Settings) -> None:
        shop = settings.model_copy(update={"seller": "Żółw & Süd"})
        mime = to_mime(rendered(shop, "password_changed"), "=?utf-8?q?=C5=BB?= <shop@shop.example>")
        mime = email.message_from_bytes(mime.as_bytes(), policy=default)
        assert mime["From"].addresses[0].display_name == "Ż"
        assert "your account at Żółw & Süd has" in text_of(mime)


class TestSmtp:
    @staticmethod
    def smtp(port: int, credentials: str = "", scheme: str = "smtp", **options: float) -> Smtp:
        return Smtp(f"{scheme}://{credentials}127.0.0.1:{port}", SHOP, **options)

    async def test_a_mail_arrives(self, message: Message) -> None:
        inbox = Inbox()
        async with serving(inbox) as port:
            assert await sent(self.smtp(port), message) == ("sent", [])
        [mail] = inbox.mails
        assert (inbox.recipients, inbox.encrypted, inbox.logins) == ([[MARIA]], [False], [])
        assert (mail["To"], mail["Subject"]) == (MARIA, "Reset your password")
        assert mail["Message-ID"] == f"<{ID}@shop.example>"
        assert TOKEN in text_of(mail)

    async def test_it_is_encrypted_where_the_server_can(self, message: Message, trusted: Certificate) -> None:
        inbox = Inbox()
        async with serving(inbox, "starttls", trusted.context) as port:
            assert await sent(self.smtp(port), message) == ("sent", [])
        assert inbox.encrypted == [True]

    @pytest.mark.parametrize(("tls", "scheme"), [("starttls", "smtp"), ("implicit", "smtps")])
    async def test_it_signs_in_over_tls(
        self, message: Message, trusted: Certificate, tls: Any, scheme: str
    ) -> None:
        inbox = Inbox()
        async with serving(inbox, tls, trusted.context, asks_who=True) as port:
            smtp = self.smtp(port, "us%40er:pass%20word@", scheme)
            assert await sent(smtp, message) == ("sent", [])
        assert (inbox.encrypted, inbox.logins) == ([True], [("us@er", "pass word")])

    async def test_a_password_is_never_sent_in_the_clear(self, message: Message) -> None:
        inbox = Inbox()
        async with serving(inbox, asks_who=True) as port:
            outcome, _ = await sent(self.smtp(port, "user:pass%20word@"), message)
        assert (inbox.mails, inbox.logins) == ([], [])
        assert outcome == ("SMTPException", True)

    @pytest.mark.parametrize(("tls", "scheme"), [("starttls", "smtp"), ("implicit", "smtps")])
    async def test_a_stranger_s_certificate_is_refused(
        self, message: Message, secured: Certificate, tls: Any, scheme: str
    ) -> None:
        inbox = Inbox()
        async with serving(inbox, tls, secured.context) as port:
            outcome, _ = await sent(self.smtp(port, scheme=scheme), message)
        assert inbox.mails == []
        assert outcome in {("SMTPConnectError", True), ("SSLCertVerificationError", True)}

    async def test_a_wrong_password_is_no_fault_of_the_mail_s(
        self, message: Message, trusted: Certificate
    ) -> None:
        """It waits until an operator has put that right."""
        inbox = Inbox()
        async with serving(inbox, "implicit", trusted.context, asks_who=True) as port:
            outcome, _ = await sent(self.smtp(port, "user:wrong@", "smtps"), message)
        assert (inbox.mails, {password for _, password in inbox.logins}) == ([], {"wrong"})
        assert outcome == ("SMTPAuthenticationError 535", True)

    @pytest.mark.parametrize(
        ("inbox", "reason", "passing"),
        [
            (
                Inbox(answers=["451 4.7.1 <maria@shop.example> is greylisted"]),
                "SMTPRecipientRefused 451",
                True,
            ),
            (Inbox(answers=["421 4.3.2 later"]), "SMTPRecipientRefused 421", True),
            (Inbox(answers=["550 5.1.1 <maria@shop.example> is not"]), "SMTPRecipientRefused 550", False),
            (Inbox(data_answers=["452 4.3.1 no room"]), "SMTPDataError 452", True),
            (Inbox(data_answers=["554 5.6.0 <maria@shop.example>: spam"]), "SMTPDataError 554", False),
        ],
    )
    async def test_a_refusal_is_for_now_or_for_good(
        self, message: Message, inbox: Inbox, reason: str, passing: bool
    ) -> None:
        async with serving(inbox) as port:
            assert await sent(self.smtp(port), message) == ((reason, passing), [])
        assert (inbox.recipients_offered, inbox.mails) == (1, [])

    async def test_a_server_that_wants_no_mail_at_all_may_want_it_later(self, message: Message) -> None:
        async def closed(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"554 5.3.2 No SMTP service here\r\n")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(closed, "127.0.0.1", 0)
        async with server:
            outcome, _ = await sent(self.smtp(server.sockets[0].getsockname()[1]), message)
        assert outcome == ("SMTPConnectResponseError 554", True)

    @pytest.mark.parametrize("patience", [(0.02, 9.0), (9.0, 0.02)])
    async def test_a_silent_server_is_not_waited_for(
        self, message: Message, patience: tuple[float, float]
    ) -> None:
        async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        server = await asyncio.start_server(silence, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            outcome, _ = await sent(self.smtp(port, answer=patience[0], delivery=patience[1]), message)
        assert outcome in {
            (kind, True) for kind in ("TimeoutError", "SMTPReadTimeoutError", "SMTPConnectTimeoutError")
        }

    async def test_no_server_at_all(self, message: Message) -> None:
        assert await sent(self.smtp(9), message) == (("SMTPConnectError", True), [])

    def test_the_ports_of_submission_are_the_defaults(self) -> None:
        assert Smtp("smtp://mail.shop.example", SHOP)._port == 587
        assert Smtp("smtps://mail.shop.example", SHOP)._port == 465


class TestFiles:
    async def test_each_mail_is_a_file_for_its_owner_alone(self, message: Message, tmp_path: Path) -> None:
        outcome, [line] = await sent(Files(tmp_path / "mail", SHOP), message)
        [file] = (tmp_path / "mail").iterdir()
        assert re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{16}\.eml", file.name)
        assert (stat.S_IMODE(file.stat().st_mode), stat.S_IMODE(file.parent.stat().st_mode)) == (0o600, 0o700)
        assert outcome == "written"
        assert line == {
            "event": "mail.written",
            "log_level": "info",
            "kind": "reset_password",
            "path": str(file),
        }
        # It can be copied from there: no line is folded.
        assert f'{{"token": "{TOKEN}", "new_password": "..."}}' in file.read_text().splitlines()

    async def test_a_folder_that_cannot_be_written(self, message: Message, tmp_path: Path) -> None:
        (tmp_path / "mail").write_text("not a folder")
        assert await sent(Files(tmp_path / "mail", SHOP), message) == (("FileExistsError", False), [])


class TestTransport:
    @pytest.mark.parametrize("environment", ["development", "test"])
    def test_files_where_there_is_no_server(self, settings: Settings, environment: str) -> None:
        assert isinstance(transport_for(settings.model_copy(update={"environment": environment})), Files)

    def test_a_server_where_there_is_one(self, settings: Settings) -> None:
        update = {"smtp_url": SecretStr("smtp://mail.shop.example"), "mail_from": SHOP}
        assert isinstance(transport_for(settings.model_copy(update=update)), Smtp)

    async def test_production_without_a_server_says_so_of_each_mail(
        self, settings: Settings, message: Message
    ) -> None:
        transport = transport_for(settings.model_copy(update={"environment": "production"}))
        assert isinstance(transport, Nowhere)
        outcome, [line] = await sent(transport, message)
        assert outcome == "not_configured"
        assert (line["event"], line["log_level"]) == ("mail.not_configured", "error")
        assert (line["kind"], line["missing"]) == ("reset_password", "SMTP_URL")
