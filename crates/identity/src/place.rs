//! Places in the hierarchy of control groups: units, containers, groups.
//!
//! Who made a place is what counts. Below `user.slice` every user can make groups with any name; above a unit stand
//! slices only, so that a unit of a container's own systemd is not one of the host's.

/// The unit of the host's systemd that a control group belongs to: units of users and of containers are none. `path` is
/// from the root of the unified hierarchy.
#[must_use]
pub fn unit(path: &str) -> Option<&str> {
    let outermost = parts(path).find(|part| !part.ends_with(".slice") || *part == USERS)?;
    Unit::parse(outermost).is_ok().then_some(outermost)
}

/// A unit of the host's systemd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unit(String);

/// A control group and everything below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group(String);

/// A container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Container(String);

/// Where users are at home.
const USERS: &str = "user.slice";
/// Digits of a container's id.
const CONTAINER_DIGITS: usize = 64;
/// What container engines write before the id, and behind it.
const ENGINES: &[&str] = &["docker-", "libpod-", "cri-containerd-", "crio-", ""];
const SCOPE: &str = ".scope";

impl Unit {
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let kinds = [".service", ".scope"];
        let named = kinds.iter().any(|kind| text.strip_suffix(kind).is_some_and(|name| !name.is_empty()));
        if named && !text.contains('/') {
            Ok(Self(text.to_owned()))
        } else {
            Err("write its whole name: NAME.service or NAME.scope")
        }
    }

    pub(crate) fn holds(&self, path: &str) -> bool {
        unit(path) == Some(&self.0)
    }
}

impl Group {
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let whole =
            text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(|part| !matches!(part, "" | "." | "..")));
        if whole {
            Ok(Self(text.to_owned()))
        } else {
            Err("write the path from the root, as behind `0::` in /proc/PID/cgroup")
        }
    }

    pub(crate) fn holds(&self, path: &str) -> bool {
        path.strip_prefix(&*self.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl Container {
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if digits && text.len() == CONTAINER_DIGITS {
            Ok(Self(text.to_owned()))
        } else {
            Err("write its whole id: 64 hexadecimal digits in lower case")
        }
    }

    /// The outermost container counts: inside one, anybody with its rights can make others.
    pub(crate) fn holds(&self, path: &str) -> bool {
        parts(path).take_while(|part| *part != USERS).find_map(container) == Some(&self.0)
    }
}

fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty())
}

/// The id in a group's name.
fn container(part: &str) -> Option<&str> {
    let part = part.strip_suffix(SCOPE).unwrap_or(part);
    let id = ENGINES.iter().find_map(|engine| part.strip_prefix(engine))?;
    Container::parse(id).is_ok().then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_of_the_host_count_and_no_others() {
        let unit = Unit::parse("report.service").unwrap();
        for path in ["/system.slice/report.service", "/a.slice/a-b.slice/report.service/worker"] {
            assert!(unit.holds(path), "{path}");
        }
        for path in [
            "/",
            "/system.slice",
            "/system.slice/reports.service",
            "/system.slice/other.service/report.service",
            "/user.slice/user-1000.slice/user@1000.service/app.slice/report.service",
            "/user.slice/report.service",
            "/machine.slice/machine-x.scope/system.slice/report.service",
        ] {
            assert!(!unit.holds(path), "{path}");
        }
        for text in ["report", ".service", "a/b.service", "report.slice"] {
            assert!(Unit::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_group_holds_what_is_below() {
        let group = Group::parse("/system.slice/app").unwrap();
        assert!(group.holds("/system.slice/app") && group.holds("/system.slice/app/worker"));
        assert!(!group.holds("/system.slice/application") && !group.holds("/system.slice"));
        for text in ["", "/", "app", "/a//b", "/a/../b", "/a/"] {
            assert!(Group::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_outermost_container_counts() {
        let (id, other) = ("0123456789abcdef".repeat(4), "f".repeat(64));
        let container = Container::parse(&id).unwrap();
        for path in [
            format!("/system.slice/docker-{id}.scope"),
            format!("/docker/{id}"),
            format!("/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope"),
            format!("/machine.slice/libpod-{id}.scope/container"),
            format!("/docker/{id}/docker/{other}"),
        ] {
            assert!(container.holds(&path), "{path}");
        }
        for path in [
            format!("/docker/{other}/docker/{id}"),
            format!("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{id}.scope"),
            format!("/docker/{id}0"),
            format!("/docker/x{id}"),
        ] {
            assert!(!container.holds(&path), "{path}");
        }
        for text in [&id[..12], &id.to_uppercase(), ""] {
            assert!(Container::parse(text).is_err(), "{text}");
        }
    }
}
