import asyncio
import email
import html
import re
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from email.policy import default
from pathlib import Path
from typing import Any, get_args

import pytest
from prometheus_client import REGISTRY
from pydantic import SecretStr
from structlog.testing import capture_logs

from service.config import Settings
from service.database import Database
from service.dependencies.parts import Parts
from service.errors import NotFound, Unavailable
from service.mail import Mailer
from service.mail.letters import DRAFTS, Kind, Letter, Letters
from service.mail.transports import Files, Nowhere, Outcome, Smtp, Undelivered, compose, transport_for
from tests.mailbox import text_of
from tests.smtp import Certificate, Inbox, certificate, serving

SHOP = "The Shop <shop@shop.example>"
MARIA = "maria@shop.example"
TOKEN = "kG2l9q0Vd3mYt7Wc5xR8sB1nZ4pJ6hF0aEuTiLoXyQw"
Logs = list[Any]


@pytest.fixture
def letters(settings: Settings) -> Letters:
    return Letters(settings)


@pytest.fixture
def letter(letters: Letters) -> Letter:
    return letters.write("reset_password", MARIA, token=TOKEN)


@pytest.fixture(scope="session")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def trusted(secured: Certificate, monkeypatch: pytest.MonkeyPatch) -> Certificate:
    monkeypatch.setenv("SSL_CERT_FILE", str(secured.file))
    return secured


def counted(kind: Kind, outcome: str) -> float:
    return REGISTRY.get_sample_value("mails_total", {"kind": kind, "outcome": outcome}) or 0.0


class Recorder:
    """A transport that keeps what it is given, after it has done what the test wants."""

    def __init__(self, before: Callable[[], Awaitable[object]] | None = None) -> None:
        self.letters: list[Letter] = []
        self._before = before

    async def deliver(self, letter: Letter) -> Outcome:
        if self._before is not None:
            await self._before()
        self.letters.append(letter)
        return "sent"


@asynccontextmanager
async def running(settings: Settings, transport: Any, **options: Any) -> AsyncIterator[Mailer]:
    mailer = Mailer(settings, transport, **{"first_pause": 0.001, **options})
    await mailer.start()
    yield mailer
    await mailer.stop()


def always(letter: Letter | None) -> Callable[[], Awaitable[Letter | None]]:
    async def errand() -> Letter | None:
        return letter

    return errand


async def sent(settings: Settings, transport: Any, letter: Letter) -> Logs:
    """What the log says about one mail."""
    async with running(settings, transport) as mailer:
        with capture_logs() as logs:
            mailer.queue(letter.kind, always(letter))
            await mailer.idle()
    for line in logs:
        assert MARIA not in repr(line)
        assert TOKEN not in repr(line)
    return logs


class TestLetters:
    @pytest.mark.parametrize("kind", get_args(Kind))
    def test_each_kind_is_complete(self, letters: Letters, kind: Kind) -> None:
        values = {name: "value" for text in DRAFTS[kind].paragraphs for name in re.findall(r"\$(\w+)", text)}
        letter = letters.write(kind, MARIA, **{**values, "token": TOKEN})
        assert (letter.kind, letter.to) == (kind, MARIA)
        assert "$" not in letter.subject + letter.text + letter.html
        assert (TOKEN in letter.text) == (TOKEN in letter.html) == bool(DRAFTS[kind].call)

    def test_without_an_address_of_the_shop_it_has_the_call(self, letter: Letter) -> None:
        body = f'{{"token": "{TOKEN}", "new_password": "..."}}'
        assert f"POST /api/v1/auth/password-reset/confirm\n{body}" in letter.text
        assert "http" not in letter.text

    @pytest.mark.parametrize(
        ("kind", "page"),
        [
            ("reset_password", "/reset-password"),
            ("verify_email", "/verify-email"),
            ("change_email", "/verify-email"),
        ],
    )
    def test_with_an_address_of_the_shop_it_has_a_link(
        self, settings: Settings, kind: Kind, page: str
    ) -> None:
        there = settings.model_copy(update={"public_url": "https://shop.example/at"})
        letter = Letters(there).write(kind, MARIA, token=TOKEN)
        link = f"https://shop.example/at{page}?token={TOKEN}"
        assert f"\n\n{link}\n\n" in letter.text
        assert f'<a href="{link}">{link}</a>' in letter.html
        assert "POST" not in letter.text

    def test_what_is_filled_in_cannot_be_markup(self, settings: Settings) -> None:
        shop = settings.model_copy(update={"seller": "Tea & Sons\nLondon"})
        name = "<img src=x onerror='alert(1)'>\r\n\r\n$shop"
        letter = Letters(shop).write("api_key_created", MARIA, name=name, hint="tp_1234")
        assert "\"<img src=x onerror='alert(1)'> $shop\" (tp_1234...)" in letter.text
        assert "for Tea & Sons," in letter.text
        assert "<img" not in letter.html
        assert "Tea &amp; Sons" in letter.html
        assert html.unescape(letter.html).count(name.split("\r", maxsplit=1)[0]) == 1

    def test_a_seller_without_a_name_is_the_shop(self, settings: Settings) -> None:
        letter = Letters(settings.model_copy(update={"seller": " "})).write("password_changed", MARIA)
        assert "your account at the shop has" in letter.text


