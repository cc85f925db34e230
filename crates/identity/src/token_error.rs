//! Why a token proves nothing.

use std::fmt;

use model::principal::UnknownPrincipal;

/// Declares the errors: a fixed word, what happened, what to do.
macro_rules! token_errors {
    ($($(#[$doc:meta])* $variant:ident = $word:literal, $what:literal, $remedy:literal;)+) => {
        /// Why a token proves nothing. The words are fixed; no text contains any part of the token.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum TokenError { $($(#[$doc])* $variant,)+ }

        impl TokenError {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its fixed word, for records and metrics.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// What happened.
            #[must_use]
            pub const fn what(self) -> &'static str {
                match self { $(Self::$variant => $what),+ }
            }

            /// What to do.
            #[must_use]
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$variant => $remedy),+ }
            }
        }
    };
}

token_errors! {
    /// Larger than a token may be.
    TooLarge = "too_large", "the token has more than 16 KiB",
        "ask the issuer for fewer claims, groups above all";
    /// Not three parts of base64url, of which two are JSON objects without repeated names.
    Malformed = "malformed", "this is no signed JWT in compact form",
        "send the access token itself, without quotes, prefix or line breaks";
    /// Five parts.
    Encrypted = "encrypted", "the token is encrypted",
        "have the issuer sign its tokens and not encrypt them";
    /// A header that asks for something that is not done: `crit`, an embedded key, a place of keys.
    Header = "header", "the token's header asks for what is not accepted: critical extensions, compression, or a key of its own",
        "use a token as the issuer makes it; keys come from the issuer's configuration only";
    /// `typ` names another kind of token.
    Type = "type", "this is another kind of JWT than an access token",
        "send the access token, not a logout token, a proof or an authorization response";
    /// `alg` is not allowed, or the key is of another type.
    Algorithm = "algorithm", "the token is signed with an algorithm that this issuer is not allowed",
        "add it to `algorithms` of the issuer, if it is one of RS, PS, ES or EdDSA and the issuer really uses it";
    /// `iss` is missing or not configured.
    Issuer = "issuer", "no issuer with the token's `iss` is configured",
        "compare `iss` with the configured issuers: they must be equal to the last character, `/` included";
    /// `kid` is missing.
    NoKeyId = "no_key_id", "the token does not say which key signed it",
        "have the issuer put a `kid` into the header";
    /// `kid` is not in the key set.
    UnknownKey = "unknown_key", "the issuer has no key of the token's `kid`",
        "get a new token; right after the issuer changed its keys, try again in half a minute";
    /// The issuer cannot be asked for its keys, and none are known.
    KeysUnavailable = "keys_unavailable", "the issuer's keys are not known, and it cannot be asked for them",
        "look into the agent's log for the reason; the issuer may be down or not reachable from this host";
    /// The keys were known, and could not be refreshed for too long.
    KeysStale = "keys_stale", "the issuer's keys could not be refreshed for longer than `keys_stale_seconds_max`",
        "look into the agent's log for the reason; the issuer may be down or not reachable from this host";
    /// The signature is wrong.
    Signature = "signature", "the token's signature is wrong",
        "get a new token; if it happens again, the token was changed on its way or is not of this issuer";
    /// A claim that must be there is missing or of another type.
    Claim = "claim", "a claim that is needed is missing, or not of its type",
        "tokens need `iss`, `aud`, `exp` and `iat`, and the claims that the issuer's rules name";
    /// `aud` is not ours.
    Audience = "audience", "the token is meant for somebody else",
        "ask the issuer for a token for one of the `audiences` of the configuration";
    /// `exp` has passed.
    Expired = "expired", "the token has expired",
        "get a new one, for example with `warder login`";
    /// `nbf` or `iat` is in the future.
    NotYetValid = "not_yet_valid", "the token is not valid yet",
        "compare the clocks of this host and of the issuer";
    /// Valid for longer than configured.
    Lifetime = "lifetime", "the token is valid for longer than is accepted",
        "have the issuer make tokens that live shorter, or raise `lifetime_seconds_max`";
    /// `tid` is another tenant, or missing.
    Tenant = "tenant", "the token is of another tenant",
        "sign in to the tenant that the configuration names";
    /// No rule says who it is.
    NoRule = "no_rule", "no rule of the issuer says who this is",
        "add an [[identity.issuer.rule]] that matches the token's claims";
    /// The claim with the name is missing, empty, too long, has control characters, or is an address that is not verified.
    Name = "name", "the claim that names the principal is missing or cannot be used",
        "compare `id` of the issuer's rules with the claims of its tokens";
    /// The groups are not in the token.
    GroupOverage = "group_overage", "the token leaves the groups out because there are too many",
        "have the issuer send only groups that are assigned to the application, or app roles";
    /// A groups claim cannot be used.
    Groups = "groups", "the groups of the token cannot be used: too many, too long, or not a list of texts",
        "compare `groups` of the issuer with the claims of its tokens";
    /// `act` is too deep, of another issuer, or malformed.
    Delegation = "delegation", "the chain of `act` claims is too long, incomplete or of another issuer",
        "have the issuer put `sub` into each `act`, at most four deep";
}

impl TokenError {
    /// What is then known about who acts.
    #[must_use]
    pub const fn unknown(self) -> UnknownPrincipal {
        match self {
            Self::Expired => UnknownPrincipal::Expired,
            Self::KeysUnavailable | Self::KeysStale => UnknownPrincipal::Unavailable,
            _ => UnknownPrincipal::NoProof,
        }
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what(), self.remedy())
    }
}

impl std::error::Error for TokenError {}
