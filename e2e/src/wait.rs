//! Waiting for a condition, with a generous limit and a message that shows what was seen last.

use std::{fmt::Display, future::Future, time::Duration};

use tokio::time::Instant;

use crate::{Error, Result};

/// A limit for what takes seconds on an idle machine: the machine is shared and emulation is slow.
pub const GENEROUS: Duration = Duration::from_mins(4);

/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// Looks again and again until `look` answers `Ok`; what it answers as `Err` is the state seen, for the message.
///
/// # Errors
/// [`Error::Timeout`] with the last state when `limit` has passed. A look that hangs is given up at the limit too.
pub async fn wait_for<T, S, F, Fut>(what: impl Into<String>, limit: Duration, look: F) -> Result<T>
where
    S: Display,
    F: FnMut() -> Fut,
    Fut: Future<Output = std::result::Result<T, S>>,
{
    wait_while(|| Ok(()), what, limit, look).await
}

/// As [`wait_for`], but gives up at once when `alive` fails: what is waited for can then never come.
///
/// # Errors
/// Those of `alive`; otherwise as [`wait_for`].
pub async fn wait_while<T, S, F, Fut>(
    alive: impl Fn() -> Result<()>,
    what: impl Into<String>,
    limit: Duration,
    mut look: F,
) -> Result<T>
where
    S: Display,
    F: FnMut() -> Fut,
    Fut: Future<Output = std::result::Result<T, S>>,
{
    let end = Instant::now() + limit;
    let mut last = String::from("nothing, the first look did not end");
    loop {
        match tokio::time::timeout_at(end, look()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(state)) => last = state.to_string(),
            Err(_) => {
                return Err(Error::Timeout {
                    what: what.into(),
                    limit,
                    last,
                });
            }
        }
        alive()?;
        if Instant::now() + PAUSE >= end {
            return Err(Error::Timeout {
                what: what.into(),
                limit,
                last,
            });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is wrong"
)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_what_the_look_found() {
        let mut looks = 0;
        let found = wait_for("three looks", GENEROUS, || {
            looks += 1;
            let now = looks;
            async move {
                if now == 3 {
                    Ok(now)
                } else {
                    Err(format!("{now} looks"))
                }
            }
        })
        .await
        .unwrap();
        assert_eq!(found, 3);
    }

    #[tokio::test]
    async fn a_timeout_shows_the_last_state() {
        let error = wait_for("rain", Duration::from_millis(150), || async {
            Err::<(), _>("still dry")
        })
        .await
        .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("for: rain; the last state seen: still dry"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn it_gives_up_when_there_is_nothing_to_wait_for_any_more() {
        let alive = || Err(Error::Interrupted);
        let error = wait_while(alive, "rain", GENEROUS, || async { Err::<(), _>("dry") })
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Interrupted), "{error}");
    }

    #[tokio::test]
    async fn a_look_that_hangs_is_given_up() {
        let look = || std::future::pending::<std::result::Result<(), String>>();
        let error = wait_for("nothing", Duration::from_millis(50), look)
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Timeout { .. }), "{error}");
    }
}
