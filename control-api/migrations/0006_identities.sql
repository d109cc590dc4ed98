-- Who a user is to an OpenID provider: the provider's own name for them, which never changes.
CREATE TABLE identities (
    issuer  TEXT NOT NULL,
    subject TEXT NOT NULL,
    holder  TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    PRIMARY KEY (issuer, subject),
    UNIQUE (issuer, holder)
);
CREATE INDEX identities_by_holder ON identities (holder);
