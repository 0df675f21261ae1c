//! Points before and after each effect of a program, at which it kills itself when a test says so.
//!
//! Linked into programs built with their feature `failpoints`, for tests alone. A test and a
//! program meet in one directory:
//! - `PROGRAM.points`: the names of all its points, a line each, written when it starts;
//! - `PROGRAM.armed`: lines `POINT TIMES`. Only the first line counts: when the program has come to
//!   that point so many times, the line goes and the program kills itself. So each fires once, and
//!   a second line is a fault in what comes after the first.

#![forbid(unsafe_code)]

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use parking_lot::Mutex;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Names the directory. Where it is not set, no point does anything.
pub const DIR_VARIABLE: &str = "KILONOVA_FAILPOINTS";

/// Only one thread at a time counts.
static COUNTING: Mutex<()> = Mutex::new(());

/// Where a point is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Nothing of the effect was done.
    Before,
    /// All of it was done, and nothing that follows from it.
    After,
}

impl When {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Before, Self::After];

    /// Its part in a point's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::After => "after",
        }
    }
}

/// The name of a point.
#[must_use]
pub fn point(effect: &str, when: When) -> String {
    format!("{effect}/{}", when.name())
}

/// The program is about to do this.
pub fn before(program: &str, effect: &str) {
    reach(program, effect, When::Before);
}

/// The program has done this.
pub fn after(program: &str, effect: &str) {
    reach(program, effect, When::After);
}

/// Tells which points the program has.
///
/// # Errors
/// When the file cannot be written.
pub fn list<'a>(program: &str, effects: impl IntoIterator<Item = &'a str>) -> io::Result<()> {
    let Some(dir) = dir() else {
        return Ok(());
    };
    let mut points = String::new();
    for effect in effects {
        for when in When::ALL {
            points.push_str(&point(effect, when));
            points.push('\n');
        }
    }
    replace(&dir.join(format!("{program}.points")), &points)
}

fn dir() -> Option<PathBuf> {
    std::env::var_os(DIR_VARIABLE).map(PathBuf::from)
}

fn reach(program: &str, effect: &str, when: When) {
    let Some(dir) = dir() else {
        return;
    };
    let point = point(effect, when);
    let _counting = COUNTING.lock();
    match fires(&dir.join(format!("{program}.armed")), &point) {
        Ok(true) => die(&point),
        Ok(false) => {}
        Err(error) => eprintln!("failpoint {point}: {error}"),
    }
}

/// Ends the process as a crash of the machine's would: nothing of it runs any further.
fn die(point: &str) -> ! {
    eprintln!("failpoint {point}: killing myself");
    if let Err(error) = kill(Pid::this(), Signal::SIGKILL) {
        eprintln!("failpoint {point}: {error}");
    }
    loop {
        std::thread::park();
    }
}

/// Counts one arrival at a point; whether it was the one to die at. What is left to count is
/// written before that, so that it is once.
fn fires(armed: &Path, point: &str) -> io::Result<bool> {
    let text = match fs::read_to_string(armed) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let (line, rest) = text.split_once('\n').unwrap_or((&text, ""));
    let (name, times) = line.split_once(' ').unwrap_or((line, "1"));
    if name != point {
        return Ok(false);
    }
    let times: u32 = times.trim().parse().map_err(io::Error::other)?;
    if times > 1 {
        replace(armed, &format!("{point} {}\n{rest}", times - 1))?;
        return Ok(false);
    }
    replace(armed, rest)?;
    Ok(true)
}

/// Writes a file at once.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_added_extension("new");
    fs::write(&new, text)?;
    fs::rename(&new, path)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn each_fires_once_in_its_turn() {
        let dir = tempfile::tempdir().unwrap();
        let armed = dir.path().join("agent.armed");
        let fires = |point| fires(&armed, point).unwrap();
        assert!(!fires("start/before"), "nothing is armed");
        fs::write(&armed, "start/before 2\ndefine/after 1\n").unwrap();
        assert!(!fires("define/after"), "it is not its turn");
        assert!(!fires("start/before"), "once more");
        assert!(fires("start/before"));
        assert!(!fires("start/before"), "it was once");
        assert!(fires("define/after"));
        assert!(!fires("define/after"));
        assert_eq!(fs::read_to_string(&armed).unwrap(), "");
    }

    #[test]
    fn what_cannot_be_read_is_said_and_nobody_dies() {
        let dir = tempfile::tempdir().unwrap();
        let armed = dir.path().join("agent.armed");
        fs::write(&armed, "start/before often\n").unwrap();
        assert!(fires(&armed, "start/before").is_err());
        assert!(!fires(&armed, "start/after").unwrap());
    }
}
