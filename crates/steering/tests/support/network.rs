//! A network namespace joined to another one by a veth pair, IPv4 and IPv6; and a bpffs.

use std::fs::File;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use steering::namespace;
use tempfile::TempDir;

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Two namespaces of the test's own: the database's, and the one of its remote clients. The host's is not touched.
pub(crate) struct Network {
    pub(crate) inside: Place,
    pub(crate) outside: Place,
}

/// One namespace and its addresses on the pair.
pub(crate) struct Place {
    name: String,
    file: File,
    pub(crate) v4: IpAddr,
    pub(crate) v6: IpAddr,
}

impl Network {
    pub(crate) fn create() -> Result<Self> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}-{number}", std::process::id());
        let inside = Place::create(&format!("wsi-{id}"), "10.212.0.2", "fd12::2")?;
        let outside = Place::create(&format!("wso-{id}"), "10.212.0.1", "fd12::1")?;
        ip(&[
            "-n",
            &outside.name,
            "link",
            "add",
            "far",
            "type",
            "veth",
            "peer",
            "name",
            "near",
            "netns",
            &inside.name,
        ])?;
        for (place, device) in [(&inside, "near"), (&outside, "far")] {
            ip(&["-n", &place.name, "address", "add", &format!("{}/24", place.v4), "dev", device])?;
            ip(&["-n", &place.name, "address", "add", &format!("{}/64", place.v6), "dev", device, "nodad"])?;
            ip(&["-n", &place.name, "link", "set", device, "up"])?;
        }
        Ok(Self { inside, outside })
    }
}

impl Place {
    fn create(name: &str, v4: &str, v6: &str) -> Result<Self> {
        ip(&["netns", "add", name])?;
        ip(&["-n", name, "link", "set", "lo", "up"])?;
        let file = File::open(Path::new("/var/run/netns").join(name)).context("the namespace has no file")?;
        Ok(Self { name: name.into(), file, v4: v4.parse()?, v6: v6.parse()? })
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn path(&self) -> PathBuf {
        Path::new("/var/run/netns").join(&self.name)
    }

    /// Connects from here.
    pub(crate) fn connect(&self, address: SocketAddr) -> std::io::Result<TcpStream> {
        let stream =
            namespace::inside(self.file.as_fd(), || TcpStream::connect_timeout(&address, Duration::from_secs(5)))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        Ok(stream)
    }

    pub(crate) fn ip(&self, words: &[&str]) -> Result<()> {
        ip(&[&["-n", self.name.as_str()], words].concat())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = ip(&["netns", "delete", &self.name]) {
            eprintln!("warning: {error:#}");
        }
    }
}

fn ip(words: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(words).output().context("ip could not be started")?;
    ensure!(output.status.success(), "ip {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// A BPF file system.
pub(crate) struct Bpffs {
    folder: TempDir,
}

impl Bpffs {
    pub(crate) fn create() -> Result<Self> {
        let folder = TempDir::new()?;
        mount(Some("bpf"), folder.path(), Some("bpf"), MsFlags::empty(), None::<&str>).context("bpffs")?;
        Ok(Self { folder })
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("warder")
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        if let Err(errno) = umount2(self.folder.path(), MntFlags::MNT_DETACH) {
            eprintln!("warning: the test's bpffs stays mounted: {errno}");
        }
    }
}
