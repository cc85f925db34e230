//! The database that every case is played in: made once, copied for each play, looked at by an observer.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::case::{Case, Effect, Sight};
use super::session::{Answer, Login, Session, told};
use crate::account::Account;
use crate::cluster::{Cluster, ClusterOptions};
use crate::wire::RawClient;
use crate::{directory, wait};

/// The database that clients connect to.
pub const DATABASE: &str = "corpus";
/// What it is copied from.
const TEMPLATE: &str = "corpus_template";
/// Advisory lock that the bystander waits for.
const LOCK: u32 = 424_242;

/// What a file of the server contains that no client should see.
const FILE_CANARY: &str = "canary-file-5d1c7e\n";

/// Words in the data files that stand for something of this run.
#[derive(Clone, Debug)]
pub struct Places {
    /// `@folder@`: the server can read and write it. It contains `secret.txt`.
    pub folder: PathBuf,
    /// `@port@`: the server's own TCP port.
    pub port: u16,
}

impl Places {
    /// Replaces the words.
    #[must_use]
    pub fn fill(&self, text: &str) -> String {
        text.replace("@folder@", &self.folder.to_string_lossy()).replace("@port@", &self.port.to_string())
    }
}

/// A server with the corpus' database.
pub struct Ground<'a> {
    cluster: &'a Cluster,
    administrator: Session,
    /// How the database is copied, in SQL.
    strategy: &'static str,
    owner: Account,
    places: Places,
    _directory: TempDir,
}

/// A server on which every case can have its effect.
#[must_use]
pub fn server() -> ClusterOptions {
    ClusterOptions::default().with("wal_level", "logical").with("max_prepared_transactions", "2")
}

impl<'a> Ground<'a> {
    /// Makes roles and the template.
    ///
    /// # Errors
    /// When the server refuses a statement of `tests/corpus/*.sql`.
    pub fn make(cluster: &'a Cluster) -> Result<Self> {
        let owner = Account::postgres()?;
        let directory = directory::private("corpus")?;
        let folder = directory::owned(directory.path(), "server", &owner, 0o755)?;
        let places = Places { folder, port: cluster.port() };
        let mut administrator = connect(cluster, "postgres")?;
        let script = |name: &str| -> Result<String> {
            let path = super::folder().join(name);
            Ok(places.fill(&fs::read_to_string(&path).with_context(|| path.display().to_string())?))
        };
        administrator.execute(&script("roles.sql")?)?;
        administrator.execute(&format!("create database {TEMPLATE}"))?;
        let mut template = connect(cluster, TEMPLATE)?;
        template.execute(&script("database.sql")?)?;
        // Since 15 a template is logged block by block, which takes three times as long; before, it was always copied.
        let major: u32 = administrator.scalar("show server_version_num")?.parse::<u32>()? / 10_000;
        let strategy = if major < 15 { "" } else { " strategy file_copy" };
        Ok(Self { cluster, administrator, strategy, owner, places, _directory: directory })
    }

    /// Words of the data files.
    #[must_use]
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// The server.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        self.cluster
    }

    /// A fresh copy of the database, prepared for `case`.
    ///
    /// # Errors
    /// When the set-up of the case fails.
    pub fn prepare(&mut self, case: &Case) -> Result<Scene> {
        self.administrator.execute(&format!("drop database if exists {DATABASE} with (force)"))?;
        self.administrator.execute(&format!("create database {DATABASE} template {TEMPLATE}{}", self.strategy))?;
        empty(&self.places.folder)?;
        directory::write_owned(&self.places.folder.join("secret.txt"), FILE_CANARY, &self.owner, 0o644)?;
        let mut observer = connect(self.cluster, DATABASE)?;
        for sql in &case.setup {
            observer.execute(sql)?;
        }
        let bystander = case.needs_bystander().then(|| Bystander::enter(self.cluster, &mut observer)).transpose()?;
        Ok(Scene { observer, bystander })
    }

    /// A session of the superuser, straight to the database.
    ///
    /// # Errors
    /// When the server refuses it.
    pub fn session(&self) -> Result<Session> {
        connect_as(self.cluster, DATABASE, "visitor")
    }

    /// Ends a play, and undoes what the case may have done outside of its database.
    ///
    /// # Errors
    /// When the server refuses it, or a session of the case does not end.
    pub fn clean(&mut self, scene: Scene, case: &Case) -> Result<()> {
        let Scene { mut observer, bystander } = scene;
        let cleaned = case.cleanup.iter().try_for_each(|sql| observer.execute(sql));
        observer.close()?;
        if let Some(bystander) = bystander {
            bystander.session.close()?;
        }
        // Sessions that are left make DROP DATABASE wait, and for longer than they need.
        let left = format!("select count(*) from pg_stat_activity where datname = '{DATABASE}'");
        wait::until("the end of the sessions", wait::PATIENCE, || {
            Ok((self.administrator.scalar(&left)? == "0").then_some(()))
        })?;
        cleaned
    }
}

