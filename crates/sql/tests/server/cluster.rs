//! A private cluster in a temporary folder, reached over its socket only.

use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;

/// A running cluster; it stops when it is dropped.
pub(crate) struct Cluster {
    folder: TempDir,
    programs: PathBuf,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        Self::start_in("UTF8")
    }

    /// One whose databases have this encoding.
    pub(crate) fn start_in(encoding: &str) -> Self {
        Self::start_with(programs(), encoding)
    }

    /// One of these programs.
    #[allow(dead_code, reason = "not every test program has servers of other majors")]
    pub(crate) fn start_with(programs: PathBuf, encoding: &str) -> Self {
        let cluster = Self { folder: TempDir::with_prefix("sql-test-").unwrap(), programs };
        let owner = cluster.as_owner("id", &["-u"]);
        let owner: u32 = String::from_utf8(owner.stdout).unwrap().trim().parse().unwrap();
        chown(cluster.folder.path(), Some(owner), None).unwrap();
        let data = cluster.path("data");
        let initdb = cluster.programs.join("initdb").display().to_string();
        let options = ["-D", &data, "-A", "trust", "-U", "postgres", "-N", "-E", encoding, "--locale=C"];
        done(&cluster.as_owner(&initdb, &options));
        let options = format!("-k {} -c listen_addresses= -c fsync=off", cluster.folder.path().display());
        cluster.control(&["start", "-w", "-o", &options, "-l", &cluster.path("log")]);
        cluster
    }

    /// Its Unix socket.
    #[allow(dead_code, reason = "not every test program speaks to it itself")]
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join(".s.PGSQL.5432")
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// A program as the account of the database: the server refuses root.
    fn as_owner(&self, program: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", program]).args(arguments);
        command.current_dir(self.folder.path()).output().unwrap()
    }

    fn control(&self, arguments: &[&str]) {
        let data = self.path("data");
        let program = self.programs.join("pg_ctl").display().to_string();
        done(&self.as_owner(&program, &[&["-D", &data][..], arguments].concat()));
    }

    fn psql(&self, user: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(programs().join("psql"));
        command.args(["-X", "-q", "-A", "-t", "-F", "\u{1f}", "-v", "ON_ERROR_STOP=1", "-U", user, "-d", "postgres"]);
        let output = command.arg("-h").arg(self.folder.path()).args(arguments).output().unwrap();
        done(&output);
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn run(&self, user: &str, script: &str) {
        self.psql(user, &["-c", script]);
    }

    pub(crate) fn rows(&self, user: &str, query: &str) -> Vec<Vec<String>> {
        // Definitions have many lines; names in them are qualified where no schema is looked up.
        let output = self.psql(user, &["-R", "\u{1e}", "-c", "set search_path = ''", "-c", query]);
        let rows = output.trim_end_matches('\n').split('\u{1e}').filter(|row| !row.is_empty());
        rows.map(|row| row.split('\u{1f}').map(str::to_owned).collect()).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.control(&["stop", "-m", "immediate"]);
    }
}

fn done(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Debian's folder of server programs, of the newest major.
fn programs() -> PathBuf {
    let majors = std::fs::read_dir("/usr/lib/postgresql").unwrap().map(|entry| entry.unwrap().path());
    majors.max().unwrap().join("bin")
}
