"""Scopes of users; keys that may no more than their makers, and three scopes for them.

Revision ID: 20261201_staff_scopes
Revises: 20261201_metadata
"""

import sqlalchemy as sa
from alembic import op

revision = "20261201_staff_scopes"
down_revision = "20261201_metadata"
branch_labels = None
depends_on = None

KEY_SCOPES = ["catalogue:write", "orders:read", "orders:write", "users:read", "events:read"]
NEW_KEY_SCOPES = [
    "catalogue:read",
    "catalogue:write",
    "orders:read",
    "orders:write",
    "users:read",
    "posts:read",
    "events:read",
]
SCOPES = [
    *(f"{of}:{do}" for of in ("catalogue", "orders", "users", "posts", "webhooks", "keys", "staff")
      for do in ("read", "write")),
    "events:read",
    "audit:read",
]  # fmt: skip


def upgrade() -> None:
    # With a constant default, no row is written. The release before leaves it out.
    op.add_column("users", sa.Column("scopes", sa.ARRAY(sa.Text()), server_default="{}", nullable=False))
    # All rows have none: a million are looked at in a fraction of a second.
    op.execute(
        "-- squawk-ignore constraint-missing-not-valid\n"
        "ALTER TABLE users ADD CONSTRAINT ck_users_scopes_known"
        f" CHECK (scopes <@ ARRAY{SCOPES} AND (erased_at IS NULL OR scopes = '{{}}'))"
    )
    _know(NEW_KEY_SCOPES)
    _note_access_change(
        told=", 'scopes', NEW.scopes",
        ended="NOT NEW.is_active OR (OLD.is_admin AND NOT NEW.is_admin)",
    )
    op.execute("DROP TRIGGER users_access_changed ON users")
    op.execute(
        """
        CREATE TRIGGER users_access_changed BEFORE UPDATE OF is_active, is_admin, scopes ON users FOR EACH ROW
        WHEN (OLD.is_active <> NEW.is_active OR OLD.is_admin <> NEW.is_admin OR OLD.scopes <> NEW.scopes)
        EXECUTE FUNCTION note_access_change()
        """
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER users_access_changed ON users")
    op.execute(
        """
        CREATE TRIGGER users_access_changed BEFORE UPDATE OF is_active, is_admin ON users FOR EACH ROW
        WHEN (OLD.is_active <> NEW.is_active OR OLD.is_admin <> NEW.is_admin)
        EXECUTE FUNCTION note_access_change()
        """
    )
    _note_access_change(told="", ended="NOT (NEW.is_active AND NEW.is_admin)")
    # What the release before does not know, and what it would let go on without its maker's scopes.
    op.execute(
        f"UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()), scopes = '{{}}'"
        f" WHERE NOT scopes <@ ARRAY{KEY_SCOPES}"
    )
    op.execute(
        "UPDATE api_keys SET revoked_at = now() FROM users"
        " WHERE users.id = created_by AND NOT is_admin AND revoked_at IS NULL"
    )
    _know(KEY_SCOPES)
    op.drop_column("users", "scopes")


def _know(scopes: list[str]) -> None:
    """There are few keys: they are looked at in no time."""
    ignored = "-- squawk-ignore constraint-missing-not-valid, ban-drop-constraint\n"
    op.execute(f"{ignored}ALTER TABLE api_keys DROP CONSTRAINT ck_api_keys_scopes_known")
    op.execute(
        f"{ignored}ALTER TABLE api_keys ADD CONSTRAINT ck_api_keys_scopes_known CHECK (scopes <@ ARRAY{scopes})"
    )


def _note_access_change(*, told: str, ended: str) -> None:
    op.execute(
        f"""
        CREATE OR REPLACE FUNCTION note_access_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            NEW.access_changed_at := now();
            PERFORM pg_notify('tradepost_changes', json_build_object(
                'of', 'users', 'id', NEW.id, 'is_active', NEW.is_active, 'is_admin', NEW.is_admin{told})::text);
            -- A key has its maker's power: it ends with it, and for good.
            IF {ended} THEN
                UPDATE api_keys SET revoked_at = now() WHERE created_by = NEW.id AND revoked_at IS NULL;
            END IF;
            RETURN NEW;
        END $$
        """
    )
