//! The corpus behind a guard: what is evasive does not happen and is refused properly, what is harmless is answered as
//! it is directly.

use anyhow::Result;

use super::case::{Case, Purpose};
use super::ground::Ground;
use super::judge;
use super::play::{self, Entrance};

/// What came of all cases.
#[derive(Debug, Default)]
pub struct Report {
    /// Plays along the guarded way.
    pub plays: usize,
    /// What is wrong, a text for each play.
    pub wrong: Vec<String>,
}

/// Plays cases along the way that a guard keeps.
///
/// # Errors
/// When the guard ends or the server cannot be prepared; what the guard does wrong is in the report.
pub fn check(ground: &mut Ground<'_>, guarded: &Entrance, cases: &[&Case]) -> Result<Report> {
    // As the same role: what says who asks is the same then.
    let direct = Entrance { login: guarded.login, ..Entrance::direct(ground) };
    let mut report = Report::default();
    for case in cases {
        let through = play::play(ground, guarded, case)?;
        report.plays += through.len();
        match &case.purpose {
            Purpose::Evasive(effect) => {
                report.wrong.extend(through.iter().filter_map(|outcome| judge::guarded(effect, outcome)));
            }
            Purpose::Harmless(_) => {
                let expected = play::play(ground, &direct, case)?;
                let pairs = expected.iter().zip(&through);
                report.wrong.extend(pairs.filter_map(|(direct, through)| judge::same(direct, through)));
            }
        }
    }
    Ok(report)
}
