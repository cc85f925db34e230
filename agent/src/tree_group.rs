//! What the control groups of `warder exec` are called. A name proves nothing, the number does; but a process in a group
//! with such a name and an unknown number has had a token, and must not be somebody else for that.

use model::time::BootTime;

const PREFIX: &str = "warder-exec-";

/// Name of a group that is made now.
pub(crate) fn name(now: BootTime) -> String {
    format!("{PREFIX}{}", now.0)
}

/// Whether a group with this name is one.
pub(crate) fn is_one(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// The path of the group above, if the group with this path is one.
pub(crate) fn above(path: &str) -> Option<&str> {
    let (above, name) = path.rsplit_once('/')?;
    is_one(name).then_some(above)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_known_by_its_name() {
        let name = name(BootTime(7));
        assert!(is_one(&name));
        assert_eq!(above(&format!("/{name}")), Some(""));
        assert_eq!(above(&format!("/user.slice/a.scope/{name}")), Some("/user.slice/a.scope"));
        assert_eq!(above(&format!("/{name}/below")), None);
        assert_eq!(above("/user.slice"), None);
    }
}
