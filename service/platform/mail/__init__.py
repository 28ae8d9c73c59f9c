"""Emails: what they say, how they are queued, and how they are sent."""

from service.platform.crypto import Cipher


class AddressCipher(Cipher):
    """Encrypts the addresses that emails go to."""

    label = "mail-addresses"
