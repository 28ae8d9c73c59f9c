"""Positions: what is given out comes back as the same place, and nothing else does."""

import pytest

from service.platform.database.positions import LENGTH, PositionUnknown, decode, encode

ANEW = "Start anew."
PLACES = (0, 1, 1_764_539_999_123_456, 2**63 - 1, -(2**63))


@pytest.mark.parametrize("place", PLACES)
def test_a_position_leads_back_to_its_place(place: int) -> None:
    position = encode("items", place)
    assert (decode("items", position, anew=ANEW), len(position)) == (place, LENGTH)


def test_it_is_the_same_text_in_every_release() -> None:
    assert encode("items", 1_764_539_999_123_456) == "rd3EFAAGRNb71vgA"


@pytest.mark.parametrize("length", range(LENGTH))
def test_one_that_was_cut_off_is_unknown(length: int) -> None:
    refused(encode("items", 77)[:length])


@pytest.mark.parametrize("at", range(LENGTH))
def test_one_with_another_character_is_unknown(at: int) -> None:
    position = encode("items", 77)
    other = "A" if position[at] != "A" else "B"
    refused(position[:at] + other + position[at + 1 :])


@pytest.mark.parametrize("stream", ["orders", "items ", ""])
def test_one_of_another_stream_is_unknown(stream: str) -> None:
    refused(encode(stream, 77))


@pytest.mark.parametrize(
    "made_up", ["start", "0", "2026-11-22T10:30:00Z", "AAAAAAAAAAAAAAAA", "\ud800", "é" * 16]
)
def test_one_that_was_made_up_is_unknown(made_up: str) -> None:
    refused(made_up)


def refused(position: str) -> None:
    with pytest.raises(PositionUnknown) as refusal:
        decode("items", position, anew=ANEW)
    assert (refusal.value.status, refusal.value.code) == (410, "position_unknown")
    assert refusal.value.detail == "The position is not known here, or not any more. Start anew."