class TestMessages:
    def test_has_both_forms_and_the_headers_of_automatic_mail(self, letter: Letter) -> None:
        message = compose(letter, SHOP)
        assert {name: message[name] for name in ("From", "To", "Subject", "Auto-Submitted")} == {
            "From": SHOP,
            "To": MARIA,
            "Subject": "Reset your password",
            "Auto-Submitted": "auto-generated",
        }
        assert re.fullmatch(r"<[^<>@\s]+@shop\.example>", message["Message-ID"])
        assert message["Date"].datetime.utcoffset().total_seconds() == 0
        assert message.get_content_type() == "multipart/alternative"
        assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
        assert text_of(message).replace("\r\n", "\n") == letter.text

    def test_every_message_has_an_id_of_its_own(self, letter: Letter) -> None:
        assert compose(letter, SHOP)["Message-ID"] != compose(letter, SHOP)["Message-ID"]

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
    def test_an_address_can_be_nothing_else(self, letters: Letters, to: str) -> None:
        with pytest.raises(Undelivered) as refusal:
            compose(letters.write("password_changed", to), SHOP)
        assert (str(refusal.value), refusal.value.passing) == ("not an address", False)

    def test_a_domain_of_another_script_is_sent_to_in_ascii(self, letters: Letters) -> None:
        letter = letters.write("password_changed", "maria@bücher.example")
        assert compose(letter, SHOP)["To"] == "maria@xn--bcher-kva.example"

    def test_other_scripts_arrive(self, settings: Settings) -> None:
        letters = Letters(settings.model_copy(update={"seller": "Żółw & Süd"}))
        message = compose(letters.write("password_changed", MARIA), "=?utf-8?q?=C5=BB?= <shop@shop.example>")
        message = email.message_from_bytes(message.as_bytes(), policy=default)
        assert message["From"].addresses[0].display_name == "Ż"
        assert "your account at Żółw & Süd has" in text_of(message)


