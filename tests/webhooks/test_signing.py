import base64
import re
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from service.platform.crypto import Undecryptable
from service.webhooks.signing import SecretCipher, encode_secret, new_secret, signature_headers

KEY, OTHER = "a" * 40, "b" * 40


class TestSignature:
    def test_is_what_the_specification_says(self) -> None:
        """The example of the specification's own libraries."""
        key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
        headers = signature_headers(
            "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}', [key]
        )
        assert headers == {
            "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "webhook-timestamp": "1614265330",
            "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        }

    def test_the_official_library_takes_either_secret_during_a_rotation(self) -> None:
        old, new, stranger = new_secret(), new_secret(), new_secret()
        body = '{"type":"ping","data":{"name":"茶"}}'
        now = int(datetime.now(UTC).timestamp())
        headers = signature_headers("evt_1", now, body.encode(), [new, old])
        for key in (old, new):
            assert Webhook(encode_secret(key)).verify(body, headers)["data"] == {"name": "茶"}
        with pytest.raises(WebhookVerificationError):
            Webhook(encode_secret(stranger)).verify(body, headers)
        with pytest.raises(WebhookVerificationError):
            Webhook(encode_secret(new)).verify(body + " ", headers)

    def test_a_secret_has_256_bits_and_is_written_with_its_prefix(self) -> None:
        secret = new_secret()
        assert len(secret) == 32
        assert secret != new_secret()
        assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", encode_secret(secret))
        assert base64.b64decode(encode_secret(secret).removeprefix("whsec_")) == secret


class TestVault:
    def test_what_is_sealed_opens(self) -> None:
        cipher, secret = SecretCipher(KEY, ()), new_secret()
        sealed = cipher.encrypt(secret)
        opened = cipher.decrypt(sealed)
        assert (opened.secret, opened.stale) == (secret, False)
        assert secret not in sealed
        assert cipher.encrypt(secret) != sealed

    def test_an_accepted_key_decrypts_too_and_says_so(self) -> None:
        secret = new_secret()
        opened = SecretCipher(OTHER, (KEY,)).decrypt(SecretCipher(KEY, ()).encrypt(secret))
        assert (opened.secret, opened.stale) == (secret, True)

    @pytest.mark.parametrize("sealed", [b"", b"x", bytes(60)])
    def test_anything_else_does_not(self, sealed: bytes) -> None:
        with pytest.raises(Undecryptable):
            SecretCipher(KEY, ()).decrypt(sealed)

    def test_another_key_does_not(self) -> None:
        with pytest.raises(Undecryptable):
            SecretCipher(OTHER, ()).decrypt(SecretCipher(KEY, ()).encrypt(new_secret()))
