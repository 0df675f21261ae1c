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
        Self { start: Instant::now(), rows: Mutex::default() }
    }

    /// One line.
    pub(crate) fn say(&self, text: &str) {
        println!("[{:6.1}s] {text}", self.start.elapsed().as_secs_f64());
    }

    /// A headline, for a step that shows more than a line.
    pub(crate) fn head(&self, text: &str) {
        println!();
        self.say(text);
    }

    /// Times a step.
    pub(crate) async fn time<T>(&self, what: &str, work: impl Future<Output = T>) -> T {
        let start = Instant::now();
        let result = work.await;
        self.took(what, start.elapsed());
        result
    }

    /// A row of the table.
    pub(crate) fn took(&self, what: &str, took: Duration) {
        self.rows.lock().push(Row { what: what.to_owned(), took, part: false });
    }

    /// A row that is part of the one before it.
    pub(crate) fn part_took(&self, what: &str, took: Duration) {
        self.rows.lock().push(Row { what: what.to_owned(), took, part: true });
    }

    /// The table of where the time went.
    pub(crate) fn table(&self) -> String {
        let rows = self.rows.lock();
        let line = |what: &str, took: Duration| format!("  {what:<44}{:>7.1} s\n", took.as_secs_f64());
        let mut text: String = rows.iter().map(|row| line(&format!("{}{}", if row.part { "  · " } else { "" }, row.what), row.took)).collect();
        text.push_str(&line("total", self.start.elapsed()));
        text
    }
}
