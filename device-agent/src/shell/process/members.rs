//! Which processes belong to a session, as the kernel tells in /proc.

use std::fs;

use nix::unistd::Pid;

/// The processes of a session that still run. Without /proc, its first process stands for all.
pub(super) fn of_session(session: Pid) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return vec![session] };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| belongs(*pid, session))
        .map(Pid::from_raw)
        .collect()
}

fn belongs(pid: i32, session: Pid) -> bool {
    // A process that has just ended has no file any more.
    let stat = fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
    running_in(&String::from_utf8_lossy(&stat)) == Some(session.as_raw())
}

/// The session in a line of proc(5)'s stat, if the process runs: `pid (name) state parent group session`.
fn running_in(stat: &str) -> Option<i32> {
    // The name may hold anything, brackets included.
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace();
    match fields.next()? {
        "Z" | "X" => None,
        _ => fields.nth(2)?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_is_found_behind_any_name() {
        for (stat, session) in [
            ("812 (bash) S 811 812 812 34816 812 4194304", Some(812)),
            ("813 (a) b) R 1 (x) S 811 813 812 0 -1", Some(812)),
            ("814 (sleep) Z 811 812 812 0 -1", None),
            ("814 (sleep)", None),
            ("", None),
        ] {
            assert_eq!(running_in(stat), session, "{stat:?}");
        }
    }

    #[test]
    fn this_process_is_found_in_its_own_session() {
        let session = nix::unistd::getsid(None).unwrap();
        assert!(of_session(session).contains(&nix::unistd::getpid()));
    }
}
