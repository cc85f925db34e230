//! A connection of the agent's own to a server: of whoever makes roles, one that stays open, for a new session must not wait
//! for it; and of a service account that ends its own sessions.
//!
//! Each text is one message: tasks share the connection, and the server runs one text after the other.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use mint::failure::Failure;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

use super::{RACE_PAUSE, RACES_MAX};
use crate::core_process::own_hops::OwnHops;
use crate::link::Purpose;

/// Longest that one text may take, and a login.
const PATIENCE: Duration = Duration::from_secs(10);
/// Texts that the server has at once, so that it always has a next one. All others wait here, in turn: [`PATIENCE`] is for
/// what the server does, not for those in front.
const TEXTS_MAX: usize = 8;
/// A role that a crash of the server forgets is forgotten with its session; one that it brings back is found by a sweep.
/// So nobody waits for the disk.
const OPTIONS: &str = "-c synchronous_commit=off -c statement_timeout=8s -c lock_timeout=4s -c search_path=";

/// It.
pub(super) struct Admin {
    own: Rc<OwnHops>,
    login: (u16, Purpose),
    sql_database: String,
    client: Mutex<Option<Rc<Client>>>,
    /// Of those whose text the server gets.
    turns: Semaphore,
}

/// Why something was not done.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The server has refused it: nothing was changed.
    Refused(Failure, String),
    /// Nobody knows whether it was done.
    Broken(anyhow::Error),
}

impl fmt::Display for Trouble {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(_, message) => formatter.write_str(message),
            Self::Broken(problem) => write!(formatter, "{problem:#}"),
        }
    }
}

impl Admin {
    pub(super) fn new(own: Rc<OwnHops>, login: (u16, Purpose), sql_database: String) -> Self {
        Self { own, login, sql_database, client: Mutex::default(), turns: Semaphore::const_new(TEXTS_MAX) }
    }

    /// Changes the catalogue; where another change is in the way, again.
    pub(super) async fn change(&self, text: &str) -> Result<(), Trouble> {
        for race in 1..RACES_MAX {
            match self.rows(text).await {
                Err(Trouble::Refused(Failure::Again, _)) => sleep(RACE_PAUSE * race).await,
                other => return other.map(drop),
            }
        }
        self.rows(text).await.map(drop)
    }

    /// Rows that the text gives, as texts.
    pub(super) async fn rows(&self, text: &str) -> Result<Vec<Vec<Option<String>>>, Trouble> {
        let _turn = self.turns.acquire().await.map_err(|closed| Trouble::Broken(closed.into()))?;
        let client = self.client().await.map_err(Trouble::Broken)?;
        run(&client, text).await
    }

    /// Changes something in another database of the server, over a connection of its own.
    pub(super) async fn change_in(&self, sql_database: &str, text: &str) -> Result<(), Trouble> {
        let client = self.connect(sql_database).await.map_err(Trouble::Broken)?;
        run(&client, text).await.map(drop)
    }

    /// The open connection; another one where it has broken.
    async fn client(&self) -> Result<Rc<Client>> {
        let mut kept = self.client.lock().await;
        if let Some(client) = kept.as_ref().filter(|client| !client.is_closed()) {
            return Ok(Rc::clone(client));
        }
        let client = Rc::new(self.connect(&self.sql_database).await?);
        *kept = Some(Rc::clone(&client));
        Ok(client)
    }

    async fn connect(&self, sql_database: &str) -> Result<Client> {
        let login = self.own.open(self.login.0, self.login.1).await?;
        let mut config = Config::new();
        config.user(&login.user).password(&*login.password).dbname(sql_database);
        // The connection does not leave the host: it takes the proxy's own way to the server.
        config.application_name("warder").ssl_mode(SslMode::Disable).options(OPTIONS);
        let is_unix = login.is_unix()?;
        let connected = async {
            if is_unix {
                let (client, connection) =
                    config.connect_raw(UnixStream::from_std(login.socket.into())?, NoTls).await?;
                spawn_local(async move { drop(connection.await) });
                anyhow::Ok(client)
            } else {
                let (client, connection) = config.connect_raw(TcpStream::from_std(login.socket.into())?, NoTls).await?;
                spawn_local(async move { drop(connection.await) });
                Ok(client)
            }
        };
        timeout(PATIENCE, connected).await.context("the login takes too long")?.context("the login failed")
    }
}

async fn run(client: &Client, text: &str) -> Result<Vec<Vec<Option<String>>>, Trouble> {
    let messages = match timeout(PATIENCE, client.simple_query(text)).await {
        Ok(Ok(messages)) => messages,
        Ok(Err(error)) => return Err(trouble(error)),
        Err(elapsed) => return Err(Trouble::Broken(anyhow::Error::new(elapsed).context("the server does not answer"))),
    };
    let row = |message| match message {
        SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect()),
        _ => None,
    };
    Ok(messages.into_iter().filter_map(row).collect())
}

fn trouble(error: tokio_postgres::Error) -> Trouble {
    match error.as_db_error() {
        Some(refusal) => {
            let (code, message) = (refusal.code().code(), refusal.message());
            Trouble::Refused(Failure::of(code, message), format!("{message} (SQLSTATE {code})"))
        }
        None => Trouble::Broken(anyhow::Error::new(error).context("the connection broke")),
    }
}
