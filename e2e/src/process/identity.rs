//! A process, known by id and start time.

use std::fs;

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// One process and no other: the kernel may give an id out again, but not with the same start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// The id, as the machine's own process-id namespace has it.
    pub pid: i32,
    /// When it started, in clock ticks since boot (`/proc/PID/stat`, field 22).
    pub start_time: u64,
}

impl ProcessId {
    /// The process that has this id now, or none.
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        Stat::read(pid).map(|stat| Self {
            pid,
            start_time: stat.start_time,
        })
    }

    /// Whether it runs. A process that has ended and was not waited for does not.
    #[must_use]
    pub fn is_alive(self) -> bool {
        Stat::read(self.pid)
            .is_some_and(|s| s.start_time == self.start_time && !matches!(s.state, 'Z' | 'X'))
    }

    /// Sends a signal; nothing happens when the process is gone.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn signal(self, signal: Signal) -> Result<()> {
        if !self.is_alive() {
            return Ok(());
        }
        match kill(Pid::from_raw(self.pid), signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(source) => Err(Error::System {
                action: "signal a process",
                source,
            }),
        }
    }

    /// The program's name, at most 15 bytes.
    #[must_use]
    pub fn name(self) -> String {
        fs::read_to_string(format!("/proc/{}/comm", self.pid))
            .unwrap_or_default()
            .trim_end()
            .to_owned()
    }

    /// Its children.
    #[must_use]
    pub fn children(self) -> Vec<Self> {
        let pid = self.pid;
        let list =
            fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        list.split_whitespace()
            .filter_map(|child| Self::of(child.parse().ok()?))
            .collect()
    }

    /// Its children, theirs, and so on.
    #[must_use]
    pub fn descendants(self) -> Vec<Self> {
        let mut all = self.children();
        let mut seen = 0;
        while let Some(process) = all.get(seen).copied() {
            all.extend(process.children());
            seen += 1;
        }
        all
    }
}

/// The part of `/proc/PID/stat` that we need.
struct Stat {
    state: char,
    start_time: u64,
}

impl Stat {
    fn read(pid: i32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The program's name, in parentheses, may hold anything: what counts is behind the last one (proc(5)).
    fn parse(text: &str) -> Option<Self> {
        let (_, fields) = text.rsplit_once(") ")?;
        let mut fields = fields.split(' ');
        let state = fields.next()?.chars().next()?;
        let start_time = fields.nth(18)?.parse().ok()?;
        Some(Self { state, start_time })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_confuses_nobody() {
        let line = "12 (a) R (b)) S 1 12 12 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 1 2 3";
        let stat = Stat::parse(line).map(|s| (s.state, s.start_time));
        assert_eq!(stat, Some(('S', 4711)));
    }

    #[test]
    fn another_process_with_the_same_id_is_not_the_same() {
        let me = ProcessId::of(i32::try_from(std::process::id()).unwrap_or_default());
        assert!(me.is_some_and(ProcessId::is_alive));
        let other = me.map(|p| ProcessId {
            start_time: p.start_time + 1,
            ..p
        });
        assert!(other.is_some_and(|p| !p.is_alive()));
    }
}
