//! Where statements come from: what is the same for all statements of a session, and its process.

use std::net::IpAddr;
use std::sync::Arc;

use model::verdict::Mode;

/// What is the same for all statements of a session, but for [`in_transaction`](Self::in_transaction) and what the
/// session may change about itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionContext {
    /// Name of the `[[database]]` in the configuration.
    pub database_name: Arc<str>,
    /// Environment of that database in the configuration: `production`.
    pub environment: Arc<str>,
    /// How far its policy goes; written into verdicts, no policy reads it.
    pub mode: Mode,
    /// SQL database.
    pub database: Arc<str>,
    /// Database role of the login; what [`Object::Role`](model::facts::Object::Role) without a name stands for.
    pub user: Arc<str>,
    /// `application_name`: the client's word.
    pub application: Arc<str>,
    /// How the client reached us.
    pub transport: Transport,
    /// Is the client's leg encrypted?
    pub encrypted: bool,
    /// Address of the client; `None`: a Unix socket, or not known.
    pub client_address: Option<IpAddr>,
    /// The client's process; `None`: on another host, or not known.
    pub process: Option<ProcessContext>,
    /// Is a transaction block open?
    pub in_transaction: bool,
    /// Time zone of the configuration: what policies call the hour and the day.
    pub utc_offset: UtcOffset,
}

/// A process of this host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProcessContext {
    /// Path of its executable.
    pub exe: Arc<str>,
    /// SHA-256 of the executable; `None`: not known, and equal to no hash.
    pub exe_sha256: Option<[u8; 32]>,
    /// Effective user id.
    pub uid: u32,
    /// Who logged in, whatever the user id became since; `None`: nobody did.
    pub login_uid: Option<u32>,
    /// Path of its control group.
    pub cgroup: Option<Arc<str>>,
    /// Its systemd unit: `nightly-report.service`.
    pub unit: Option<Arc<str>>,
    /// Paths of its ancestors' executables, nearest first.
    pub ancestors: Vec<Arc<str>>,
    /// Has it a terminal?
    pub tty: bool,
}

/// How a client reached us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// Unix socket.
    Unix,
}

impl Transport {
    /// Every value.
    pub const ALL: &'static [Self] = &[Self::Tcp, Self::Unix];

    /// Its fixed word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Unix => "unix",
        }
    }
}

/// Minutes that a clock is ahead of UTC, -1440 to 1440.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct UtcOffset(i16);

impl UtcOffset {
    /// An offset; `None`: more than a day.
    #[must_use]
    pub const fn new(minutes: i16) -> Option<Self> {
        if minutes >= -1440 && minutes <= 1440 { Some(Self(minutes)) } else { None }
    }

    /// Minutes ahead of UTC.
    #[must_use]
    pub const fn minutes(self) -> i16 {
        self.0
    }
}
