//! A cell of the table: protocol of pgbench, clients, transport.

use std::fmt;

use anyhow::{Result, ensure};
use warder_tests::route::Route;

/// Values of pgbench's `-M`.
const PROTOCOLS: [&str; 3] = ["simple", "extended", "prepared"];
/// Clients at the same time.
const CLIENTS: [u32; 3] = [1, 8, 64];
/// Transports.
const ROUTES: [Route; 2] = [Route::Tcp, Route::Tls];

/// One combination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) protocol: &'static str,
    pub(super) clients: u32,
    pub(super) route: Route,
}

impl Cell {
    /// All of them, or those that one of `filters` names.
    pub(super) fn chosen(filters: &[String]) -> Result<Vec<Self>> {
        let chosen: Vec<Self> = all().filter(|cell| filters.is_empty() || filters.iter().any(|f| cell.is(f))).collect();
        ensure!(!chosen.is_empty(), "no cell is called {}", filters.join(" or "));
        Ok(chosen)
    }

    /// Whether each word of `filter` is one of the cell.
    fn is(self, filter: &str) -> bool {
        let name = self.to_string();
        let words: Vec<&str> = name.split('/').collect();
        filter.split('/').all(|word| words.contains(&word))
    }

    /// Cells that share protocol and transport, with a title.
    pub(super) fn groups(cells: &[Self]) -> Vec<(String, Vec<Self>)> {
        let mut groups: Vec<(String, Vec<Self>)> = Vec::new();
        for cell in cells {
            let title = format!("{}, {}", cell.protocol, cell.transport());
            match groups.iter_mut().find(|(known, _)| *known == title) {
                Some((_, members)) => members.push(*cell),
                None => groups.push((title, vec![*cell])),
            }
        }
        groups
    }

    fn transport(self) -> &'static str {
        self.route.encryption()
    }
}

fn all() -> impl Iterator<Item = Cell> {
    let combined = |route: Route| {
        let of_protocol = move |protocol| CLIENTS.into_iter().map(move |clients| Cell { protocol, clients, route });
        PROTOCOLS.into_iter().flat_map(of_protocol)
    };
    ROUTES.into_iter().flat_map(combined)
}

/// `prepared/8/tls`.
impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = if self.route == Route::Tls { "tls" } else { "plain" };
        write!(f, "{}/{}/{transport}", self.protocol, self.clients)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_name_cells_by_their_words() {
        let check = |filters: &[&str], count: usize| {
            let filters: Vec<String> = filters.iter().map(|filter| (*filter).to_owned()).collect();
            assert_eq!(Cell::chosen(&filters).map_or(0, |cells| cells.len()), count, "{filters:?}");
        };
        check(&[], 18);
        check(&["tls"], 9);
        check(&["prepared/8"], 2);
        check(&["simple/1/plain", "prepared/64"], 3);
        check(&["6"], 0);
    }
}
