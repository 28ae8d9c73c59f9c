"""Identity: refresh and mail tokens, API keys, and the audit log with its addresses.

Revision ID: 20261122_identity
Revises: 20261122_first
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "20261122_identity"
down_revision = "20261122_first"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit_addresses",
        sa.Column("audit_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("address", postgresql.INET(), nullable=False),
        sa.PrimaryKeyConstraint("audit_id", "at", name=op.f("pk_audit_addresses")),
        postgresql_partition_by="RANGE (at)",
    )
    op.create_table(
        "audit_log",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("actor_id", sa.BigInteger(), nullable=True),
        sa.Column("key_id", sa.BigInteger(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("target_kind", sa.Text(), nullable=True),
        sa.Column("target_id", sa.BigInteger(), nullable=True),
        sa.Column(
            "data", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False
        ),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("caller_request_id", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
    )
    op.create_index("ix_audit_log_action_id", "audit_log", ["action", "id"], unique=False)
    op.create_index("ix_audit_log_actor_id_id", "audit_log", ["actor_id", "id"], unique=False)
    op.create_index("ix_audit_log_at", "audit_log", ["at"], unique=False)
    op.create_index(
        "ix_audit_log_caller_request_id",
        "audit_log",
        ["caller_request_id"],
        unique=False,
        postgresql_where=sa.text("caller_request_id IS NOT NULL"),
    )
    op.create_index("ix_audit_log_request_id", "audit_log", ["request_id"], unique=False)
    op.create_index("ix_audit_log_target", "audit_log", ["target_id", "target_kind", "id"], unique=False)
    op.create_table(
        "api_keys",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("hint", sa.Text(), nullable=False),
        sa.Column("scopes", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("created_by", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "scopes <@ ARRAY['catalogue:write', 'orders:read', 'orders:write', 'users:read', 'events:read']",
            name=op.f("ck_api_keys_scopes_known"),
        ),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name=op.f("fk_api_keys_created_by_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
    )
    op.create_index("ix_api_keys_created_by", "api_keys", ["created_by"], unique=False)
    op.create_index("uq_api_keys_hash", "api_keys", ["hash"], unique=True)
    op.create_table(
        "mail_tokens",
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("account_state", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "purpose IN ('verify_email', 'reset_password', 'change_email')",
            name=op.f("ck_mail_tokens_purpose_known"),
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_mail_tokens_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_mail_tokens")),
    )
    op.create_index("ix_mail_tokens_expires_at", "mail_tokens", ["expires_at"], unique=False)
    op.create_index(
        "ix_mail_tokens_mailbox",
        "mail_tokens",
        [sa.literal_column("lower(email)"), "created_at"],
        unique=False,
    )
    op.create_index("ix_mail_tokens_user_id", "mail_tokens", ["user_id"], unique=False)
    op.create_table(
        "refresh_tokens",
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("session_id", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("rotated_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["sessions.id"],
            name=op.f("fk_refresh_tokens_session_id_sessions"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_refresh_tokens")),
    )
    op.create_index("ix_refresh_tokens_session_id", "refresh_tokens", ["session_id"], unique=False)
    # What comes when the month's partition is not there yet; the clean-up makes partitions ahead.
    op.execute("CREATE TABLE audit_addresses_default PARTITION OF audit_addresses DEFAULT")
    op.execute(
        """
        CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
        END $$
        """
    )
    op.execute(
        """
        CREATE TRIGGER audit_log_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
        """
    )

    # Any statement that ends a session or changes a user's permissions notifies every process when it is
    # committed.
    op.execute(
        """
        CREATE FUNCTION note_access_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            NEW.access_changed_at := now();
            PERFORM pg_notify('tradepost_changes', json_build_object(
                'of', 'users', 'id', NEW.id, 'is_active', NEW.is_active, 'is_admin', NEW.is_admin)::text);
            -- A key has its maker's power: it ends with it, and for good.
            IF NOT (NEW.is_active AND NEW.is_admin) THEN
                UPDATE api_keys SET revoked_at = now() WHERE created_by = NEW.id AND revoked_at IS NULL;
            END IF;
            RETURN NEW;
        END $$
        """
    )
    op.execute(
        """
        CREATE TRIGGER users_access_changed BEFORE UPDATE OF is_active, is_admin ON users FOR EACH ROW
        WHEN (OLD.is_active <> NEW.is_active OR OLD.is_admin <> NEW.is_admin)
        EXECUTE FUNCTION note_access_change()
        """
    )
    op.execute(
        """
        CREATE FUNCTION announce_session_end() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_notify('tradepost_changes', json_build_object('of', 'sessions', 'id', NEW.id)::text);
            RETURN NULL;
        END $$
        """
    )
    op.execute(
        """
        CREATE TRIGGER sessions_ended AFTER UPDATE OF ended_at ON sessions FOR EACH ROW
        WHEN (OLD.ended_at IS NULL AND NEW.ended_at IS NOT NULL)
        EXECUTE FUNCTION announce_session_end()
        """
    )
    # Who has had their account deleted has nothing written of them any more, however close the race:
    # the deletion locks the account, so this waits for it and then sees it.
    op.execute(
        """
        CREATE FUNCTION leave_erased_alone() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE gone timestamptz;
        BEGIN
            SELECT erased_at INTO gone FROM users WHERE id = NEW.user_id FOR KEY SHARE;
            IF gone IS NOT NULL THEN
                RETURN NULL;
            END IF;
            RETURN NEW;
        END $$
        """
    )
    for table in ("addresses", "sessions", "mail_tokens"):
        op.execute(
            f"CREATE TRIGGER {table}_leave_erased_alone BEFORE INSERT ON {table} FOR EACH ROW"
            " EXECUTE FUNCTION leave_erased_alone()"
        )
    op.execute(
        """
        CREATE FUNCTION announce_key_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_notify('tradepost_changes', json_build_object('of', 'api_keys', 'id', NEW.id)::text);
            RETURN NULL;
        END $$
        """
    )
    # Not of its use: that is noted every minute.
    op.execute(
        """
        CREATE TRIGGER api_keys_changed AFTER UPDATE OF scopes, expires_at, revoked_at ON api_keys
        FOR EACH ROW EXECUTE FUNCTION announce_key_change()
        """
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER sessions_ended ON sessions")
    op.execute("DROP TRIGGER users_access_changed ON users")
    op.execute("DROP TRIGGER addresses_leave_erased_alone ON addresses")
    op.execute("DROP TRIGGER sessions_leave_erased_alone ON sessions")
    for table in (
        "refresh_tokens",
        "mail_tokens",
        "api_keys",
        "audit_log",
        "audit_addresses",
    ):
        op.drop_table(table)
    op.execute(
        "DROP FUNCTION refuse_change, note_access_change, announce_session_end, announce_key_change, leave_erased_alone"
    )
