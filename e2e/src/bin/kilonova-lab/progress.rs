//! What a person sees while it goes on: each line with the seconds since the start, and at the end where they went.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// The course of one command.
#[derive(Debug)]
pub(crate) struct Progress {
    start: Instant,
    rows: Mutex<Vec<Row>>,
}

#[derive(Debug)]
struct Row {
    what: String,
    took: Duration,
    /// A part of the row before it.
    part: bool,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            rows: Mutex::default(),
        }
    }

    /// One line.
    pub(crate) fn say(&self, text: &str) {
        println!("[{:6.1}s] {text}", self.start.elapsed().as_secs_f64());
    }

    /// What a command printed, below a line that says which.
    pub(crate) fn show(&self, what: &str, text: &str) {
        println!();
        self.say(what);
        for line in text.lines() {
            println!("  | {line}");
        }
    }

    /// Times a step; parts that are added meanwhile stand below it.
    pub(crate) async fn time<T>(&self, what: &str, work: impl Future<Output = T>) -> T {
        let start = Instant::now();
        let row = self.add(what, Duration::ZERO, false);
        let result = work.await;
        if let Some(row) = self.rows.lock().get_mut(row) {
            row.took = start.elapsed();
        }
        result
    }

    /// A part of the step that is being timed.
    pub(crate) fn part(&self, what: &str, took: Duration) {
        self.add(what, took, true);
    }

    fn add(&self, what: &str, took: Duration, part: bool) -> usize {
        let mut rows = self.rows.lock();
        rows.push(Row {
            what: what.to_owned(),
            took,
            part,
        });
        rows.len() - 1
    }

    /// The table of where the time went.
    pub(crate) fn table(&self) -> String {
        let line =
            |what: &str, took: Duration| format!("{what:<46}{:>6.1} s\n", took.as_secs_f64());
        let row = |row: &Row| {
            line(
                &format!("{}{}", if row.part { "  · " } else { "" }, row.what),
                row.took,
            )
        };
        let mut text: String = self.rows.lock().iter().map(row).collect();
        text.push_str(&line("total", self.start.elapsed()));
        text
    }
}
