"""Credentials: what is revoked is refused a second later, and what is not revoked is not refused."""

from typing import Final

from proofs.history.evidence import STALE_SECONDS, Checks, Evidence, grouped, unless
from proofs.load.history import Call

#: An access token is refused near its end; clocks of machines may differ by as much.
NEAR_END_SECONDS: Final = 5.0


def revoked(evidence: Evidence) -> Checks:
    """No call is done with a credential whose revocation was acknowledged more than a second before."""
    for call in _revocations(evidence):
        if not call.done:
            continue
        for credential in call.sent["revokes"]:
            for use in evidence.uses_of_credentials.get(credential, []):
                if use.begin > call.end + STALE_SECONDS:
                    late = use.begin - call.end
                    yield unless(
                        not use.done,
                        f"a credential was accepted {late:.2f} s after its revocation:"
                        f" {evidence.cite(call, use)}",
                    )


def not_revoked(evidence: Evidence) -> Checks:
    """A credential is not refused before its revocation was asked for, nor before its end."""
    ends = grouped(
        (credential, call.begin) for call in _revocations(evidence) for credential in call.sent["revokes"]
    )
    issued = {
        call.body["access"]: call for call in evidence.of("session.sign_in", "session.refresh") if call.done
    }
    for credential, uses in evidence.uses_of_credentials.items():
        origin = issued.get(credential)
        expiry = origin.begin + origin.body["expires_in"] - NEAR_END_SECONDS if origin else float("inf")
        end = min([*ends.get(credential, []), expiry])
        for use in uses:
            if use.end < end and use.kind != "thief":
                yield unless(use.status != 401, f"a good credential was refused: {evidence.cite(use)}")


def _revocations(evidence: Evidence) -> list[Call]:
    return [call for call in evidence.calls if "revokes" in call.sent]