class TestSmtp:
    @staticmethod
    def smtp(port: int, credentials: str = "", scheme: str = "smtp", **options: float) -> Smtp:
        return Smtp(f"{scheme}://{credentials}127.0.0.1:{port}", SHOP, **options)

    async def test_a_mail_arrives(self, settings: Settings, letter: Letter) -> None:
        inbox, before = Inbox(), counted("reset_password", "sent")
        async with serving(inbox) as port:
            assert await sent(settings, self.smtp(port), letter) == []
        [mail] = inbox.mails
        assert (inbox.recipients, inbox.encrypted, inbox.logins) == ([[MARIA]], [False], [])
        assert (mail["To"], mail["Subject"]) == (MARIA, "Reset your password")
        assert TOKEN in text_of(mail)
        assert counted("reset_password", "sent") == before + 1

    async def test_it_is_encrypted_where_the_server_can(
        self, settings: Settings, letter: Letter, trusted: Certificate
    ) -> None:
        inbox = Inbox()
        async with serving(inbox, "starttls", trusted.context) as port:
            assert await sent(settings, self.smtp(port), letter) == []
        assert inbox.encrypted == [True]

    @pytest.mark.parametrize(("tls", "scheme"), [("starttls", "smtp"), ("implicit", "smtps")])
    async def test_it_signs_in_over_tls(
        self, settings: Settings, letter: Letter, trusted: Certificate, tls: Any, scheme: str
    ) -> None:
        inbox = Inbox()
        async with serving(inbox, tls, trusted.context, asks_who=True) as port:
            smtp = self.smtp(port, "us%40er:pass%20word@", scheme)
            assert await sent(settings, smtp, letter) == []
        assert (inbox.encrypted, inbox.logins) == ([True], [("us@er", "pass word")])

    async def test_a_password_is_never_sent_in_the_clear(self, settings: Settings, letter: Letter) -> None:
        inbox, before = Inbox(), counted("reset_password", "failed")
        async with serving(inbox, asks_who=True) as port:
            [line] = await sent(settings, self.smtp(port, "user:pass%20word@"), letter)
        assert (inbox.mails, inbox.logins) == ([], [])
        assert (line["event"], line["reason"]) == ("mail.failed", "SMTPException")
        assert counted("reset_password", "failed") == before + 1

    @pytest.mark.parametrize(("tls", "scheme"), [("starttls", "smtp"), ("implicit", "smtps")])
    async def test_a_stranger_s_certificate_is_refused(
        self, settings: Settings, letter: Letter, secured: Certificate, tls: Any, scheme: str
    ) -> None:
        inbox = Inbox()
        async with serving(inbox, tls, secured.context) as port:
            logs = await sent(settings, self.smtp(port, scheme=scheme), letter)
        assert inbox.mails == []
        assert logs[-1]["event"] == "mail.failed"

    async def test_a_wrong_password_is_not_tried_again(
        self, settings: Settings, letter: Letter, trusted: Certificate
    ) -> None:
        inbox = Inbox()
        async with serving(inbox, "implicit", trusted.context, asks_who=True) as port:
            [line] = await sent(settings, self.smtp(port, "user:wrong@", "smtps"), letter)
        assert (inbox.mails, {password for _, password in inbox.logins}) == ([], {"wrong"})
        assert (line["event"], line["reason"]) == ("mail.failed", "SMTPAuthenticationError 535")

    async def test_a_transient_refusal_is_tried_again(self, settings: Settings, letter: Letter) -> None:
        inbox = Inbox(answers=["451 4.7.1 <maria@shop.example> is greylisted", "421 4.3.2 later"])
        async with serving(inbox) as port:
            logs = await sent(settings, self.smtp(port), letter)
        assert (inbox.asked, len(inbox.mails)) == (3, 1)
        assert [line["event"] for line in logs] == ["stamina.retry_scheduled"] * 2

    async def test_a_permanent_refusal_is_not(self, settings: Settings, letter: Letter) -> None:
        inbox = Inbox(answers=["550 5.1.1 <maria@shop.example> does not live here"])
        async with serving(inbox) as port:
            [line] = await sent(settings, self.smtp(port), letter)
        assert (inbox.asked, inbox.mails) == (1, [])
        assert line == {
            "event": "mail.failed",
            "log_level": "error",
            "kind": "reset_password",
            "reason": "SMTPRecipientRefused 550",
        }

    async def test_it_gives_up_after_four_tries(self, settings: Settings, letter: Letter) -> None:
        inbox = Inbox(answers=["451 4.7.1 later"] * 9)
        async with serving(inbox) as port:
            logs = await sent(settings, self.smtp(port), letter)
        assert (inbox.asked, inbox.mails) == (4, [])
        assert logs[-1]["reason"] == "SMTPRecipientRefused 451"

    @pytest.mark.parametrize("patience", [(0.02, 9.0), (9.0, 0.02)])
    async def test_a_silent_server_is_not_waited_for(
        self, settings: Settings, letter: Letter, patience: tuple[float, float]
    ) -> None:
        callers = 0

        async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal callers
            callers += 1
            await reader.read()
            writer.close()

        server = await asyncio.start_server(silence, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            logs = await sent(settings, self.smtp(port, answer=patience[0], delivery=patience[1]), letter)
        assert callers == 4
        assert logs[-1]["event"] == "mail.failed"
        assert logs[-1]["reason"].endswith(("TimeoutError", "Timeout"))

    async def test_no_server_at_all(self, settings: Settings, letter: Letter) -> None:
        logs = await sent(settings, self.smtp(9), letter)
        assert [line["event"] for line in logs] == ["stamina.retry_scheduled"] * 3 + ["mail.failed"]
        assert logs[-1]["reason"] == "SMTPConnectError"

    def test_the_ports_of_submission_are_the_defaults(self) -> None:
        assert Smtp("smtp://mail.shop.example", SHOP)._port == 587
        assert Smtp("smtps://mail.shop.example", SHOP)._port == 465


class TestFiles:
    async def test_each_mail_is_a_file_for_its_owner_alone(
        self, settings: Settings, letter: Letter, tmp_path: Path
    ) -> None:
        before = counted("reset_password", "written")
        [line] = await sent(settings, Files(tmp_path / "mail", SHOP), letter)
        [file] = (tmp_path / "mail").iterdir()
        assert re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{16}\.eml", file.name)
        assert (stat.S_IMODE(file.stat().st_mode), stat.S_IMODE(file.parent.stat().st_mode)) == (0o600, 0o700)
        assert line == {
            "event": "mail.written",
            "log_level": "info",
            "kind": "reset_password",
            "path": str(file),
        }
        # It can be copied from there: no line is folded.
        assert f'{{"token": "{TOKEN}", "new_password": "..."}}' in file.read_text().splitlines()
        assert counted("reset_password", "written") == before + 1

    async def test_a_folder_that_cannot_be_written_breaks_nothing(
        self, settings: Settings, letter: Letter, tmp_path: Path
    ) -> None:
        (tmp_path / "mail").write_text("not a folder")
        [line] = await sent(settings, Files(tmp_path / "mail", SHOP), letter)
        assert (line["event"], line["reason"]) == ("mail.failed", "FileExistsError")


class TestTransport:
    @pytest.mark.parametrize("environment", ["development", "test"])
    def test_files_where_there_is_no_server(self, settings: Settings, environment: str) -> None:
        assert isinstance(transport_for(settings.model_copy(update={"environment": environment})), Files)

    def test_a_server_where_there_is_one(self, settings: Settings) -> None:
        update = {"smtp_url": SecretStr("smtp://mail.shop.example"), "mail_from": SHOP}
        assert isinstance(transport_for(settings.model_copy(update=update)), Smtp)

    async def test_production_without_a_server_says_so_of_each_mail(
        self, settings: Settings, letter: Letter
    ) -> None:
        transport = transport_for(settings.model_copy(update={"environment": "production"}))
        assert isinstance(transport, Nowhere)
        before = counted("reset_password", "not_configured")
        [line] = await sent(settings, transport, letter)
        assert (line["event"], line["log_level"]) == ("mail.not_configured", "error")
        assert (line["kind"], line["missing"]) == ("reset_password", "SMTP_URL")
        assert counted("reset_password", "not_configured") == before + 1


class TestOutbox:
    async def test_a_mail_of_a_transaction_leaves_after_its_commit(
        self, parts: Parts, settings: Settings
    ) -> None:
        transport = Recorder()
        async with running(settings, transport) as mailer:
            async with parts.database.transaction() as session:
                mailer.tell(session, "password_changed", MARIA)
                await mailer.idle()
                assert transport.letters == []
            await mailer.idle()
        assert [(letter.kind, letter.to) for letter in transport.letters] == [("password_changed", MARIA)]

    async def test_and_not_at_all_where_that_fails(
        self, parts: Parts, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def lost(session: object) -> None:
            raise Unavailable("lost")

        transport = Recorder()
        async with running(settings, transport) as mailer:
            with suppress(NotFound):
                async with parts.database.transaction() as session:
                    mailer.tell(session, "password_changed", MARIA)
                    raise NotFound("There is none.")
            monkeypatch.setattr(Database, "_commit", staticmethod(lost))
            with pytest.raises(Unavailable):
                async with parts.database.transaction() as session:
                    mailer.tell(session, "password_changed", MARIA)
            await mailer.idle()
        assert transport.letters == []

    async def test_nothing_to_write_is_nothing_sent(self, settings: Settings) -> None:
        transport = Recorder()
        async with running(settings, transport) as mailer:
            with capture_logs() as logs:
                mailer.queue("reset_password", always(None))
                await mailer.idle()
        assert (transport.letters, logs) == ([], [])

    async def test_a_database_that_is_away_for_a_moment_is_asked_again(
        self, settings: Settings, letter: Letter
    ) -> None:
        transport, asked = Recorder(), 0

        async def errand() -> Letter:
            nonlocal asked
            asked += 1
            if asked == 1:
                raise Unavailable("Not now.")
            return letter

        async with running(settings, transport) as mailer:
            mailer.queue(letter.kind, errand)
            await mailer.idle()
        assert (asked, transport.letters) == (2, [letter])

    @pytest.mark.parametrize("fault", [NotFound("There is none."), RuntimeError("a mistake")])
    async def test_whatever_goes_wrong_the_next_mail_is_sent(
        self, settings: Settings, letter: Letter, fault: Exception
    ) -> None:
        async def errand() -> Letter:
            raise fault

        transport, before = Recorder(), counted("reset_password", "failed")
        async with running(settings, transport) as mailer:
            with capture_logs() as logs:
                for _ in range(10):
                    mailer.queue(letter.kind, errand)
                mailer.queue(letter.kind, always(letter))
                await mailer.idle()
        assert transport.letters == [letter]
        assert [(line["event"], line["reason"]) for line in logs] == [
            ("mail.failed", type(fault).__name__)
        ] * 10
        assert counted("reset_password", "failed") == before + 10

    async def test_a_full_outbox_drops_what_comes(self, settings: Settings, letter: Letter) -> None:
        gate, before = asyncio.Event(), counted("reset_password", "dropped")
        transport = Recorder(gate.wait)
        async with running(settings, transport, capacity=1) as mailer:
            with capture_logs() as logs:
                mailer.queue(letter.kind, always(letter))
                mailer.queue(letter.kind, always(letter))
            gate.set()
            await mailer.idle()
        assert [line["event"] for line in logs] == ["mail.dropped"]
        assert len(transport.letters) == 1
        assert counted("reset_password", "dropped") == before + 1

    async def test_a_slow_mail_does_not_hold_the_others(self, settings: Settings, letters: Letters) -> None:
        gate = asyncio.Event()
        slow, quick = (letters.write("password_changed", f"{name}@shop.example") for name in ("a", "b"))

        class Slow(Recorder):
            async def deliver(self, letter: Letter) -> Outcome:
                if letter is slow:
                    await gate.wait()
                else:
                    gate.set()
                return await super().deliver(letter)

        transport = Slow()
        async with running(settings, transport) as mailer:
            mailer.queue("password_changed", always(slow))
            mailer.queue("password_changed", always(quick))
            await mailer.idle()
        assert transport.letters == [quick, slow]

    async def test_what_waits_is_sent_before_the_process_ends(
        self, settings: Settings, letter: Letter
    ) -> None:
        transport = Recorder()
        async with running(settings, transport) as mailer:
            for _ in range(20):
                mailer.queue(letter.kind, always(letter))
        assert transport.letters == [letter] * 20

    async def test_but_not_for_ever(self, settings: Settings, letter: Letter) -> None:
        transport, before = Recorder(asyncio.Event().wait), counted("reset_password", "lost")
        with capture_logs() as logs:
            async with running(settings, transport, drain=0.01) as mailer:
                for _ in range(6):
                    mailer.queue(letter.kind, always(letter))
        assert [line["event"] for line in logs] == ["mail.lost"] * 6
        assert transport.letters == []
        assert counted("reset_password", "lost") == before + 6
        await mailer.idle()