fn empty(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
    }
    Ok(())
}

fn connect(cluster: &Cluster, database: &str) -> Result<Session> {
    connect_as(cluster, database, "observer")
}

fn connect_as(cluster: &Cluster, database: &str, application: &str) -> Result<Session> {
    let startup = BTreeMap::from([("application_name".to_owned(), application.to_owned())]);
    let client = RawClient::unix(&cluster.socket())?;
    let opened = Session::open(client, &Login::superuser(), database, &startup)?;
    opened.map_err(|answers| anyhow::anyhow!("{database}: {}", told(&answers)))
}

/// One play: the observer, and the bystander.
pub struct Scene {
    /// Has its own way to the server.
    pub observer: Session,
    /// Waits while the case is played, if the case is about it.
    pub bystander: Option<Bystander>,
}

impl Scene {
    /// The observer sees that nothing has happened yet: else nothing would follow from what it sees at the end.
    ///
    /// # Errors
    /// When it sees something else.
    pub fn untouched(&mut self, effect: &Effect) -> Result<()> {
        if let Sight::Observer(query) = &effect.sight {
            let seen = seen(&mut self.observer, query)?;
            ensure!(seen == effect.unharmed, "it had happened before: '{seen}'");
        }
        Ok(())
    }

    /// What is seen now; `session` and `answers` are what the client of the case found.
    ///
    /// # Errors
    /// When the observer gets no answer.
    pub fn look(&mut self, sight: &Sight, session: Option<&str>, answers: &[Answer]) -> Result<String> {
        match sight {
            Sight::Observer(query) => seen(&mut self.observer, query),
            Sight::Session(_) => Ok(session.context("the client was not asked for its session")?.to_owned()),
            Sight::Told(text) => {
                let told = answers.iter().any(|answer| answer.to_string().contains(text));
                Ok(if told { "told" } else { "not told" }.to_owned())
            }
            Sight::Bystander => self.bystander.as_mut().context("no bystander")?.fate(&mut self.observer),
        }
    }
}

fn seen(observer: &mut Session, query: &str) -> Result<String> {
    let answers = observer.query(query.as_bytes())?;
    let lines = answers.iter().filter_map(|answer| match answer {
        Answer::Row(text) => Some(text.clone()),
        Answer::Error { sqlstate, .. } => Some(format!("error {sqlstate}")),
        _ => None,
    });
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

/// A session that waits for a lock of the observer: whoever ends or cancels it is found out without any clock.
pub struct Bystander {
    session: Session,
    /// Its process.
    pub pid: u32,
    /// Key for a CancelRequest.
    pub secret: u32,
}

impl Bystander {
    fn enter(cluster: &Cluster, observer: &mut Session) -> Result<Self> {
        observer.execute(&format!("select pg_advisory_lock({LOCK})"))?;
        let mut session = connect_as(cluster, DATABASE, "bystander")?;
        let client = session.client();
        let pid = client.backend_pid.context("no BackendKeyData")?;
        let secret = client.backend_secret.context("no BackendKeyData")?;
        client.send(&crate::wire::query(format!("select pg_advisory_lock({LOCK})").as_bytes()))?;
        wait::until("the bystander's wait", wait::PATIENCE, || {
            let waiting =
                observer.scalar(&format!("select count(*) from pg_locks where pid = {pid} and not granted"))?;
            Ok((waiting == "1").then_some(()))
        })?;
        Ok(Self { session, pid, secret })
    }

    /// Ends the wait, and says what came of it.
    fn fate(&mut self, observer: &mut Session) -> Result<String> {
        observer.execute("select pg_advisory_unlock_all()")?;
        let answers = self.session.exchange(&[], 1, super::session::CopyData::Fail)?;
        let error = answers.iter().find_map(|answer| match answer {
            Answer::Error { sqlstate, .. } => Some(sqlstate.clone()),
            Answer::Ended => Some("ended".to_owned()),
            _ => None,
        });
        Ok(error.unwrap_or_else(|| "answered".to_owned()))
    }
}
