//! A case is played by a client: what it was told, and whether its session lives.

use anyhow::{Context, Result, ensure};

use super::case::{Case, Policy, Purpose, Step};
use super::ground::{Ground, Scene};
use super::session::{Answer, Login};
use super::{play_psql, play_raw, play_tokio};
use crate::way::WayIn;

/// Where the clients of the corpus connect to, and as whom: this is all that a guard has to provide.
pub struct Entrance {
    /// The way to the server.
    pub way: WayIn,
    /// Who is held by a policy of that kind.
    pub login: fn(Policy) -> Login,
}

impl Entrance {
    /// The server itself, where the superuser may do everything.
    #[must_use]
    pub fn direct(ground: &Ground<'_>) -> Self {
        Self { way: WayIn::direct(ground.cluster()), login: |_| Login::superuser() }
    }
}

/// The client programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// Messages by hand: every case, and the transaction state behind each answer.
    Raw,
    /// psql, which is libpq: the simple protocol, its own commands, and the programs beside it.
    Psql,
    /// tokio-postgres: the extended protocol with named statements and binary results.
    TokioPostgres,
}

impl Client {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Raw, Self::Psql, Self::TokioPostgres];

    /// Whether it can play these steps, and another client would not do the same.
    #[must_use]
    pub fn plays(self, steps: &[Step]) -> bool {
        match self {
            Self::Raw => !steps.iter().any(|step| matches!(step, Step::Psql(_) | Step::Program(_))),
            Self::Psql => play_psql::plays(steps),
            Self::TokioPostgres => play_tokio::plays(steps),
        }
    }

    fn play(self, entrance: &Entrance, scene: &mut Scene, play: &Play<'_>) -> Result<Played> {
        match self {
            Self::Raw => play_raw::play(entrance, scene, play),
            Self::Psql => play_psql::play(entrance, play),
            Self::TokioPostgres => play_tokio::play(entrance, play),
        }
    }
}

/// One way of sending one case.
#[derive(Clone, Copy, Debug)]
pub struct Play<'a> {
    /// The case.
    pub case: &'a Case,
    /// Its steps.
    pub steps: &'a [Step],
}

/// What a client found.
#[derive(Clone, Debug, Default)]
pub struct Played {
    /// What it was told.
    pub answers: Vec<Answer>,
    /// What it found in its session at the end, where the case asks for it.
    pub session: Option<String>,
    /// Whether the statement behind the case was answered on the same connection.
    pub alive: bool,
    /// Transaction states that do not follow from the answers.
    pub wrong: Vec<String>,
}

/// What came of one play.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The case, its way of sending and the client, for messages.
    pub name: String,
    /// Who played it.
    pub client: Client,
    /// What the client found.
    pub played: Played,
    /// What was seen of the effect; `None` for a harmless case.
    pub seen: Option<String>,
}

/// Plays a case in every way and with every client that can, each time on fresh ground.
///
/// # Errors
/// When the ground cannot be prepared or a client not be started.
pub fn play(ground: &mut Ground<'_>, entrance: &Entrance, case: &Case) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    for (number, steps) in case.variants.iter().enumerate() {
        for client in Client::ALL.into_iter().filter(|client| client.plays(steps)) {
            let mut scene = ground.prepare(case)?;
            let outcome = play_once(entrance, client, &mut scene, &Play { case, steps });
            ground.clean(scene, case)?;
            let (played, seen) = outcome.with_context(|| format!("{client:?}"))?;
            outcomes.push(Outcome { name: format!("{case} ({number}, {client:?})"), client, played, seen });
        }
    }
    ensure!(!outcomes.is_empty(), "no client can play {case}");
    Ok(outcomes)
}

fn play_once(
    entrance: &Entrance,
    client: Client,
    scene: &mut Scene,
    play: &Play<'_>,
) -> Result<(Played, Option<String>)> {
    let Purpose::Evasive(effect) = &play.case.purpose else {
        return Ok((client.play(entrance, scene, play)?, None));
    };
    scene.untouched(effect)?;
    let played = client.play(entrance, scene, play)?;
    let seen = scene.look(&effect.sight, played.session.as_deref(), &played.answers)?;
    // Who the session is, in the words of a direct run.
    let login = (entrance.login)(play.case.policy);
    let seen = if seen == login.user { Login::superuser().user } else { seen };
    Ok((played, Some(seen)))
}
