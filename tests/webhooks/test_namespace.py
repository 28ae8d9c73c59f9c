"""DNS that changes its answer between registration and delivery: no packet for such an address leaves."""

from ipaddress import ip_address

from tests.helpers.namespaces import report_of
from tests.webhooks.in_namespace import PUBLIC, REFUSED, WOULD_LEAVE


def test_no_packet_leaves_for_an_address_that_is_not_public() -> None:
    told = report_of("tests.webhooks.in_namespace")
    assert told["faults"] == dict.fromkeys(REFUSED, ["private_address"] * 2)
    called = {address for address in told["refused"] if not ip_address(address).is_multicast}
    assert called & {str(ip_address(address)) for address in (*REFUSED, *PUBLIC)} == set()
    # Or the measure would prove nothing.
    assert {str(ip_address(address)) for address in WOULD_LEAVE} <= set(told["allowed"])
