"""What mails say, and the ways they take. Who is written to, and when, is decided in services/mails."""

from typing import Final

#: Of the key under which addresses are sealed (service.platform.crypto.derive).
ADDRESSES: Final = "mail-addresses"
