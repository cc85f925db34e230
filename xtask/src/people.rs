//! Who plays in the demo: an issuer of its own, and a token for each.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use warder_tests::account::Account;
use warder_tests::tokens::Tokens;

/// A working day.
const TOKEN_LIFE: Duration = Duration::from_secs(12 * 3600);

/// Somebody with a token.
pub(crate) struct Player {
    /// What the demo calls them.
    pub(crate) part: &'static str,
    /// Who they are to policies and in records.
    pub(crate) who: &'static str,
    /// The token.
    pub(crate) token: String,
    /// The same in a file of root.
    pub(crate) file: PathBuf,
}

/// All of them, and who vouches for them.
pub(crate) struct People {
    /// Has the key.
    pub(crate) issuer: Tokens,
    players: Vec<Player>,
}

impl People {
    /// Makes the issuer and the tokens.
    pub(crate) fn gather() -> Result<Self> {
        let issuer = Tokens::new()?;
        let parts = [
            ("analyst", "person anna@example.com", "anna@example.com", json!({ "groups": ["analysts"] })),
            ("engineer", "person erik@example.com", "erik@example.com", json!({ "groups": ["engineers"] })),
            (
                "agent",
                "agent report-writer for person anna@example.com",
                "anna@example.com",
                json!({ "groups": ["analysts"], "act": { "sub": "report-writer" } }),
            ),
        ];
        let root = Account::named("root")?;
        let player = |(part, who, person, claims): (&'static str, &'static str, &str, Value)| {
            let token = issuer.token(person, &claims, TOKEN_LIFE)?;
            let file = issuer.file(part, &token, &root)?;
            Ok(Player { part, who, token, file })
        };
        let players = parts.into_iter().map(player).collect::<Result<_>>()?;
        Ok(Self { issuer, players })
    }

    /// Who plays this part.
    pub(crate) fn player(&self, part: &str) -> Result<&Player> {
        self.players.iter().find(|player| player.part == part).with_context(|| format!("nobody plays the {part}"))
    }

    /// For other programs.
    pub(crate) fn description(&self) -> Value {
        let described = |player: &Player| {
            let Player { part, who, token, file } = player;
            json!({ "part": part, "who": who, "token": token, "token_file": file })
        };
        self.players.iter().map(described).collect()
    }
}
